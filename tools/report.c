/* t2t report: a run folder as one page. */
#include <getopt.h>
#include <stdio.h>

#include "dist/monitor/report.h"
#include "tools/tools.h"

static const char USAGE[] =
    "usage: t2t report RUN [--output FILE]\n\n"
    "Writes RUN/report.html (or FILE): curves, validations and configuration of a run, finished or\n"
    "not, on one page that needs nothing else.\n";

Status tool_report(int argc, char **argv, Error *error)
{
    static const struct option OPTIONS[] = {
        {"output", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'}, {0}};
    const char *output = NULL;
    char path[1100];
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        if (option == 'h') {
            fputs(USAGE, stdout);
            return STATUS_OK;
        }
        if (option != 'o') return error_set(error, STATUS_USAGE, "see t2t report --help");
        output = optarg;
    }
    if (optind != argc - 1) return error_set(error, STATUS_USAGE, "one run folder is wanted; see t2t report --help");
    const char *folder = argv[optind];
    if (!output && (size_t)snprintf(path, sizeof path, "%s/report.html", folder) >= sizeof path)
        return error_set(error, STATUS_USAGE, "%.100s...: the path is too long", folder);
    if (!output) output = path;
    Status status = report_write(folder, output, error);
    if (!status) printf("%s\n", output);
    return status;
}
