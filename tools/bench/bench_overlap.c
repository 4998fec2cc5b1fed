/* t2t bench overlap: what summing gradients costs a step, beside the same step without it. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/median.h"
#include "core/base/memory.h"
#include "tools/args.h"
#include "tools/bench/bench.h"
#include "tools/bench/bench_model.h"

static const char USAGE[] =
    "usage: mpirun -np N t2t bench overlap [--option value ...]\n\n"
    "Training steps on random images, in turn without and with the sum of gradients over the ranks. A step's time is "
    "that of\n"
    "the slowest rank; both start together. Prints medians, and how much of the communication lay behind backward.\n\n";

enum { MAX_STEPS = 1000, WARM_UP = 2, EVENTS = 20000 };

typedef struct Arguments {
    Settings settings;
    const char *timeline;
    int batch, threads, steps;
    bool json;
} Arguments;

static Status overlap_parse(int argc, char **argv, Arguments *arguments, Operands *operands, Error *error)
{
    Settings *settings = &arguments->settings;
    const Arg args[] = {
        ARG_MODEL(settings, "a published model (default t2t_vit_14)"),
        ARG_SET(settings, "allreduce, bucket_mb, wire, zero, watchdog and so on, as in a configuration"),
        ARG_CONFIG(settings, "a configuration"),
        ARG_INT("batch", "N", &arguments->batch, "images of a rank in a step (default 8)", 1, 1 << 16),
        ARG_INT("threads", "N", &arguments->threads, "of each rank (default 1)", 1, 1 << 16),
        ARG_INT("steps", "N", &arguments->steps, "measured steps of each kind (default 10)", 1, MAX_STEPS),
        ARG_TEXT("timeline", "FILE", &arguments->timeline, "the steps as a timeline for chrome://tracing"),
        ARG_FLAG("json", &arguments->json, "one JSON object"),
        {0},
    };
    const CommandLine line = {.name = "t2t bench overlap", .usage = USAGE, .args = args};
    return args_parse(&line, argc, argv, operands, error);
}

/* ---- the steps */

typedef struct Overlap {
    World world;
    BenchModel model;
    Timeline *timeline;                                                           /* or NULL */
    double alone[MAX_STEPS], summed[MAX_STEPS], busy[MAX_STEPS], wait[MAX_STEPS]; /* seconds */
} Overlap;

/* A step as training does it, or the same without sums. */
static Status run_overlap_step(Overlap *overlap, TrainStep *step, Error *error)
{
    bench_model_gradients(&overlap->model, step);
    Status status = train_step_sum(step, error);
    return status ? status : bench_model_update(step, error);
}

/* Seconds of a step on the slowest rank; all begin together. */
static Status time_step(Overlap *overlap, TrainStep *step, double *seconds, Error *error)
{
    world_barrier(overlap->world.comm);
    double start = clock_seconds();
    Status status = run_overlap_step(overlap, step, error);
    *seconds = world_largest(clock_seconds() - start, overlap->world.comm);
    return status;
}

static Status measure(Overlap *overlap, int steps, Error *error)
{
    TrainStep *step = &overlap->model.step, alone = *step;
    alone.reducer = NULL;
    for (int i = -WARM_UP; i < steps; i++) {
        int at = i < 0 ? 0 : i;
        Status status = time_step(overlap, &alone, &overlap->alone[at], error);
        if (!status) status = time_step(overlap, step, &overlap->summed[at], error);
        if (status) return status;
        ReducerTimes times = reducer_times(step->reducer);
        overlap->busy[at] = world_largest(times.busy, overlap->world.comm);
        overlap->wait[at] = world_largest(times.wait, overlap->world.comm);
    }
    return STATUS_OK;
}

/* ---- the figures */

static void overlap_print(Overlap *overlap, int steps, bool json)
{
    const char *name = overlap->model.config.model.name, *kind = reducer_kind(overlap->model.step.reducer);
    int ranks = overlap->world.size, batch = overlap->model.batch.input.count;
    double alone = median_of(overlap->alone, steps), summed = median_of(overlap->summed, steps);
    double busy = median_of(overlap->busy, steps), wait = median_of(overlap->wait, steps);
    double hidden = busy > 0 ? 1 - wait / busy : 1, rate = ranks * batch / summed;
    if (json) {
        printf("{\"model\": \"%s\", \"ranks\": %d, \"batch\": %d, \"threads\": %d, \"allreduce\": \"%s\", "
               "\"images_per_s\": %.5g, \"step_ms\": %.5g, \"alone_ms\": %.5g, \"longer\": %.4f, \"sums_ms\": %.5g, "
               "\"wait_ms\": %.5g, \"hidden\": %.4f}\n",
               name, ranks, batch, pool_threads(overlap->model.pool), kind, rate, summed * 1e3, alone * 1e3,
               summed / alone - 1, busy * 1e3, wait * 1e3, hidden);
        return;
    }
    printf("%s, %d ranks x %d threads, batch %d each, %s\n", name, ranks, pool_threads(overlap->model.pool), batch,
           kind);
    printf("  step %.5g ms without sums, %.5g ms with: %+.1f %%\n", alone * 1e3, summed * 1e3,
           100 * (summed / alone - 1));
    printf("  sums take %.5g ms, of which %.5g ms are waited for: %.0f %% hidden\n", busy * 1e3, wait * 1e3,
           100 * hidden);
    printf("  %.4g images/s\n", rate);
}

static Status overlap_run(Overlap *overlap, const Arguments *arguments, Error *error)
{
    BenchModelSetup setup = {.batch = arguments->batch, .threads = arguments->threads, .world = &overlap->world};
    Status status = settings_load(&arguments->settings, &setup.config, error);
    if (!status) status = world_start(&overlap->world, error);
    if (status) return status;
    if (arguments->timeline) status = timeline_create(&overlap->timeline, EVENTS, error);
    setup.timeline = overlap->timeline;
    status = world_agree(overlap->world.comm, status, error);
    if (!status) status = bench_model_create(&overlap->model, &setup, error);
    if (!status) status = measure(overlap, arguments->steps, error);
    if (!status && arguments->timeline)
        status = timeline_write(overlap->timeline, overlap->world.comm, arguments->timeline, error);
    if (!status && overlap->world.rank == 0) overlap_print(overlap, arguments->steps, arguments->json);
    return status;
}

Status bench_overlap(int argc, char **argv, Error *error)
{
    Arguments arguments = {.batch = 8, .threads = 1, .steps = 10};
    Operands operands;
    Status status = overlap_parse(argc, argv, &arguments, &operands, error);
    if (status || operands.helped) return status;
    Overlap *overlap = memory_alloc(1, sizeof *overlap, "the times of the steps", error);
    if (!overlap) return STATUS_FAILED;
    status = overlap_run(overlap, &arguments, error);
    bench_model_free(&overlap->model);
    timeline_free(overlap->timeline);
    world_end(&overlap->world);
    free(overlap);
    return status;
}
