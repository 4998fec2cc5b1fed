#include "dist/train/coordinator.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/memory.h"
#include "dist/train/coordinator_internal.h"

/* ---- life */

Status coordinator_create(Coordinator **out, const CoordinatorSetup *setup, Error *error)
{
    *out = NULL;
    Coordinator *coordinator = memory_alloc(1, sizeof *coordinator, "the coordinator", error);
    if (!coordinator) return STATUS_FAILED;
    coordinator->setup = *setup;
    coordinator->is_root = setup->world->rank == 0;
    coordinator->verified = coordinator->validated = -1;
    coordinator->last_time = clock_seconds();
    coordinator->backend = setup->server >= 0 ? &COORDINATOR_REMOTE : &COORDINATOR_LOCAL;
    Status status = coordinator->backend->create(coordinator, error);
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
    coordinator->backend->free(coordinator);
    if (coordinator->progressing) progress_end(&coordinator->progress);
    if (coordinator->metrics_open) metrics_close(&coordinator->metrics);
    free(coordinator->files.config);
    free(coordinator);
}

/* ---- checkpoints */

/* What a signal has to leave time for. */
static void check_grace(Coordinator *coordinator, double write_seconds)
{
    double grace = coordinator->setup.config->grace;
    if (coordinator->grace_logged || write_seconds <= grace) return;
    coordinator->grace_logged = true;
    log_write(coordinator->setup.log, LOG_WARNING,
              "a checkpoint takes %.0f s, more than grace, %g s: after a signal the job may be killed before it is "
              "written; ask the scheduler for an earlier signal",
              write_seconds, grace);
}

void coordinator_log_checkpoint(Coordinator *coordinator, const WriterReport *report)
{
    Log *log = coordinator->setup.log;
    coordinator->failures = report->status ? coordinator->failures + 1 : 0;
    if (report->status) coordinator->failure = *report;
    if (!report->status) {
        coordinator->verified = report->step;
        coordinator->validated = -1; /* the writer knows what is validated from here on */
        log_write(log, LOG_INFO,
                  "checkpoint of step %" PRId64 ": %.1f MB in %.1f s, copied in %.3f s, the step held up for %.3f s",
                  report->step, (double)report->bytes * 1e-6, report->write_seconds, report->copy_seconds,
                  coordinator->stall_seconds);
        Error error = {0};
        if (coordinator->metrics_open)
            coordinator_check_metrics(
                coordinator,
                metrics_checkpoint(&coordinator->metrics, report->step, report->bytes, report->write_seconds, &error),
                &error);
        if (report->record[0]) coordinator_metrics_failed(coordinator, report->record);
        if (report->unpruned[0]) log_write(log, LOG_WARNING, "%s", report->unpruned);
        check_grace(coordinator, report->write_seconds);
    } else if (coordinator->verified >= 0) {
        log_write(log, LOG_WARNING,
                  "checkpoint of step %" PRId64 " failed: %s; that of step %" PRId64 " stays the last good one",
                  report->step, report->error.message, coordinator->verified);
    } else {
        log_write(log, LOG_WARNING, "checkpoint of step %" PRId64 " failed: %s", report->step, report->error.message);
    }
}

static void begin_checkpoint(Coordinator *coordinator, const RunPosition *position)
{
    double start = clock_seconds();
    /* So that the record up to a checkpoint is whole, and a resumed run appends to it as if it had never stopped. */
    if (coordinator->is_root) coordinator_flush(coordinator);
    coordinator->backend->begin_checkpoint(coordinator, position);
    coordinator->due = false;
    coordinator->last_time = clock_seconds();
    coordinator->stall_seconds += coordinator->last_time - start;
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
    if (coordinator->verified >= 0)
        error_add(error, "  the last good checkpoint is that of step %" PRId64, coordinator->verified);
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
    if (!coordinator->is_root) return false;
    coordinator->backend->collect(coordinator);
    coordinator->due |= is_due(coordinator, next);
    return coordinator->due && !coordinator->backend->busy(coordinator);
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
    if (!coordinator->is_root) coordinator->backend->collect(coordinator);
    if (checkpoint) {
        Status status = coordinator_gather(coordinator, error);
        if (status) return status;
    }
    if (coordinator->is_root) {
        TrainRecord record;
        Error problem = {0};
        if (progress_step(&coordinator->progress, stats, &record))
            coordinator_check_metrics(coordinator, metrics_train(&coordinator->metrics, &record, &problem), &problem);
    }
    if (!checkpoint) return STATUS_OK;
    coordinator->stall_seconds = clock_seconds() - start;
    begin_checkpoint(coordinator, position);
    timeline_add(coordinator->setup.timeline, TIMELINE_COMPUTE, "checkpoint", position->step, start, clock_seconds());
    return STATUS_OK;
}

/* ---- the end */

void coordinator_drain(Coordinator *coordinator)
{
    coordinator->backend->drain(coordinator);
}

/* A run may be resumed at its end for the sake of a validation that was cut. No checkpoint follows that could tell of it
 * and remove what was to be validated, so it would be done again at each resume. */
static void note_validations(Coordinator *coordinator, const RunPosition *position)
{
    char path[CHECKPOINT_PATH];
    Error problem = {0};
    checkpoint_path(path, coordinator->files.folder, position->step);
    Status status = checkpoint_set_validated(path, position, coordinator->files.layout, &problem);
    if (!status) status = checkpoint_prune_pending(coordinator->files.folder, position->validated, &problem);
    if (status) log_write(coordinator->setup.log, LOG_WARNING, "%s", problem.message);
}

Status coordinator_finish(Coordinator *coordinator, RunPosition *position, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    Status status = coordinator_gather(coordinator, error);
    if (status) return status;
    coordinator_drain(coordinator);
    bool fresh = coordinator->verified != position->step;
    world_broadcast(&fresh, sizeof fresh, setup->world->comm);
    if (fresh) {
        begin_checkpoint(coordinator, position);
        coordinator_drain(coordinator);
    }
    if (coordinator->is_root) {
        coordinator->backend->end_run(coordinator, position);
        if (coordinator->verified != position->step) status = finish_failed(coordinator, &coordinator->failure, error);
        coordinator_flush(coordinator);
        if (!status) coordinator_record_end(coordinator, position);
        coordinator_sync_metrics(coordinator);
        if (!fresh && coordinator->validated >= 0 && coordinator->validated < position->validated)
            note_validations(coordinator, position);
    }
    return world_agree(setup->world->comm, status, error);
}
