/* t2t.c: the table of sub-commands, and the only place that ends the process. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/base/suggest.h"
#include "tools/bus_error.h"
#include "tools/tools.h"
#include "version.h"

typedef struct Tool {
    const char *name;
    ToolMain main;
    const char *summary;
} Tool;

static const Tool TOOLS[] = {
    {"info", tool_info, "describe a model, a weights file, a run or a data set"},
    {"train", tool_train, "train a model; under mpirun or srun, on many ranks"},
    {"eval", tool_eval, "top-1, top-5 and loss of weights on a data set"},
    {"predict", tool_predict, "the most likely classes of images"},
    {"visualize", tool_visualize, "where a model looks, and what becomes of images on their way, as pictures"},
    {"convert", tool_convert, "make a data set from image folders, ILSVRC2012 tars, CIFAR or IDX"},
    {"verify", tool_verify, "check that a data set is whole, record by record"},
    {"trace", tool_trace, "one forward and backward on given tensors: logits, loss, every gradient"},
    {"bench", tool_bench, "measure a training step, the all-reduce, what it costs a step, or the loader"},
    {"plan", tool_plan, "what a training takes on many nodes: memory, images/s, hours, efficiency"},
    {"report", tool_report, "one page with the curves of a run, or of several"},
};

enum { TOOL_COUNT = sizeof TOOLS / sizeof TOOLS[0] };

static void print_usage(FILE *out)
{
    fprintf(out, "t2t trains Tokens-to-Token Vision Transformers on CPU clusters.\n\nusage: t2t COMMAND ...\n\n");
    for (int i = 0; i < TOOL_COUNT; i++) fprintf(out, "  %-10s %s\n", TOOLS[i].name, TOOLS[i].summary);
    fprintf(out, "\n`t2t help COMMAND` tells more, `t2t --version` which t2t this is. Exit status: 0 done, 1 failed, 2 "
                 "wrong usage or config,\n"
                 "3 bad or missing data, 75 stopped by a signal after a checkpoint (submit again).\n");
}

static const char *command_name(const void *context, int index)
{
    (void)context;
    return index < TOOL_COUNT ? TOOLS[index].name : NULL;
}

static bool is_any(const char *text, const char *a, const char *b)
{
    return strcmp(text, a) == 0 || strcmp(text, b) == 0;
}

static int run_tool(int argc, char **argv)
{
    for (int i = 0; i < TOOL_COUNT; i++) {
        if (strcmp(argv[0], TOOLS[i].name) != 0) continue;
        Error error = {0};
        bus_error_explain();
        Status status = TOOLS[i].main(argc, argv, &error);
        if (error.message[0]) fprintf(stderr, "t2t %s: %s\n", argv[0], error.message);
        return status;
    }
    const char *near = suggest_name(argv[0], command_name, NULL);
    fprintf(stderr, "t2t: there is no command '%s'%s%s%s\n\n", argv[0], near ? "; did you mean '" : "",
            near ? near : "", near ? "'?" : "");
    print_usage(stderr);
    return STATUS_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return STATUS_USAGE;
    }
    bool asks = strcmp(argv[1], "help") == 0;
    if (is_any(argv[1], "--help", "-h") || (asks && argc == 2)) {
        print_usage(stdout);
        return STATUS_OK;
    }
    if (is_any(argv[1], "--version", "-V")) {
        printf("t2t %s\n", T2T_VERSION);
        return STATUS_OK;
    }
    if (!asks) return run_tool(argc - 1, argv + 1);
    /* `help COMMAND...` is `COMMAND... --help`. */
    for (int i = 1; i < argc - 1; i++) argv[i] = argv[i + 1];
    argv[argc - 1] = "--help";
    return run_tool(argc - 1, argv + 1);
}
