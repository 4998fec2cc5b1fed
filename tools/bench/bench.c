/* t2t bench: the table of measurements. */
#include "tools/bench/bench.h"

#include <stdio.h>
#include <string.h>

#include "core/base/suggest.h"

typedef struct Bench {
    const char *name;
    ToolMain main;
    const char *summary;
} Bench;

static const Bench BENCHES[] = {
    {"step", bench_step, "forward, backward and update of one model: images/s, share of the multiply-add peak"},
    {"allreduce", bench_allreduce, "sums over ranks (under mpirun): ring, shared memory, MPI_Allreduce"},
    {"overlap", bench_overlap, "a step with and without sums over ranks (under mpirun): what they cost"},
    {"loader", bench_loader, "reading, decoding and augmenting images: images/s, per core"},
};

enum { BENCH_COUNT = sizeof BENCHES / sizeof BENCHES[0] };

static void print_usage(FILE *out)
{
    fprintf(out, "usage: t2t bench MEASUREMENT [--json] ...\n\n");
    for (int i = 0; i < BENCH_COUNT; i++) fprintf(out, "  %-10s %s\n", BENCHES[i].name, BENCHES[i].summary);
    fprintf(out, "\n`t2t bench MEASUREMENT --help` tells more.\n");
}

static const char *bench_name(const void *context, int index)
{
    (void)context;
    return index < BENCH_COUNT ? BENCHES[index].name : NULL;
}

Status tool_bench(int argc, char **argv, Error *error)
{
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)) {
        print_usage(stdout);
        return STATUS_OK;
    }
    for (int i = 0; argc > 1 && i < BENCH_COUNT; i++)
        if (strcmp(argv[1], BENCHES[i].name) == 0) return BENCHES[i].main(argc - 1, argv + 1, error);
    print_usage(stderr);
    if (argc < 2) return error_set(error, STATUS_USAGE, "what is to be measured?");
    const char *near = suggest_name(argv[1], bench_name, NULL);
    return error_set(error, STATUS_USAGE, "there is no measurement '%s'%s%s%s", argv[1], near ? "; did you mean '" : "",
                     near ? near : "", near ? "'?" : "");
}
