#include "dist/train/trainer.h"

#include <inttypes.h>

#include "core/base/path.h"
#include "dist/monitor/report.h"
#include "dist/train/coordinator_server.h"
#include "dist/train/same_run.h"
#include "dist/train/signals.h"
#include "dist/train/trainer_internal.h"

/* A run, from the outside to the inside: train, train_here, train_epochs, train_epoch. */
static Status train_here(Trainer *trainer, TrainResult *result, Error *error);
static Status train_epochs(Trainer *trainer, Error *error);
static Status train_epoch(Trainer *trainer, Error *error);
static Status finalize(Trainer *trainer, Status status, Error *error);
static void write_report(const Trainer *trainer);
static Status serve(Trainer *trainer, Error *error);

static bool ended(const Trainer *trainer)
{
    return trainer->position.epoch >= schedule_total_epochs(&trainer->config->schedule);
}

Status train(const World *world, Log *log, const Config *config, const TrainOptions *options, TrainResult *result,
             Error *error)
{
    World team;
    Trainer trainer = {.job = world,
                       .log = log,
                       .config = config,
                       .options = options,
                       .position = {.global_batch = config->batch_size, .best_epoch = -1}};
    *result = (TrainResult){0};
    Status status = same_settings(world, config, options, error);
    if (!status) status = trainer_split(&trainer, &team, error);
    if (status) return status;
    status = trainer_create(&trainer, error);
    if (!status) {
        WorldReport report;
        world_report(world, config->threads, pool_threads(trainer.pool), &report);
        if (report.line[0]) log_write(log, LOG_INFO, "%s", report.line);
        if (report.warning[0]) log_write(log, LOG_WARNING, "%s", report.warning);
        status = world->rank == trainer.server ? serve(&trainer, error) : train_here(&trainer, result, error);
    }
    trainer_free(&trainer);
    /* The server ends as the run does. */
    if (trainer.server >= 0) {
        world_broadcast(&status, sizeof status, world->comm);
        world_split_free(&team.comm);
    }
    return status;
}

/* All ranks meet here when each has made what it needs, those that train and the one that does not. */
static Status agree_on_creation(const Trainer *trainer, Status status, Error *error)
{
    return world_agree(trainer->job->comm, status, error);
}

/* A rank that trains. */
static Status train_here(Trainer *trainer, TrainResult *result, Error *error)
{
    const TrainOptions *options = trainer->options;
    bool resumed = false;
    Status status = trainer_create_worker(trainer, error);
    status = agree_on_creation(trainer, status, error);
    if (status) return status;
    trainer_log_header(trainer);
    speed_begin(&trainer->speed, trainer->log, trainer->world, &trainer->config->model, trainer->pool);
    status = coordinator_resume(trainer->coordinator, options->resume, &trainer->position, &resumed, error);
    if (!status && !resumed) status = trainer_init_weights(trainer, error);
    result->position = trainer->position;
    if (status) return status;
    result->was_done = ended(trainer) && trainer->position.validated == trainer->position.epoch;
    trainer->begun = true;
    if (!result->was_done) {
        coordinator_begin(trainer->coordinator, &trainer->position);
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
    const int64_t epoch = position->epoch, first = position->step;
    double compute = 0;
    while (position->epoch == epoch) {
        StepResult result;
        const RunPosition next = replica_next(&trainer->replica, position);
        const StepRequest request = {.checkpoint = coordinator_wants_checkpoint(trainer->coordinator, &next),
                                     .stop = coordinator_asked_to_stop(trainer->coordinator),
                                     .health = health(trainer, error)};
        Status status = replica_step(&trainer->replica, position, &request, &result, error);
        if (status) return status;
        if (result.stop) return STATUS_STOPPED;
        status = coordinator_step(trainer->coordinator, position, &result.stats, result.checkpoint, error);
        if (status) return status;
        speed_step(&trainer->speed, &result.stats);
        compute += result.compute;
    }
    return trainer_log_epoch(trainer, compute, position->step - first, error);
}

/* Ends a process that trained, with a checkpoint of all that was computed. After gradients that are not finite it writes
 * none: a run that is resumed there would fail again, and pruning would have removed a better checkpoint for it. */
static Status finalize(Trainer *trainer, Status status, Error *error)
{
    if (status == STATUS_FAILED) {
        coordinator_drain(trainer->coordinator); /* a checkpoint under way is of an earlier, good step */
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

/* The page only shows what the run folder holds, so a run does not fail when the page cannot be written. */
static void write_report(const Trainer *trainer)
{
    char path[CHECKPOINT_PATH];
    Error problem = {0};
    if (trainer->world->rank != 0) return;
    Status status = path_join(path, sizeof path, trainer->options->output, "report.html", &problem);
    if (!status) status = report_write(trainer->options->output, path, &problem);
    if (status) log_write(trainer->log, LOG_WARNING, "no report: %s", problem.message);
}

/* The rank that does not train. */
static Status serve(Trainer *trainer, Error *error)
{
    ParamTable table = {0};
    CoordinatorServer *server = NULL;
    CoordinatorSetup setup = trainer_coordinator_setup(trainer);
    setup.table = &table;
    setup.vectors = NULL;
    Status status = params_build(&table, &trainer->config->model, error);
    if (!status) status = coordinator_server_create(&server, &setup, error);
    status = agree_on_creation(trainer, status, error);
    if (!status) status = coordinator_server_run(server, error);
    coordinator_server_free(server);
    params_free(&table);
    return status;
}
