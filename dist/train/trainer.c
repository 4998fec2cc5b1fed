#include "dist/train/trainer.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/model/weights.h"
#include "dist/train/coordinator.h"
#include "dist/train/coordinator_server.h"
#include "dist/train/replica.h"
#include "dist/monitor/report.h"
#include "dist/train/run_folder.h"
#include "dist/train/same_run.h"
#include "dist/train/signals.h"

enum { TIMELINE_EVENTS = 200000 };

typedef struct Trainer {
    const World *job;   /* all ranks */
    const World *world; /* those that train: all, or with `coordinator: dedicated` all but the last */
    int server;         /* the rank that validates and writes checkpoints; -1: none */
    Log *log;
    const Config *config;
    const TrainOptions *options;
    Run run; /* rank 0 */
    Pool *pool;
    Dataset *images, *validation;
    Replica replica;
    char *config_text, *class_names;
    const char *metadata[8];
    Coordinator *coordinator;
    RunPosition position;
    Timeline *timeline;
    FILE *samples;
    int64_t bad_logged; /* unusable records that the log knows of */
} Trainer;

/* ---- creation */

static Status run_folder_open(Trainer *trainer, Error *error)
{
    char path[CHECKPOINT_PATH];
    const TrainOptions *options = trainer->options;
    bool leads = trainer->world->rank == 0;
    Status status = run_path(path, sizeof path, options->output, "log.txt", error);
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
    Status status = run_path(path, sizeof path, trainer->options->output, "config.yaml", error);
    if (!status) status = file_read(path, 1 << 20, &trainer->config_text, &size, error);
    if (status) return status;
    json_t *names = json_array();
    for (int i = 0; i < dataset_classes(trainer->images); i++)
        json_array_append_new(names, json_string(dataset_class_name(trainer->images, i)));
    trainer->class_names = json_dumps(names, JSON_COMPACT);
    json_decref(names);
    if (!trainer->class_names) return error_set(error, STATUS_FAILED, "out of memory for the names of the classes");
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

static CoordinatorSetup coordinator_setup(Trainer *trainer)
{
    Replica *replica = &trainer->replica;
    return (CoordinatorSetup){.config = trainer->config,
                              .world = trainer->world,
                              .log = trainer->log,
                              .pool = trainer->pool,
                              .output = trainer->options->output,
                              .metadata = trainer->metadata,
                              .validation = trainer->validation,
                              .table = replica->table,
                              .vectors = &replica->vectors,
                              .reducer = replica->reducer,
                              .timeline = trainer->timeline,
                              .model = replica->model,
                              .batch = replica->micro_batch,
                              .epoch_steps = replica->epoch_steps,
                              .job = trainer->job->comm,
                              .server = trainer->server};
}

/* All ranks meet here when each has made what it needs, those that train and the one that does not. */
static Status agree_on_creation(const Trainer *trainer, Status status, Error *error)
{
    return world_agree(trainer->job->comm, status, error);
}

/* The rank that does not train. Its message of a failure is the others' too. */
static Status serve(Trainer *trainer, Error *error)
{
    ParamTable table = {0};
    CoordinatorServer *server = NULL;
    CoordinatorSetup setup = coordinator_setup(trainer);
    setup.table = &table;
    setup.vectors = NULL;
    Status status = params_build(&table, &trainer->config->model, error);
    if (!status) status = coordinator_server_create(&server, &setup, error);
    status = agree_on_creation(trainer, status, error);
    if (!status) coordinator_server_run(server);
    coordinator_server_free(server);
    params_free(&table);
    return status;
}

/* A new run's weights: from the seed, or from a file, which rank 0 alone reads. */
static Status weights_make(Trainer *trainer, Error *error)
{
    const Config *config = trainer->config;
    const ParamTable *table = trainer->replica.table;
    RunVectors *vectors = &trainer->replica.vectors;
    params_init(table, &config->model, config->seed, vectors->weights);
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
        MPI_Bcast(vectors->weights, (int)table->size, MPI_FLOAT, 0, trainer->world->comm);
    }
    if (vectors->ema) memcpy(vectors->ema, vectors->weights, (size_t)table->size * sizeof *vectors->ema);
    return STATUS_OK;
}

static void log_run_header(const Trainer *trainer)
{
    const Config *config = trainer->config;
    const Replica *replica = &trainer->replica;
    Log *log = trainer->log;
    char text[512];
    config_describe_model(config, text, sizeof text);
    log_write(log, LOG_INFO, "model %s: %.2f M parameters, %d x %d pixels, %d classes, %d tokens of %d", text,
              (double)replica->table->numel * 1e-6, config->model.img_size, config->model.img_size,
              config->model.num_classes, zoo_tokens(&config->model), config->model.embed_dim);
    log_write(log, LOG_INFO, "data %s: %" PRId64 " training images, %" PRId64 " validation images, %d classes",
              config->data, dataset_count(trainer->images), dataset_count(trainer->validation),
              dataset_classes(trainer->images));
    log_write(log, LOG_INFO,
              "global batch %" PRId64 ", up to %d images at a time on each rank; lr %g; %" PRId64
              " steps per epoch, %d epochs",
              config->batch_size, replica->micro_batch, config->schedule.lr, replica->epoch_steps,
              schedule_total_epochs(&config->schedule));
    log_write(log, LOG_INFO, "run folder %s; gradients summed by %s", trainer->options->output,
              reducer_kind(replica->reducer));
    if (trainer->world->rank == 0 && config_lr_unscaled(config, text, sizeof text))
        log_write(log, LOG_WARNING, "%s", text);
}

/* What all ranks have. */
static Status trainer_create(Trainer *trainer, Error *error)
{
    Status status = run_folder_open(trainer, error);
    if (status) return status;
    status = pool_create(&trainer->pool, pool_useful_threads(trainer->config->threads), error);
    if (!status) status = datasets_open(trainer, error);
    if (!status && (trainer->world->rank == 0 || trainer->world->rank == trainer->server))
        status = metadata_make(trainer, error);
    status = world_agree(trainer->job->comm, status, error);
    return status ? status : same_data(trainer->job, trainer->config, error);
}

/* What those that train have. */
static Status worker_create(Trainer *trainer, Error *error)
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
    CoordinatorSetup setup = coordinator_setup(trainer);
    return coordinator_create(&trainer->coordinator, &setup, error);
}

static void trainer_free(Trainer *trainer)
{
    if (trainer->samples) fclose(trainer->samples);
    coordinator_free(trainer->coordinator);
    free(trainer->class_names);
    free(trainer->config_text);
    replica_free(&trainer->replica);
    timeline_free(trainer->timeline);
    dataset_close(trainer->validation);
    dataset_close(trainer->images);
    pool_free(trainer->pool);
    run_close(&trainer->run);
}

/* ---- the run */

static bool ended(const Trainer *trainer)
{
    return trainer->position.epoch >= schedule_total_epochs(&trainer->config->schedule);
}

/* The all-reduce makes all ranks' steps equally long, so who holds the others up shows only in what each computes. */
static Status log_stragglers(Trainer *trainer, double compute, int64_t steps, Error *error)
{
    ReducerSpread spread;
    Status status = reducer_spread(trainer->replica.reducer, 1e3 * compute / (double)steps, &spread, error);
    if (status || trainer->world->size == 1) return status;
    log_write(trainer->log, spread.max > 1.2 * spread.median ? LOG_INFO : LOG_DEBUG,
              "computing takes %.1f ms a step on the fastest rank, %d, %.1f in the middle, %.1f on the slowest, %d",
              spread.min, spread.min_rank, spread.median, spread.max, spread.max_rank);
    return STATUS_OK;
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

/* What rank 0 brings into the step's agreement. */
static Status health(Trainer *trainer, Error *error)
{
    if (trainer->world->rank != 0) return STATUS_OK;
    Status status = run_lock_check(&trainer->run.lock, error);
    return status ? status : coordinator_health(trainer->coordinator, error);
}

/* Steps to the end of the epoch. */
static Status train_epoch(Trainer *trainer, Error *error)
{
    RunPosition *position = &trainer->position;
    const int64_t first = position->step;
    double compute = 0;
    for (int64_t epoch = position->epoch; position->epoch == epoch;) {
        StepOutcome outcome;
        RunPosition next = replica_next(&trainer->replica, position);
        const StepWishes wishes = {.checkpoint = coordinator_wants_checkpoint(trainer->coordinator, &next),
                                   .stop = coordinator_asked_to_stop(trainer->coordinator),
                                   .health = health(trainer, error)};
        Status status = replica_step(&trainer->replica, position, &wishes, &outcome, error);
        if (status) return status;
        if (outcome.stop) return STATUS_STOPPED;
        status = coordinator_step(trainer->coordinator, position, &outcome.stats, outcome.checkpoint, error);
        if (status) return status;
        compute += outcome.compute;
    }
    log_bad_records(trainer);
    return log_stragglers(trainer, compute, position->step - first, error);
}

/* An epoch counts as over when it is validated, so a run that was cut between the two validates first. */
static Status train_epochs(Trainer *trainer, Error *error)
{
    for (;;) {
        if (trainer->position.epoch_step == 0 && trainer->position.validated < trainer->position.epoch) {
            Status status = coordinator_validate(trainer->coordinator, &trainer->position, error);
            if (status) return status;
        }
        if (ended(trainer)) return STATUS_OK;
        Status status = train_epoch(trainer, error);
        if (status) return status;
    }
}

/* The end of a process that trained: whatever could be computed is on disk. After gradients that are not finite nothing
 * is written: resumed there, the run would only fail again, and a better checkpoint would have gone for it. */
static Status finalize(Trainer *trainer, Status status, Error *error)
{
    if (status == STATUS_FAILED) {
        coordinator_drain(trainer->coordinator); /* what is under way is of a step that was good */
        return status;
    }
    if (status == STATUS_STOPPED && signals_caught())
        log_write(trainer->log, LOG_INFO, "%s: stopping at step %" PRId64 "; what is under way is dropped",
                  signals_name(signals_caught()), trainer->position.step);
    Error problem = {0};
    Status finished = trainer->world->rank == 0 ? run_lock_check(&trainer->run.lock, &problem) : STATUS_OK;
    finished = world_agree(trainer->world->comm, finished, &problem);
    if (finished)
        coordinator_drain(trainer->coordinator);
    else
        finished = coordinator_finish(trainer->coordinator, &trainer->position, &problem);
    if (!finished) return status;
    if (status == STATUS_DATA) return error_add(error, "and then: %s", problem.message);
    *error = problem;
    return finished;
}

/* The page is a view of what is there anyway: that it cannot be written does not make a run fail. */
static void write_report(const Trainer *trainer)
{
    char path[CHECKPOINT_PATH];
    Error problem = {0};
    if (trainer->world->rank != 0) return;
    Status status = run_path(path, sizeof path, trainer->options->output, "report.html", &problem);
    if (!status) status = report_write(trainer->options->output, path, &problem);
    if (status) log_write(trainer->log, LOG_WARNING, "no report: %s", problem.message);
}

static Status train_here(Trainer *trainer, TrainResult *result, Error *error)
{
    const TrainOptions *options = trainer->options;
    bool resumed = false;
    Status status = worker_create(trainer, error);
    status = agree_on_creation(trainer, status, error);
    if (status) return status;
    log_run_header(trainer);
    status = coordinator_resume(trainer->coordinator, options->resume, &trainer->position, &resumed, error);
    if (!status && !resumed) status = weights_make(trainer, error);
    result->position = trainer->position;
    if (status) return status;
    result->was_done = ended(trainer) && trainer->position.validated == trainer->position.epoch;
    if (!result->was_done) {
        status = replica_start(&trainer->replica, &trainer->position, error);
        status = world_agree(trainer->world->comm, status, error);
        if (!status) status = finalize(trainer, train_epochs(trainer, error), error);
    }
    result->position = trainer->position;
    if (!status && !result->was_done) write_report(trainer);
    if (trainer->timeline && (!status || status == STATUS_STOPPED)) {
        Status written = timeline_write(trainer->timeline, trainer->world->comm, options->timeline, error);
        if (written) status = written;
    }
    return status;
}

/* Those that train, as a world of their own; the rank stays what it is in the whole. */
static Status team_split(const World *job, const Config *config, World *team, int *server, Error *error)
{
    *team = *job;
    *server = -1;
    if (config->coordinator != COORDINATOR_DEDICATED) return STATUS_OK;
    if (job->size < 2)
        return error_set(error, STATUS_USAGE,
                         "coordinator: dedicated needs two ranks or more, one that does not train");
    *server = job->size - 1;
    team->size = job->size - 1;
    int code = MPI_Comm_split(job->comm, job->rank == *server, job->rank, &team->comm);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "MPI_Comm_split", error);
}

Status train(const World *world, Log *log, const Config *config, const TrainOptions *options, TrainResult *result,
             Error *error)
{
    World team;
    Trainer trainer = {.job = world,
                       .world = &team,
                       .log = log,
                       .config = config,
                       .options = options,
                       .position = {.global_batch = config->batch_size, .best_epoch = -1}};
    *result = (TrainResult){0};
    Status status = same_settings(world, config, options, error);
    if (!status) status = team_split(world, config, &team, &trainer.server, error);
    if (status) return status;
    status = trainer_create(&trainer, error);
    if (!status) {
        WorldReport report;
        world_report(world, config->threads, pool_threads(trainer.pool), &report);
        if (report.line[0]) log_write(trainer.log, LOG_INFO, "%s", report.line);
        if (report.warning[0]) log_write(trainer.log, LOG_WARNING, "%s", report.warning);
        status = world->rank == trainer.server ? serve(&trainer, error) : train_here(&trainer, result, error);
    }
    trainer_free(&trainer);
    /* The server ends as the run does. */
    if (trainer.server >= 0) {
        int ended_with = status;
        MPI_Bcast(&ended_with, 1, MPI_INT, 0, world->comm);
        status = (Status)ended_with;
        MPI_Comm_free(&team.comm);
    }
    return status;
}
