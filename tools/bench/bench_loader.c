/* bench_loader.c: `t2t bench loader`: images per second of decoding, of evaluation and of training. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/base/clock.h"
#include "core/base/memory.h"
#include "core/base/thread_pool.h"
#include "data/loader/loader.h"
#include "data/augment/sample.h"
#include "dist/train/step.h"
#include "tools/args.h"
#include "tools/bench/bench.h"

enum { BATCH = 32, DEPTH = 3 };

static const char USAGE[] =
    "usage: t2t bench loader --data DIR [--option value ...]\n\n"
    "Reads images of a data set and makes them ready for a model, in three ways: decode only; the evaluation "
    "pipeline;\n"
    "the training pipeline with the configured augmentation (by default the published recipe's). Nothing else runs.\n"
    "\"per core\" divides by processor time, which other work on the machine does not disturb much.\n\n";

/* What is measured, in the order of --mode's names. */
typedef enum Mode { MODE_DECODE, MODE_EVAL, MODE_TRAIN, MODE_STEP, MODE_ALL = -1 } Mode;
static const char *const MODES[] = {"decode", "eval", "train", "step", NULL};

typedef struct Arguments {
    const char *data, *split;
    Mode mode;
    Settings settings;
    int threads;
    int64_t images;
    bool json;
} Arguments;

typedef struct Figures {
    double wall, processor, waited; /* seconds */
    int64_t images;
} Figures;

static Status loader_parse(int argc, char **argv, Arguments *arguments, Operands *operands, Error *error)
{
    *arguments = (Arguments){.split = "train", .mode = MODE_ALL, .images = 2000, .threads = 1};
    Settings *settings = &arguments->settings;
    const Arg args[] = {
        ARG_TEXT("data", "DIR", &arguments->data, "a converted data set"),
        ARG_TEXT("split", "NAME", &arguments->split, "train or val (train)"),
        ARG_CHOICE("mode", "MODE", &arguments->mode,
                   "decode, eval or train (all three); or step: the share of a training step that waits for data",
                   MODES),
        ARG_MODEL(settings, "what trains in mode step (t2t_vit_7)"),
        ARG_NUMBER("images", "N", &arguments->images, "per measurement (2000)", 1, 1000000000),
        ARG_INT("threads", "N", &arguments->threads, "(1)", 1, 1024),
        ARG_CONFIG(settings, "a configuration's augmentation and image size"),
        ARG_SET(settings, "a change to it; may be repeated"),
        ARG_FLAG("json", &arguments->json, "an array of objects instead of a table"),
        {0},
    };
    const CommandLine line = {.name = "t2t bench loader", .usage = USAGE, .args = args};
    Status status = settings_model(settings, "t2t_vit_7", error);
    if (!status) status = args_parse(&line, argc, argv, operands, error);
    if (status || operands->helped || arguments->data) return status;
    return error_set(error, STATUS_USAGE, "--data DIR is missing; see `t2t bench loader --help`");
}

static void figures_start(Figures *figures)
{
    figures->wall = -clock_seconds();
    figures->processor = -clock_processor_seconds();
}

static void figures_stop(Figures *figures, int64_t images)
{
    figures->wall += clock_seconds();
    figures->processor += clock_processor_seconds();
    figures->images = images;
}

/* ---- decode */

typedef struct DecodeThread {
    DatasetReader *reader;
    int64_t count;
    Image image;
    Status status;
    Error error;
} DecodeThread;

static void decode_task(void *context, int64_t task, int thread)
{
    DecodeThread *own = (DecodeThread *)context + thread;
    Record record;
    if (own->status) return;
    own->status = dataset_read(own->reader, task % own->count, &record, &own->error);
    if (!own->status) own->status = image_decode(record.bytes, record.size, &own->image, &own->error);
}

static Status measure_decode(const Dataset *dataset, int threads, int64_t images, Figures *figures, Error *error)
{
    Pool *pool = NULL;
    DecodeThread *own = memory_alloc(threads, sizeof *own, "the threads", error);
    if (!own) return STATUS_FAILED;
    Status status = pool_create(&pool, threads, error);
    for (int i = 0; i < threads && !status; i++) {
        own[i].count = dataset_count(dataset);
        status = dataset_reader_create(&own[i].reader, dataset, error);
    }
    if (!status) {
        figures_start(figures);
        pool_run(pool, images, decode_task, own);
        figures_stop(figures, images);
    }
    for (int i = 0; i < threads; i++) {
        if (own[i].status && !status) status = error_set(error, own[i].status, "%s", own[i].error.message);
        image_free(&own[i].image);
        dataset_reader_free(own[i].reader);
    }
    pool_free(pool);
    free(own);
    return status;
}

/* ---- the pipelines */

/* Counts from the time that every batch of the ring was used once. */
static Status drain(Loader *loader, int warm_up, int64_t images, Figures *figures, Error *error)
{
    int64_t done = 0;
    Status status = loader_start(loader, 0, 0, error);
    for (int round = 0; !status && done < images; round++) {
        Batch *batch;
        if (round == warm_up) {
            figures_start(figures);
            done = 0;
        }
        status = loader_next(loader, &batch, error);
        if (!status && !batch) status = loader_start(loader, 0, 0, error); /* evaluation: another pass */
        if (status || !batch) continue;
        if (round >= warm_up) done += batch->count;
        loader_release(loader, batch);
    }
    figures_stop(figures, done);
    return status;
}

static Status make_loader(Loader **loader, const Dataset *dataset, const Config *config, int workers, bool training,
                          Error *error)
{
    const int64_t count = dataset_count(dataset);
    const int batch = count < BATCH ? (int)count : BATCH;
    LoaderConfig loader_config = {.pipeline = config->pipeline,
                                  .training = training,
                                  .seed = config->seed,
                                  .shuffle = true,
                                  .global_batch = batch,
                                  .end = training ? batch : count,
                                  .batch = batch,
                                  .classes = dataset_classes(dataset),
                                  .workers = workers,
                                  .depth = DEPTH,
                                  .max_bad_share = 1.0};
    return loader_create(loader, dataset, &loader_config, error);
}

static Status measure_loader(const Dataset *dataset, const Config *config, const Arguments *arguments, bool training,
                             Figures *figures, Error *error)
{
    Loader *loader;
    int workers = arguments->threads > 1 ? arguments->threads : 0;
    Status status = make_loader(&loader, dataset, config, workers, training, error);
    if (!status) status = drain(loader, DEPTH, arguments->images, figures, error);
    loader_free(loader);
    return status;
}

/* ---- a training step beside the loader */

static Status step_create(TrainStep *step, const Config *config, Pool *pool, Error *error)
{
    const TrainStepSetup setup = {.config = config, .kind = STEP_GRADIENTS, .micro_batch = BATCH, .pool = pool};
    Status status = train_step_create(step, &setup, error);
    if (status) return status;
    params_init(step->table, 0, step->vectors.weights);
    model_set_weights(step->model, step->vectors.weights);
    return STATUS_OK;
}

static void step_on(TrainStep *step, const Batch *batch)
{
    const StepBatch work = {
        .input = {.count = batch->count, .images = batch->images, .training = true, .samples = batch->samples},
        .targets = batch->targets,
        .scale = 1.0 / batch->count};
    train_step_gradients(step, &work);
}

static Status measure_step(const Dataset *dataset, Config config, const Arguments *arguments, Figures *figures,
                           Error *error)
{
    TrainStep step = {0};
    Loader *loader = NULL;
    Pool *pool = NULL;
    config.model.num_classes = dataset_classes(dataset);
    Status status = pool_create(&pool, arguments->threads, error);
    if (!status) status = step_create(&step, &config, pool, error);
    if (!status) status = make_loader(&loader, dataset, &config, config.workers > 0 ? config.workers : 1, true, error);
    if (!status) status = loader_start(loader, 0, 0, error);
    int64_t done = -1; /* the first step is not timed: the ring is empty */
    double waited = 0;
    while (!status && done < arguments->images) {
        Batch *batch;
        status = loader_next(loader, &batch, error);
        if (status) break;
        if (done < 0) {
            done = 0;
            step_on(&step, batch);
            waited = loader_counts(loader).wait_seconds;
            figures_start(figures);
        } else {
            step_on(&step, batch);
            done += batch->count;
        }
        loader_release(loader, batch);
    }
    if (!status) {
        figures_stop(figures, done);
        figures->waited = loader_counts(loader).wait_seconds - waited;
    }
    loader_free(loader);
    train_step_free(&step);
    pool_free(pool);
    return status;
}

static Status report_step(const Arguments *arguments, const Config *config, const Dataset *dataset, Error *error)
{
    Figures figures = {0};
    Status status = measure_step(dataset, *config, arguments, &figures, error);
    double share = figures.waited / figures.wall, rate = (double)figures.images / figures.wall;
    if (status) return status;
    if (arguments->json)
        printf("[\n  {\"mode\": \"step\", \"model\": \"%s\", \"threads\": %d, \"images\": %" PRId64
               ", \"images_per_s\": %.2f, "
               "\"data_wait\": %.4f}\n]\n",
               config->model.name, arguments->threads, figures.images, rate, share);
    else
        printf("%s on %d threads: %.2f images/s, %.2f %% of the time waiting for data\n", config->model.name,
               arguments->threads, rate, 100 * share);
    return STATUS_OK;
}

/* ---- report */

static void print(const Arguments *arguments, const char *mode, const Figures *figures, bool first)
{
    double rate = (double)figures->images / figures->wall, per_core = (double)figures->images / figures->processor;
    if (arguments->json)
        printf("%s\n  {\"mode\": \"%s\", \"threads\": %d, \"images\": %" PRId64 ", \"images_per_s\": %.1f, "
               "\"images_per_s_per_core\": %.1f}",
               first ? "[" : ",", mode, arguments->threads, figures->images, rate, per_core);
    else
        printf("%-8s%8d%10" PRId64 "%14.1f%14.1f\n", mode, arguments->threads, figures->images, rate, per_core);
    fflush(stdout);
}

static Status loader_run(const Arguments *arguments, const Config *config, const Dataset *dataset, Error *error)
{
    Status status = STATUS_OK;
    if (arguments->mode == MODE_STEP) return report_step(arguments, config, dataset, error);
    if (!arguments->json) printf("%-8s%8s%10s%14s%14s\n", "mode", "threads", "images", "images/s", "per core");
    for (Mode mode = MODE_DECODE; mode <= MODE_TRAIN && !status; mode++) {
        Figures figures = {0};
        if (arguments->mode != MODE_ALL && arguments->mode != mode) continue;
        if (mode == MODE_DECODE)
            status = measure_decode(dataset, arguments->threads, arguments->images, &figures, error);
        else
            status = measure_loader(dataset, config, arguments, mode == MODE_TRAIN, &figures, error);
        if (!status) print(arguments, MODES[mode], &figures, mode == MODE_DECODE || arguments->mode == mode);
    }
    if (!status && arguments->json) printf("\n]\n");
    return status;
}

Status bench_loader(int argc, char **argv, Error *error)
{
    Arguments arguments;
    Config config;
    Dataset *dataset = NULL;
    Operands operands;
    Status status = loader_parse(argc, argv, &arguments, &operands, error);
    if (status || operands.helped) return status;
    status = settings_load(&arguments.settings, &config, error);
    if (!status) status = dataset_open(&dataset, arguments.data, arguments.split, error);
    if (!status) status = loader_run(&arguments, &config, dataset, error);
    dataset_close(dataset);
    return status;
}
