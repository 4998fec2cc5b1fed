#include "dist/train/trainer_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/base/path.h"
#include "core/model/weights.h"
#include "dist/train/provenance_collect.h"
#include "dist/train/same_run.h"

enum { TIMELINE_EVENTS = 200000 };

Status trainer_split(Trainer *trainer, World *team, Error *error)
{
    const World *job = trainer->job;
    *team = *job;
    trainer->world = team;
    trainer->server = -1;
    if (trainer->config->coordinator != COORDINATOR_DEDICATED) return STATUS_OK;
    if (job->size < 2)
        return error_set(error, STATUS_USAGE,
                         "coordinator: dedicated needs two ranks or more, one that does not train");
    trainer->server = job->size - 1;
    team->size = job->size - 1;
    return world_split(job->comm, job->rank == trainer->server, &team->comm, error);
}

/* ---- creation */

static Status run_folder_open(Trainer *trainer, Error *error)
{
    char path[CHECKPOINT_PATH];
    const TrainOptions *options = trainer->options;
    bool leads = trainer->world->rank == 0;
    Status status = path_join(path, sizeof path, options->output, "log.txt", error);
    if (!status && leads)
        status = run_open(&trainer->run, options->output, trainer->config, options->resume, options->override, error);
    if (!status) status = log_file(trainer->log, path, error);
    if (!status && leads && trainer->run.changes[0])
        log_write(trainer->log, LOG_INFO, "settings changed since the last start:\n%s", trainer->run.changes);
    return world_agree(trainer->job->comm, status, error);
}

static Status datasets_open(Trainer *trainer, Error *error)
{
    const Config *config = trainer->config;
    Status status = dataset_open(&trainer->images, config->data, "train", error);
    if (!status) status = dataset_open(&trainer->validation, config->data, "val", error);
    if (status) return status;
    if (dataset_classes(trainer->images) > config->model.num_classes)
        return error_set(error, STATUS_USAGE, "num_classes: %d, but %s has %d classes", config->model.num_classes,
                         config->data, dataset_classes(trainer->images));
    return STATUS_OK;
}

/* What travels with every weights file, so that it suffices by itself for eval and predict. */
static Status metadata_make(Trainer *trainer, Error *error)
{
    char path[CHECKPOINT_PATH];
    size_t size;
    Status status = path_join(path, sizeof path, trainer->options->output, "config.yaml", error);
    if (!status) status = file_read(path, 1 << 20, &trainer->config_text, &size, error);
    if (status) return status;
    json_t *names = json_array();
    for (int i = 0; i < dataset_classes(trainer->images); i++)
        json_array_append_new(names, json_string(dataset_class_name(trainer->images, i)));
    trainer->class_names = json_dumps(names, JSON_COMPACT);
    json_decref(names);
    trainer->provenance_text = provenance_json(&trainer->provenance);
    if (!trainer->class_names || !trainer->provenance_text) return memory_failed("the names of the classes", error);
    const char *metadata[] = {"format", "pt", "config", trainer->config_text, "class_names", trainer->class_names};
    memcpy(trainer->metadata, metadata, sizeof metadata);
    return STATUS_OK;
}

static Status samples_open(Trainer *trainer, Error *error)
{
    if (!trainer->options->samples) return STATUS_OK;
    char path[CHECKPOINT_PATH];
    snprintf(path, sizeof path, "%.4000s.%d", trainer->options->samples, trainer->world->rank);
    trainer->samples = fopen(path, "ae");
    if (!trainer->samples) return error_set(error, STATUS_FAILED, "%s: cannot open: %s", path, strerror(errno));
    trainer->replica.samples = trainer->samples;
    return STATUS_OK;
}

Status trainer_init_weights(Trainer *trainer, Error *error)
{
    const Config *config = trainer->config;
    const ParamTable *table = trainer->replica.step.table;
    RunVectors *vectors = &trainer->replica.step.vectors;
    params_init(table, config->seed, vectors->weights);
    if (config->init_weights[0]) {
        Status status = STATUS_OK;
        if (trainer->world->rank == 0) {
            WeightsReport report;
            status = weights_load(config->init_weights, table, vectors->weights, &report, error);
            if (!status) log_write(trainer->log, LOG_INFO, "weights from %s", config->init_weights);
            if (!status && report.head_dropped)
                log_write(trainer->log, LOG_INFO,
                          "its head knows %" PRId64 " classes and is left out; the new one has %d", report.file_classes,
                          config->model.num_classes);
            if (!status && report.positions_resized)
                log_write(trainer->log, LOG_INFO, "its position table of %" PRId64 " tokens is resized to %d",
                          report.file_positions, zoo_tokens(&config->model));
        }
        status = world_agree(trainer->world->comm, status, error);
        if (status) return status;
        world_broadcast(vectors->weights, (size_t)table->size * sizeof(float), trainer->world->comm);
    }
    if (vectors->ema) memcpy(vectors->ema, vectors->weights, (size_t)table->size * sizeof *vectors->ema);
    return STATUS_OK;
}

Status trainer_create(Trainer *trainer, Error *error)
{
    Status status = run_folder_open(trainer, error);
    if (status) return status;
    int threads = cores_threads(&trainer->job->cores, trainer->config->threads);
    status = pool_create(&trainer->pool, threads, error);
    if (!status) status = datasets_open(trainer, error);
    status = world_agree(trainer->job->comm, status, error);
    if (status) return status;
    status = provenance_collect(&trainer->provenance, trainer->job, pool_threads(trainer->pool),
                                trainer->options->command, error);
    if (!status && (trainer->world->rank == 0 || trainer->world->rank == trainer->server))
        status = metadata_make(trainer, error);
    status = world_agree(trainer->job->comm, status, error);
    return status ? status : same_data(trainer->job, trainer->config, error);
}

CoordinatorSetup trainer_coordinator_setup(Trainer *trainer)
{
    Replica *replica = &trainer->replica;
    TrainStep *step = &replica->step;
    return (CoordinatorSetup){.config = trainer->config,
                              .world = trainer->world,
                              .log = trainer->log,
                              .pool = trainer->pool,
                              .output = trainer->options->output,
                              .metadata = trainer->metadata,
                              .provenance_text = trainer->provenance_text,
                              .validation = trainer->validation,
                              .table = step->table,
                              .vectors = &step->vectors,
                              .reducer = step->reducer,
                              .timeline = trainer->timeline,
                              .model = step->model,
                              .batch = step->micro_batch,
                              .epoch_steps = replica->epoch_steps,
                              .images = dataset_count(trainer->images),
                              .provenance = &trainer->provenance,
                              .job = trainer->job->comm,
                              .server = trainer->server};
}

Status trainer_create_worker(Trainer *trainer, Error *error)
{
    Status status = STATUS_OK;
    if (trainer->options->timeline) status = timeline_create(&trainer->timeline, TIMELINE_EVENTS, error);
    status = world_agree(trainer->world->comm, status, error);
    if (!status)
        status = replica_create(&trainer->replica, trainer->config, trainer->world, trainer->images, trainer->pool,
                                trainer->timeline, error);
    if (!status) status = samples_open(trainer, error);
    status = world_agree(trainer->world->comm, status, error);
    if (status) return status;
    CoordinatorSetup setup = trainer_coordinator_setup(trainer);
    return coordinator_create(&trainer->coordinator, &setup, error);
}

void trainer_free(Trainer *trainer)
{
    if (trainer->samples) fclose(trainer->samples);
    coordinator_free(trainer->coordinator);
    free(trainer->class_names);
    free(trainer->provenance_text);
    free(trainer->config_text);
    replica_free(&trainer->replica);
    timeline_free(trainer->timeline);
    dataset_close(trainer->validation);
    dataset_close(trainer->images);
    pool_free(trainer->pool);
    if (trainer->begun)
        run_close(&trainer->run);
    else
        run_abandon(&trainer->run);
}

/* ---- the log */

static void log_provenance(void *context, const char *name, const char *value)
{
    char line[2 * PATH_SIZE];
    snprintf(line, sizeof line, "%s: %s", name, value);
    log_note(context, line);
}

/* What is not trained at all, or at another rate. */
static void log_transfer(const Trainer *trainer)
{
    const Config *config = trainer->config;
    const ParamTable *table = trainer->replica.step.table;
    int frozen = 0;
    for (int i = 0; i < table->count; i++) frozen += table->items[i].frozen;
    if (frozen > 0) log_write(trainer->log, LOG_INFO, "frozen: %d of %d tensors", frozen, table->count);
    if (config->transfer_ratio != 1)
        log_write(trainer->log, LOG_INFO, "lr %g is the head's; everything else begins at %g", config->schedule.lr,
                  config->schedule.lr * config->transfer_ratio);
}

void trainer_log_header(const Trainer *trainer)
{
    if (trainer->world->rank == 0) provenance_each(&trainer->provenance, log_provenance, trainer->log);
    const Config *config = trainer->config;
    const Replica *replica = &trainer->replica;
    Log *log = trainer->log;
    char text[512];
    config_describe_model(config, text, sizeof text);
    log_write(log, LOG_INFO, "model %s: %.2f M parameters, %d x %d pixels, %d classes, %d tokens of %d", text,
              (double)replica->step.table->numel * 1e-6, config->model.img_size, config->model.img_size,
              config->model.num_classes, zoo_tokens(&config->model), config->model.embed_dim);
    log_write(log, LOG_INFO, "data %s: %" PRId64 " training images, %" PRId64 " validation images, %d classes",
              config->data, dataset_count(trainer->images), dataset_count(trainer->validation),
              dataset_classes(trainer->images));
    config_describe_lr(config, text, sizeof text);
    log_write(log, LOG_INFO,
              "global batch %" PRId64 ", up to %d images at a time on each rank; %s; %" PRId64
              " steps per epoch, %d epochs",
              config->batch_size, replica->step.micro_batch, text, replica->epoch_steps,
              schedule_total_epochs(&config->schedule));
    log_transfer(trainer);
    reducer_describe(replica->step.reducer, text, sizeof text);
    log_write(log, LOG_INFO, "run folder %s; gradients summed by %s", trainer->options->output, text);
    if (trainer->world->rank == 0 && config_lr_unscaled(config, text, sizeof text))
        log_write(log, LOG_WARNING, "%s", text);
}

static void log_bad_records(Trainer *trainer)
{
    LoaderCounts counts = loader_counts(trainer->replica.loader);
    if (counts.bad > trainer->bad_logged)
        log_write(trainer->log, LOG_WARNING,
                  "%" PRId64 " record%s could not be used since the start, others took their place; the first: %s",
                  counts.bad, counts.bad == 1 ? "" : "s", counts.bad_example);
    trainer->bad_logged = counts.bad;
}

/* The all-reduce makes all ranks' steps equally long, so who holds the others up shows only in what each computes. */
Status trainer_log_epoch(Trainer *trainer, double compute, int64_t steps, Error *error)
{
    ReducerSpread spread;
    log_bad_records(trainer);
    Status status = reducer_spread(trainer->replica.step.reducer, 1e3 * compute / (double)steps, &spread, error);
    if (status || trainer->world->size == 1) return status;
    log_write(trainer->log, spread.max > 1.2 * spread.median ? LOG_INFO : LOG_DEBUG,
              "computing takes %.1f ms a step on the fastest rank, %d, %.1f in the middle, %.1f on the slowest, %d",
              spread.min, spread.min_rank, spread.median, spread.max, spread.max_rank);
    return STATUS_OK;
}
