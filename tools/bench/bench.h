/* bench.h: the measurements of `t2t bench`. Each is one file, tools/bench_<name>.c, and one row of the table in
 * bench.c; argv[0] is its name. With --json a measurement prints one JSON value on stdout and nothing else there.
 */
#ifndef TOOLS_BENCH_BENCH_H
#define TOOLS_BENCH_BENCH_H

#include "tools/tools.h"

Status bench_step(int argc, char **argv, Error *error);
Status bench_allreduce(int argc, char **argv, Error *error);
Status bench_overlap(int argc, char **argv, Error *error);
Status bench_loader(int argc, char **argv, Error *error);

#endif
