/* t2t report: a run folder as one page. */
#include <stdio.h>

#include "dist/monitor/report.h"
#include "tools/args.h"
#include "tools/tools.h"

static const char USAGE[] =
    "usage: t2t report RUN [--output FILE]\n\n"
    "Writes RUN/report.html (or FILE): curves, validations and configuration of a run, finished or\n"
    "not, on one page that needs nothing else.\n\n";

Status tool_report(int argc, char **argv, Error *error)
{
    const char *output = NULL;
    char path[1100];
    const Arg args[] = {ARG_TEXT("output", "FILE", &output, "(default: RUN/report.html)"), {0}};
    const CommandLine line = {.name = "t2t report", .usage = USAGE, .args = args, .most_operands = 1};
    Operands runs;
    Status status = args_parse(&line, argc, argv, &runs, error);
    if (status || runs.helped) return status;
    if (runs.count != 1) return error_set(error, STATUS_USAGE, "one run folder is wanted; see `t2t report --help`");
    const char *folder = runs.items[0];
    if (!output && (size_t)snprintf(path, sizeof path, "%s/report.html", folder) >= sizeof path)
        return error_set(error, STATUS_USAGE, "%.100s...: the path is too long", folder);
    if (!output) output = path;
    status = report_write(folder, output, error);
    if (!status) printf("%s\n", output);
    return status;
}
