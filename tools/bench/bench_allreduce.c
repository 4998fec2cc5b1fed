/* bench_allreduce.c: `t2t bench allreduce`: the sums over ranks, side by side. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist/comm/allreduce_bench.h"
#include "dist/comm/world.h"
#include "tools/args.h"
#include "tools/bench/bench.h"

typedef struct Options {
    int64_t min, max, factor;
    AllreduceBench job;
    bool json, keep_heap;
} Options;

static const char USAGE[] =
    "usage: mpirun -np N t2t bench allreduce [--option value ...]\n\n"
    "Sums vectors over all ranks by each algorithm in turn: a ring, a tree (recursive halving and doubling), shared\n"
    "memory within nodes and a ring between them (hierarchical), and the MPI library's MPI_Allreduce. Times are "
    "medians\n"
    "of rounds, of the slowest rank. algbw is bytes / time, busbw is algbw x 2 (N-1)/N; the error is that of a sum\n"
    "relative to its terms, against a plain sum in double.\n\n";

/* Of a vector; times the largest factor it still fits its type. */
static const int64_t MOST_BYTES = INT64_C(1) << 40;

static Status allreduce_parse(int argc, char **argv, Options *options, Operands *operands, Error *error)
{
    static const char *const WIRES[] = {[WIRE_FP32] = "fp32", [WIRE_BF16] = "bf16", [WIRE_FP16] = "fp16", NULL};
    AllreduceBench *job = &options->job;
    *options = (Options){.min = 4096, .max = 128 << 20, .factor = 4, .job.rounds = 20};
    const Arg args[] = {
        ARG_NUMBER("min", "BYTES", &options->min, "smallest vector (4096)", 4, MOST_BYTES),
        ARG_NUMBER("max", "BYTES", &options->max, "largest vector (134217728)", 4, MOST_BYTES),
        ARG_NUMBER("factor", "F", &options->factor, "from one size to the next (4)", 2, 1 << 20),
        ARG_INT("rounds", "N", &job->rounds, "timed rounds per size (20)", 1, 1 << 20),
        ARG_CHOICE("wire", "TYPE", &job->wire, "fp32, bf16 or fp16, for all but mpi (fp32)", WIRES),
        ARG_INT("ranks-per-node", "N", &job->ranks_per_node, "count groups of N ranks as nodes", 0, 1 << 20),
        ARG_FLAG("keep-heap", &options->keep_heap,
                 "keep freed memory: MPI_Allreduce of Open MPI then avoids its page faults at large sizes"),
        ARG_FLAG("json", &options->json, "an array of objects instead of a table"),
        {0},
    };
    const CommandLine line = {.name = "t2t bench allreduce", .usage = USAGE, .args = args};
    return args_parse(&line, argc, argv, operands, error);
}

static void print_json(const AllreduceFigures *figures, bool first)
{
    for (int a = 0; a < ALLREDUCE_ALGORITHMS; a++)
        printf("%s\n  {\"algorithm\": \"%s\", \"ranks\": %d, \"bytes\": %" PRId64
               ", \"time_us\": %.2f, \"algbw_gb_s\": %.4f, "
               "\"busbw_gb_s\": %.4f, \"max_error\": %.3g}",
               first && a == 0 ? "[" : ",", figures[a].algorithm, figures[a].ranks, figures[a].bytes,
               figures[a].seconds * 1e6, figures[a].algorithm_bandwidth * 1e-9, figures[a].bus_bandwidth * 1e-9,
               figures[a].max_error);
}

static void print_header(const World *world)
{
    printf("%d ranks on %d nodes\n%11s", world->size, world->node_count, "");
    static const char *const NAMES[] = {"ring", "tree", "hierarchical", "mpi"};
    for (int a = 0; a < ALLREDUCE_ALGORITHMS; a++) printf("  | %-36s", NAMES[a]);
    printf("\n%11s", "bytes");
    for (int a = 0; a < ALLREDUCE_ALGORITHMS; a++) printf("  | %10s %8s %8s %7s", "us", "algbw", "busbw", "error");
    printf("   (GB/s)\n");
}

static void print_row(const AllreduceFigures *figures)
{
    printf("%11" PRId64, figures[0].bytes);
    for (int a = 0; a < ALLREDUCE_ALGORITHMS; a++)
        printf("  | %10.1f %8.3f %8.3f %7.0e", figures[a].seconds * 1e6, figures[a].algorithm_bandwidth * 1e-9,
               figures[a].bus_bandwidth * 1e-9, figures[a].max_error);
    printf("\n");
}

static Status allreduce_run(const World *world, Options *options, Error *error)
{
    bool prints = world->rank == 0;
    if (prints && !options->json) print_header(world);
    for (int64_t bytes = options->min; bytes <= options->max; bytes *= options->factor) {
        AllreduceFigures figures[ALLREDUCE_ALGORITHMS];
        options->job.bytes = bytes / 4 * 4;
        Status status = allreduce_bench(&options->job, figures, error);
        if (status) return status;
        if (!prints) continue;
        if (options->json)
            print_json(figures, bytes == options->min);
        else
            print_row(figures);
        fflush(stdout);
    }
    if (prints && options->json) printf("\n]\n");
    return STATUS_OK;
}

Status bench_allreduce(int argc, char **argv, Error *error)
{
    Options options;
    Operands operands;
    Status status = allreduce_parse(argc, argv, &options, &operands, error);
    if (status || operands.helped) return status;
    if (options.keep_heap) {
        mallopt(M_MMAP_MAX, 0);
        mallopt(M_TRIM_THRESHOLD, INT32_MAX);
    }
    World world = {0};
    status = world_start(&world, error);
    if (!status) {
        options.job.comm = MPI_COMM_WORLD;
        status = allreduce_run(&world, &options, error);
    }
    world_end(&world);
    return status;
}
