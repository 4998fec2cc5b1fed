#include "dist/train/coordinator.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/clock.h"
#include "dist/train/coordinator_internal.h"
#include "dist/train/run_folder.h"
#include "dist/train/signals.h"

enum { FINISH_MICROSECONDS = 2000 };

/* ---- creation */

bool coordinator_sliced(const CoordinatorSetup *setup)
{
    return setup->config->zero == 1 && setup->world->size > 1;
}

/* The record up to a checkpoint must not be behind it. The descriptors do not change while the run goes on. */
static Status sync_metrics(void *context, Error *error)
{
    Coordinator *coordinator = context;
    return coordinator->metrics_open ? metrics_sync(&coordinator->metrics, error) : STATUS_OK;
}

Status coordinator_writer_config(const CoordinatorSetup *setup, char *folder, char *layout, char **text,
                                 WriterConfig *writer, Error *error)
{
    char path[CHECKPOINT_PATH];
    size_t size;
    Status status = run_path(folder, CHECKPOINT_PATH, setup->output, "checkpoints", error);
    if (!status) status = run_path(path, sizeof path, setup->output, "config.yaml", error);
    if (!status) status = file_read(path, 1 << 20, text, &size, error);
    if (status) return status;
    snprintf(layout, 64, "%d ranks x %d threads", setup->world->size, pool_threads(setup->pool));
    const bool trains = setup->vectors != NULL, sliced = coordinator_sliced(setup);
    const bool head = !trains || (setup->keeper < 0 && setup->world->rank == 0), moments = sliced ? trains : head;
    *writer = (WriterConfig){.folder = folder,
                             .run = setup->output,
                             .table = setup->table,
                             .config = *text,
                             .layout = layout,
                             .metadata = setup->metadata,
                             .keep = setup->config->keep,
                             .ema = setup->config->optim.ema_decay > 0,
                             .moment1 = moments,
                             .moment2 = moments && setup->config->optim.kind == OPT_ADAMW,
                             .begin = trains ? setup->vectors->begin : 0,
                             .end = trains ? setup->vectors->end : setup->table->size,
                             .head = head,
                             .part = sliced ? setup->world->rank : 0,
                             .parts = sliced ? setup->world->size : 1,
                             .others = sliced && head ? setup->world->size - trains : 0};
    return STATUS_OK;
}

/* What of the writing is this rank's: with slices every rank has a part, else the leader or the keeper has all of
 * it. */
static Status files_create(Coordinator *coordinator, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    const bool shared = setup->keeper < 0;
    WriterConfig writer;
    if (!coordinator->leads && !coordinator_sliced(setup)) return STATUS_OK;
    Status status = coordinator_writer_config(setup, coordinator->folder, coordinator->layout,
                                              &coordinator->config_text, &writer, error);
    if (!status && (shared || coordinator_sliced(setup))) {
        if (writer.head) {
            writer.sync = sync_metrics;
            writer.context = coordinator;
        }
        status =
            sharded_checkpoint_create(&coordinator->sharded, setup->job, shared ? 0 : setup->keeper, &writer, error);
    }
    if (!status && coordinator->leads && !shared)
        status = courier_create(&coordinator->courier, setup->job, setup->keeper, setup->table, setup->vectors,
                                !coordinator_sliced(setup), error);
    return status;
}

Status coordinator_create(Coordinator **out, const CoordinatorSetup *setup, Error *error)
{
    *out = NULL;
    Coordinator *coordinator = calloc(1, sizeof *coordinator);
    if (!coordinator) return error_set(error, STATUS_FAILED, "out of memory for the coordinator");
    coordinator->setup = *setup;
    coordinator->leads = setup->world->rank == 0;
    coordinator->proved = -1;
    coordinator->last_time = clock_seconds();
    Status status = STATUS_OK;
    if (setup->vectors->ema && setup->keeper < 0)
        status =
            model_create(&coordinator->ema_model, &setup->config->model, setup->batch, MODEL_EVAL, setup->pool, error);
    if (!status) status = files_create(coordinator, error);
    if (status) {
        coordinator_free(coordinator);
        return status;
    }
    *out = coordinator;
    return STATUS_OK;
}

void coordinator_free(Coordinator *coordinator)
{
    if (!coordinator) return;
    sharded_checkpoint_free(&coordinator->sharded);
    if (coordinator->courier) courier_order(coordinator->courier, NULL, ORDER_QUIT, NULL, &(RunPosition){0});
    courier_free(coordinator->courier);
    if (coordinator->progressing) progress_end(&coordinator->progress);
    if (coordinator->metrics_open) metrics_close(&coordinator->metrics);
    model_free(coordinator->ema_model);
    free(coordinator->config_text);
    free(coordinator);
}

/* ---- checkpoints */

/* What a signal leaves time for: the step under way, and a checkpoint. */
static void check_grace(Coordinator *coordinator, double write_seconds)
{
    double grace = coordinator->setup.config->grace;
    if (coordinator->grace_told || coordinator->step_seconds + write_seconds <= grace) return;
    coordinator->grace_told = true;
    log_write(
        coordinator->setup.log, LOG_WARNING,
        "a step takes %.0f s and a checkpoint %.0f s, more than grace, %g s: after a signal the job may be killed "
        "before its checkpoint is written; ask the scheduler for an earlier signal",
        coordinator->step_seconds, write_seconds, grace);
}

static void note_checkpoint(Coordinator *coordinator, const WriterReport *report)
{
    Log *log = coordinator->setup.log;
    coordinator->failures = report->status ? coordinator->failures + 1 : 0;
    if (report->status) coordinator->failure = *report;
    if (!report->status) {
        coordinator->proved = report->step;
        log_write(log, LOG_INFO,
                  "checkpoint of step %" PRId64 ": %.1f MB in %.1f s, copied in %.3f s, the step held up for %.3f s",
                  report->step, (double)report->bytes * 1e-6, report->write_seconds, report->copy_seconds,
                  coordinator->held_seconds);
        if (report->record[0]) coordinator_metrics_failed(coordinator, report->record);
        if (report->unpruned[0]) log_write(log, LOG_WARNING, "%s", report->unpruned);
        check_grace(coordinator, report->write_seconds);
    } else if (coordinator->proved >= 0) {
        log_write(log, LOG_WARNING,
                  "checkpoint of step %" PRId64 " failed: %s; that of step %" PRId64 " stays the last good one",
                  report->step, report->error.message, coordinator->proved);
    } else {
        log_write(log, LOG_WARNING, "checkpoint of step %" PRId64 " failed: %s", report->step, report->error.message);
    }
}

static void note_reply(Coordinator *coordinator, const KeeperReply *reply)
{
    if (reply->kind == REPLY_CHECKPOINT) {
        coordinator->ordered = false;
        note_checkpoint(coordinator, &reply->report);
    } else if (reply->kind == REPLY_VALIDATION) {
        coordinator_note_validation(coordinator, reply);
    } else if (reply->kind == REPLY_SIGNAL) {
        coordinator->asked_to_stop = true;
        log_write(coordinator->setup.log, LOG_INFO, "a signal came to rank %d, which keeps the checkpoints",
                  coordinator->setup.keeper);
    }
}

void coordinator_collect(Coordinator *coordinator)
{
    WriterReport report;
    KeeperReply reply;
    if (sharded_checkpoint_poll(&coordinator->sharded, &report)) note_checkpoint(coordinator, &report);
    if (coordinator->courier)
        while (courier_reply(coordinator->courier, &reply, false)) note_reply(coordinator, &reply);
    if (!coordinator->sharded.leads) return;
    if (!writer_collect(coordinator->sharded.writer, WRITER_VALIDATED, &report)) return;
    if (report.status)
        log_write(coordinator->setup.log, LOG_WARNING, "best.safetensors was not written: %s", report.error.message);
    if (report.unpruned[0]) log_write(coordinator->setup.log, LOG_WARNING, "%s", report.unpruned);
}

/* Collective: this rank's share of it, if it has any. */
static void begin_checkpoint(Coordinator *coordinator, const RunPosition *position)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    double start = clock_seconds();
    /* So that the record up to a checkpoint is whole, and a resumed run appends to it as if it had never stopped. */
    if (coordinator->leads) coordinator_flush(coordinator);
    if (coordinator->sharded.writer)
        sharded_checkpoint_begin(&coordinator->sharded, setup->pool, setup->vectors, position);
    if (coordinator->courier) {
        Error error = {0};
        coordinator_check_metrics(coordinator, metrics_sync(&coordinator->metrics, &error), &error);
        courier_order(coordinator->courier, setup->pool, ORDER_CHECKPOINT, setup->vectors, position);
        coordinator->ordered = true;
    }
    coordinator->wanted = false;
    coordinator->last_time = clock_seconds();
    coordinator->held_seconds += coordinator->last_time - start;
}

static bool is_due(const Coordinator *coordinator, const RunPosition *position)
{
    const Config *config = coordinator->setup.config;
    if (position->epoch >= schedule_total_epochs(&config->schedule)) return true;
    if (config->checkpoint_unit == CHECKPOINT_SECONDS)
        return clock_seconds() - coordinator->last_time >= config->checkpoint_every;
    double every = config->checkpoint_every;
    if (config->checkpoint_unit == CHECKPOINT_EPOCHS) every *= (double)coordinator->setup.epoch_steps;
    if (every < 1) every = 1;
    double done = (double)position->step;
    return floor(done / every) > floor((done - 1) / every);
}

static Status finish_failed(const Coordinator *coordinator, const WriterReport *report, Error *error)
{
    *error = report->error;
    if (coordinator->proved >= 0)
        error_add(error, "  the last good checkpoint is that of step %" PRId64, coordinator->proved);
    return report->status;
}

Status coordinator_health(const Coordinator *coordinator, Error *error)
{
    int limit = coordinator->setup.config->checkpoint_failures;
    if (limit == 0 || coordinator->failures < limit) return STATUS_OK;
    Status status = finish_failed(coordinator, &coordinator->failure, error);
    error_add(error, "  %d checkpoints in a row could not be written; see checkpoint_failures", coordinator->failures);
    return status;
}

bool coordinator_asked_to_stop(const Coordinator *coordinator)
{
    return coordinator->asked_to_stop;
}

bool coordinator_wants_checkpoint(Coordinator *coordinator, const RunPosition *next)
{
    if (!coordinator->leads) return false;
    coordinator_collect(coordinator);
    coordinator->wanted |= is_due(coordinator, next);
    return coordinator->wanted && !coordinator->ordered && !sharded_checkpoint_busy(&coordinator->sharded);
}

Status coordinator_gather(Coordinator *coordinator, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    return setup->vectors->ema ? reducer_gather(setup->reducer, setup->vectors->ema, error) : STATUS_OK;
}

Status coordinator_step(Coordinator *coordinator, const RunPosition *position, const StepStats *stats, bool checkpoint,
                        Error *error)
{
    double start = clock_seconds();
    if (!coordinator->leads) coordinator_collect(coordinator);
    if (checkpoint) {
        Status status = coordinator_gather(coordinator, error);
        if (status) return status;
    }
    if (coordinator->leads) {
        TrainRecord record;
        Error problem = {0};
        coordinator->step_seconds = stats->seconds;
        if (progress_step(&coordinator->progress, stats, &record))
            coordinator_check_metrics(coordinator, metrics_train(&coordinator->metrics, &record, &problem), &problem);
    }
    if (!checkpoint) return STATUS_OK;
    coordinator->held_seconds = clock_seconds() - start;
    begin_checkpoint(coordinator, position);
    timeline_add(coordinator->setup.timeline, TIMELINE_COMPUTE, "checkpoint", position->step, start, clock_seconds());
    return STATUS_OK;
}

/* ---- the end */

/* Every rank that has a part waits for its disk. */
void coordinator_settle(Coordinator *coordinator)
{
    WriterReport report;
    KeeperReply reply;
    if (sharded_checkpoint_wait(&coordinator->sharded, &report)) note_checkpoint(coordinator, &report);
    while (coordinator->ordered && courier_reply(coordinator->courier, &reply, true)) note_reply(coordinator, &reply);
    if (coordinator->sharded.leads) writer_wait(coordinator->sharded.writer);
    coordinator_collect(coordinator);
}

/* A validation that is under way ends, or is told to when a signal has come. */
static void keeper_finish(Coordinator *coordinator, RunPosition *position)
{
    Courier *courier = coordinator->courier;
    KeeperReply reply;
    bool hurried = false;
    while (coordinator->validating) {
        if (signals_caught() && !hurried) {
            hurried = true;
            courier_order(courier, coordinator->setup.pool, ORDER_HURRY, NULL, position);
        }
        if (courier_reply(courier, &reply, false))
            note_reply(coordinator, &reply);
        else
            usleep(FINISH_MICROSECONDS);
    }
    courier_order(courier, coordinator->setup.pool, ORDER_FINISH, NULL, position);
    while (courier_reply(courier, &reply, true) && reply.kind != REPLY_FINISHED) note_reply(coordinator, &reply);
    position->validated = reply.position.validated;
    position->best_epoch = reply.position.best_epoch;
    position->best_top1 = reply.position.best_top1;
}

Status coordinator_finish(Coordinator *coordinator, RunPosition *position, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    Status status = coordinator_gather(coordinator, error);
    if (status) return status;
    coordinator_settle(coordinator);
    int fresh = coordinator->proved != position->step;
    MPI_Bcast(&fresh, 1, MPI_INT, 0, setup->world->comm);
    if (fresh) {
        begin_checkpoint(coordinator, position);
        coordinator_settle(coordinator);
    }
    if (coordinator->leads) {
        Error problem = {0};
        if (coordinator->courier) keeper_finish(coordinator, position);
        if (coordinator->proved != position->step) status = finish_failed(coordinator, &coordinator->failure, error);
        coordinator_flush(coordinator);
        coordinator_check_metrics(coordinator, metrics_sync(&coordinator->metrics, &problem), &problem);
    }
    return world_agree(setup->world->comm, status, error);
}
