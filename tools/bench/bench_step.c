/* t2t bench step: how fast one replica computes, beside what its cores could do at most. */
#include <stdio.h>
#include <sys/resource.h>

#include "core/kernels/kernels.h"
#include "core/base/clock.h"
#include "core/base/median.h"
#include "core/model/peak.h"
#include "tools/args.h"
#include "tools/bench/bench.h"
#include "tools/bench/bench_model.h"

static const char USAGE[] =
    "usage: t2t bench step [--model NAME] [--option value ...]\n\n"
    "Runs steps on random images: forward, loss, backward, clipping, AdamW and EMA, as a training step does, with "
    "dropout\n"
    "and drop path as configured. Prints the median of the steps after warm-up.\n\n";

static const char NOTES[] =
    "\ngflops counts nominal work: 2 operations for each multiply-accumulate of `t2t info`, times 3 for training.\n"
    "peak_gflops is measured in the same run, on the same threads, before and after: multiply-adds in registers.\n";

enum { MAX_STEPS = 1000, MIN_STEPS = 5 };
static const double PEAK_SECONDS = 0.1;

typedef struct Arguments {
    Settings settings;
    int batch, threads, steps;
    bool infer, profile, json;
} Arguments;

static Status step_parse(int argc, char **argv, Arguments *arguments, Operands *operands, Error *error)
{
    Settings *settings = &arguments->settings;
    const Arg args[] = {
        ARG_MODEL(settings, "a published model (default t2t_vit_14)"),
        ARG_CONFIG(settings, "or the architecture keys of a configuration file"),
        ARG_SET(settings, "a change to the model; may be repeated"),
        ARG_INT("batch", "N", &arguments->batch, "images in a step (default 8)", 1, 1 << 16),
        ARG_INT("threads", "N", &arguments->threads, "(default: the processors that the process may use)", 1, 1 << 16),
        ARG_FLAG("infer", &arguments->infer, "forward only, in evaluation mode"),
        ARG_FLAG("profile", &arguments->profile, "milliseconds of a step by part of the work, threads' mean"),
        ARG_INT("steps", "N", &arguments->steps, "measured steps (default: as many as fit into 10 seconds, at least 5)",
                1, MAX_STEPS),
        ARG_FLAG("json", &arguments->json, "one JSON object"),
        {0},
    };
    const CommandLine line = {.name = "t2t bench step", .usage = USAGE, .notes = NOTES, .args = args};
    return args_parse(&line, argc, argv, operands, error);
}

/* ---- the step */

static Status run_step(BenchModel *bench, Error *error)
{
    bench_model_gradients(bench, &bench->step);
    return bench->infer ? STATUS_OK : bench_model_update(&bench->step, error);
}

typedef struct Timing {
    double median, total; /* seconds of a step, and of all */
    int count;
} Timing;

static Status measure_steps(BenchModel *bench, int steps, Timing *timing, Error *error)
{
    enum { WARM_UP = 2, SECONDS = 10 };
    double times[MAX_STEPS] = {0};
    int wanted = steps ? steps : MAX_STEPS, count = 0;
    Status status = STATUS_OK;
    for (int i = 0; !status && i < WARM_UP; i++) status = run_step(bench, error);
    if (bench->profile) profile_reset(bench->profile);
    double start = clock_seconds();
    while (!status && count < wanted && (steps || count < MIN_STEPS || clock_seconds() - start < SECONDS)) {
        double begin = clock_seconds();
        status = run_step(bench, error);
        times[count++] = clock_seconds() - begin;
    }
    double total = clock_seconds() - start;
    *timing = (Timing){median_of(times, count), total, count};
    return status;
}

/* The threads' mean of what a step spends on a part, in milliseconds. */
static double part_ms(const BenchModel *bench, Timing timing, Phase part)
{
    return 1e3 * profile_seconds(bench->profile, part) / pool_threads(bench->pool) / timing.count;
}

static void print_profile(const BenchModel *bench, bool json, Timing timing)
{
    double mean = 1e3 * timing.total / timing.count;
    if (json) printf(", \"mean_ms\": %.5g, \"parts_ms\": {", mean);
    for (Phase part = 0; part < PHASES; part++) {
        double ms = part_ms(bench, timing, part);
        if (json)
            printf("%s\"%s\": %.5g", part ? ", " : "", profile_phase_name(part), ms);
        else
            printf("  %-16s %9.2f ms %5.1f %%\n", profile_phase_name(part), ms, 100 * ms / mean);
    }
    if (json) printf("}");
}

static void step_print(const BenchModel *bench, bool json, Timing timing, double operations)
{
    double peak = operations * 1e-9;
    double seconds = timing.median;
    const ModelConfig *config = &bench->config.model;
    const int batch = bench->batch.input.count;
    double gflops = peak_work(config, !bench->infer) * batch / seconds * 1e-9;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double rss = (double)usage.ru_maxrss / 1024;
    int threads = pool_threads(bench->pool);
    const char *mode = bench->infer ? "infer" : "train";
    if (json) {
        printf("{\"model\": \"%s\", \"batch\": %d, \"threads\": %d, \"mode\": \"%s\", \"images_per_s\": %.4g, "
               "\"step_ms\": %.5g, \"gflops\": %.4g, \"peak_gflops\": %.4g, \"peak_share\": %.4f, \"rss_mb\": %.1f",
               config->name, batch, threads, mode, batch / seconds, seconds * 1e3, gflops, peak, gflops / peak, rss);
        if (bench->profile) print_profile(bench, true, timing);
        printf("}\n");
        return;
    }
    const Kernels *kernels = model_kernels(bench->step.model);
    printf("%s, %s, batch %d, %d threads, %s%s%s\n", config->name, mode, batch, threads, kernels->name,
           kernels->bf16 ? ", products of bfloat16 by " : "", kernels->bf16 ? kernels->bf16->name : "");
    printf("  %.4g images/s, %.5g ms a step\n", batch / seconds, seconds * 1e3);
    printf("  %.4g GFLOP/s of %.4g at most: %.1f %%\n", gflops, peak, 100 * gflops / peak);
    printf("  memory: %.0f MB of activations, %.0f MB resident at most\n",
           (double)model_memory(bench->step.model) / (1 << 20), rss);
    if (bench->profile) print_profile(bench, false, timing);
}

Status bench_step(int argc, char **argv, Error *error)
{
    Arguments arguments = {.batch = 8};
    BenchModelSetup setup = {0};
    BenchModel bench = {0};
    Timing timing;
    Operands operands;
    Status status = step_parse(argc, argv, &arguments, &operands, error);
    if (status || operands.helped) return status;
    setup.batch = arguments.batch;
    setup.threads = arguments.threads;
    setup.infer = arguments.infer;
    status = settings_load(&arguments.settings, &setup.config, error);
    if (!status) status = bench_model_create(&bench, &setup, error);
    if (!status && arguments.profile) status = bench_model_profile(&bench, error);
    double before = status ? 0 : peak_measure(kernels_best(), bench.pool, PEAK_SECONDS);
    if (!status) status = measure_steps(&bench, arguments.steps, &timing, error);
    if (!status) {
        double after = peak_measure(kernels_best(), bench.pool, PEAK_SECONDS);
        step_print(&bench, arguments.json, timing, before > after ? before : after);
    }
    bench_model_free(&bench);
    return status;
}
