/* t2t report: run folders as one page. */
#include <stdio.h>

#include "core/base/path.h"
#include "dist/monitor/report.h"
#include "tools/args.h"
#include "tools/tools.h"

static const char USAGE[] =
    "usage: t2t report RUN [--output FILE]\n"
    "       t2t report RUN RUN ... --output FILE           (up to eight runs in the same charts)\n\n"
    "Writes RUN/report.html (or FILE): curves, validations, who computed it and configuration of a run, finished or\n"
    "not, on one page that needs nothing else.\n\n";

Status tool_report(int argc, char **argv, Error *error)
{
    const char *output = NULL;
    char path[PATH_SIZE];
    const Arg args[] = {ARG_TEXT("output", "FILE", &output, "(default, of one run: RUN/report.html)"), {0}};
    const CommandLine line = {.name = "t2t report", .usage = USAGE, .args = args, .most_operands = -1};
    Operands runs;
    Status status = args_parse(&line, argc, argv, &runs, error);
    if (status || runs.helped) return status;
    if (runs.count == 0) return error_set(error, STATUS_USAGE, "which run folder? see `t2t report --help`");
    const char *folder = runs.items[0];
    if (runs.count > 1 && !output)
        return error_set(error, STATUS_USAGE, "--output FILE is missing: several runs have no folder in common");
    if (!output) status = path_join(path, sizeof path, folder, "report.html", error);
    if (!output) output = path;
    if (!status && runs.count > 1)
        status = report_write_runs(runs.items, runs.count, output, error);
    else if (!status)
        status = report_write(folder, output, error);
    if (!status) printf("%s\n", output);
    return status;
}
