/* tools.h: the sub-commands. Each is one file, `tools/<name>.c`, and one row of the table in t2t.c.
 *
 * A tool gets argv with argv[0] = its name, parses with getopt_long, prints results on stdout and everything else on
 * stderr, and returns a Status with its message in `error`; t2t.c prints the message and exits with the status.
 */
#ifndef TOOLS_TOOLS_H
#define TOOLS_TOOLS_H

#include "core/base/status.h"

typedef Status (*ToolMain)(int argc, char **argv, Error *error);

Status tool_train(int argc, char **argv, Error *error);
Status tool_eval(int argc, char **argv, Error *error);
Status tool_predict(int argc, char **argv, Error *error);
Status tool_convert(int argc, char **argv, Error *error);
Status tool_verify(int argc, char **argv, Error *error);
Status tool_visualize(int argc, char **argv, Error *error);
Status tool_trace(int argc, char **argv, Error *error);
Status tool_info(int argc, char **argv, Error *error);
Status tool_bench(int argc, char **argv, Error *error);
Status tool_plan(int argc, char **argv, Error *error);
Status tool_report(int argc, char **argv, Error *error);

#endif
