#include "dist/coordinator.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "dist/clock.h"
#include "dist/evaluate.h"
#include "dist/keeper.h"
#include "dist/run.h"
#include "dist/signals.h"

struct Coordinator {
    CoordinatorSetup setup;
    bool leads; /* rank 0 */
    Model *ema_model;
    /* The leader's: */
    CheckpointWriter *writer;     /* shared */
    Courier *courier;             /* dedicated */
    char folder[CHECKPOINT_PATH]; /* RUN/checkpoints */
    char *config_text;
    char layout[64];
    Metrics metrics;
    bool metrics_open, metrics_failed;
    Progress progress;
    bool progressing;
    int64_t proved;       /* step of the newest checkpoint that is on disk and good; -1: none */
    int failures;         /* checkpoints in a row that could not be written */
    WriterReport failure; /* the latest of them */
    double step_seconds;
    bool grace_told;
    bool wanted;        /* due, and not yet begun */
    RunPosition judged; /* validated and best_* as the keeper last told */
    double last_time;   /* when the newest one was begun */
};

Status coordinator_agree(MPI_Comm comm, Status status, Error *error)
{
    int rank;
    MPI_Comm_rank(comm, &rank);
    struct {
        int failed, rank;
    } mine = {status != STATUS_OK, rank}, first;
    MPI_Allreduce(&mine, &first, 1, MPI_2INT, MPI_MAXLOC, comm);
    if (!first.failed) return STATUS_OK;
    Error told = *error;
    told.status = status;
    MPI_Bcast(&told, (int)sizeof told, MPI_BYTE, first.rank, comm);
    *error = told;
    return told.status;
}

/* ---- creation */

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
    *writer = (WriterConfig){.folder = folder,
                             .run = setup->output,
                             .table = setup->table,
                             .config = *text,
                             .layout = layout,
                             .metadata = setup->metadata,
                             .keep = setup->config->keep,
                             .ema = setup->config->optim.ema_decay > 0,
                             .moment1 = true,
                             .moment2 = setup->config->optim.kind == OPT_ADAMW};
    return STATUS_OK;
}

static Status leader_create(Coordinator *coordinator, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    WriterConfig writer;
    Status status = coordinator_writer_config(setup, coordinator->folder, coordinator->layout,
                                              &coordinator->config_text, &writer, error);
    if (status) return status;
    if (setup->keeper >= 0)
        return courier_create(&coordinator->courier, setup->job, setup->keeper, setup->table, setup->vectors, error);
    return writer_create(&coordinator->writer, &writer, error);
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
    if (!status && coordinator->leads) status = leader_create(coordinator, error);
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
    writer_free(coordinator->writer);
    if (coordinator->courier) courier_order(coordinator->courier, NULL, ORDER_QUIT, NULL, &(RunPosition){0}, false);
    courier_free(coordinator->courier);
    if (coordinator->progressing) progress_end(&coordinator->progress);
    if (coordinator->metrics_open) metrics_close(&coordinator->metrics);
    model_free(coordinator->ema_model);
    free(coordinator->config_text);
    free(coordinator);
}

/* ---- resuming */

/* Opens the newest checkpoint of a folder that is whole; damaged ones are named. Leaves *found alone when there is none. */
static Status open_newest(Coordinator *coordinator, const char *folder, Checkpoint *checkpoint, bool *found,
                          Error *error)
{
    int64_t *steps;
    int count;
    Status status = checkpoint_list(folder, &steps, &count, error);
    if (status) return status;
    for (int i = 0; i < count && !*found; i++) {
        char path[CHECKPOINT_PATH];
        Error problem = {0};
        checkpoint_path(path, folder, steps[i]);
        if (checkpoint_open(checkpoint, path, &problem) == STATUS_OK)
            *found = true;
        else
            log_write(coordinator->setup.log, LOG_WARNING, "checkpoint %s is not used: %s", path, problem.message);
    }
    free(steps);
    if (count && !*found)
        status = error_set(error, STATUS_DATA,
                           "%s: none of the %d checkpoints is whole; remove the folder to train from the start", folder,
                           count);
    return status;
}

static Status open_asked(Coordinator *coordinator, const char *resume, Checkpoint *checkpoint, bool *found,
                         Error *error)
{
    if (!resume) return STATUS_OK;
    if (strcmp(resume, "auto") == 0) return open_newest(coordinator, coordinator->folder, checkpoint, found, error);
    char path[CHECKPOINT_PATH];
    Status status = run_path(path, sizeof path, resume, "manifest.json", error);
    if (status) return status;
    if (file_exists(path)) {
        status = checkpoint_open(checkpoint, resume, error);
        *found = !status;
        return status;
    }
    status = run_path(path, sizeof path, resume, "checkpoints", error);
    if (!status) status = open_newest(coordinator, path, checkpoint, found, error);
    if (!status && !*found)
        status =
            error_set(error, STATUS_DATA, "--resume %s: there is no checkpoint, neither in it nor in %s", resume, path);
    return status;
}

/* Another global batch starts at the same sample, if that is a whole number of its steps. */
static Status position_rebase(RunPosition *position, int64_t global_batch, Error *error)
{
    int64_t sample = position->epoch_step * position->global_batch;
    if (sample % global_batch != 0)
        return error_set(error, STATUS_USAGE,
                         "the checkpoint is %" PRId64 " samples into epoch %" PRId64
                         ", which is not a whole number of steps of batch_size %" PRId64
                         "; go on with batch_size %" PRId64 " to the end of the epoch",
                         sample, position->epoch, global_batch, position->global_batch);
    position->epoch_step = sample / global_batch;
    position->global_batch = global_batch;
    return STATUS_OK;
}

static Status leader_resume(Coordinator *coordinator, const char *resume, RunPosition *position, bool *resumed,
                            Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    Checkpoint checkpoint = {0};
    Status status = open_asked(coordinator, resume, &checkpoint, resumed, error);
    if (!status && *resumed) {
        RunVectors whole = *setup->vectors;
        whole.begin = 0;
        whole.end = setup->table->size;
        status = checkpoint_load(&checkpoint, setup->table, &whole, error);
        *position = checkpoint.position;
        if (!status) status = position_rebase(position, setup->config->batch_size, error);
    }
    if (!status && *resumed) {
        char own[CHECKPOINT_PATH];
        log_write(setup->log, LOG_INFO, "resumed from %s: step %" PRId64 ", epoch %" PRId64 " at its step %" PRId64,
                  checkpoint.path, position->step, position->epoch, position->epoch_step);
        checkpoint_path(own, coordinator->folder, position->step);
        if (strcmp(own, checkpoint.path) == 0) coordinator->proved = position->step;
    }
    checkpoint_close(&checkpoint);
    if (!status)
        status = metrics_open(&coordinator->metrics, setup->output, position->step, setup->vectors->ema, error);
    if (status) return status;
    coordinator->metrics_open = true;
    ProgressPlan plan = {.total_steps = schedule_total_epochs(&setup->config->schedule) * setup->epoch_steps,
                         .epoch_steps = setup->epoch_steps,
                         .epochs = schedule_total_epochs(&setup->config->schedule),
                         .interval = setup->config->log_interval};
    progress_begin(&coordinator->progress, setup->log, &plan, position->step);
    coordinator->progressing = true;
    if (coordinator->courier) courier_order(coordinator->courier, setup->pool, ORDER_BEGIN, NULL, position, false);
    return STATUS_OK;
}

Status coordinator_resume(Coordinator *coordinator, const char *resume, RunPosition *position, bool *resumed,
                          Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    Status status = STATUS_OK;
    *resumed = false;
    if (coordinator->leads) status = leader_resume(coordinator, resume, position, resumed, error);
    status = coordinator_agree(setup->world->comm, status, error);
    if (status) return status;
    int flag = *resumed;
    MPI_Bcast(&flag, 1, MPI_INT, 0, setup->world->comm);
    *resumed = flag;
    if (!flag) return STATUS_OK;
    MPI_Bcast(position, (int)sizeof *position, MPI_BYTE, 0, setup->world->comm);
    float *vectors[] = {setup->vectors->weights, setup->vectors->ema, setup->vectors->moment1, setup->vectors->moment2};
    for (int i = 0; i < 4; i++)
        if (vectors[i]) MPI_Bcast(vectors[i], (int)setup->table->size, MPI_FLOAT, 0, setup->world->comm);
    return STATUS_OK;
}

/* ---- the record */

/* What cannot be recorded must not stop a training; said once. */
static void metrics_check(Coordinator *coordinator, Status status, const Error *error)
{
    if (!status || coordinator->metrics_failed) return;
    coordinator->metrics_failed = true;
    log_write(coordinator->setup.log, LOG_WARNING, "metrics are incomplete from here on: %s", error->message);
}

static void flush_interval(Coordinator *coordinator)
{
    TrainRecord record;
    Error error = {0};
    if (progress_flush(&coordinator->progress, &record))
        metrics_check(coordinator, metrics_train(&coordinator->metrics, &record, &error), &error);
}

static void record_validation(Coordinator *coordinator, const RunPosition *position, const Evaluation *results,
                              bool has_ema)
{
    Error error = {0};
    ValidationRecord record = {.step = position->step,
                               .epoch = position->epoch - 1,
                               .count = results[0].count,
                               .loss = evaluation_loss(&results[0]),
                               .top1 = evaluation_top1(&results[0]),
                               .top5 = evaluation_top5(&results[0]),
                               .has_ema = has_ema};
    if (record.has_ema) {
        record.loss_ema = evaluation_loss(&results[1]);
        record.top1_ema = evaluation_top1(&results[1]);
        record.top5_ema = evaluation_top5(&results[1]);
    }
    flush_interval(coordinator);
    progress_validated(&coordinator->progress, &record);
    metrics_check(coordinator, metrics_validation(&coordinator->metrics, &record, &error), &error);
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
        log_write(log, LOG_INFO, "checkpoint of step %" PRId64 ": %.1f MB in %.1f s, copied in %.3f s", report->step,
                  (double)report->bytes * 1e-6, report->write_seconds, report->copy_seconds);
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
    if (reply->kind == REPLY_CHECKPOINT) note_checkpoint(coordinator, &reply->report);
    if (reply->kind != REPLY_VALIDATION) return;
    coordinator->judged = reply->position;
    if (!reply->report.status)
        record_validation(coordinator, &reply->position, reply->results, coordinator->setup.vectors->ema != NULL);
    else if (reply->report.status != STATUS_STOPPED)
        log_write(coordinator->setup.log, LOG_WARNING, "epoch %" PRId64 " was not validated: %s", reply->position.epoch,
                  reply->report.error.message);
}

static void collect(Coordinator *coordinator)
{
    if (coordinator->courier) {
        KeeperReply reply;
        while (courier_reply(coordinator->courier, &reply, false)) note_reply(coordinator, &reply);
        return;
    }
    WriterReport report;
    if (writer_collect(coordinator->writer, WRITER_CHECKPOINT, &report)) note_checkpoint(coordinator, &report);
    if (writer_collect(coordinator->writer, WRITER_VALIDATED, &report) && report.status)
        log_write(coordinator->setup.log, LOG_WARNING, "best.safetensors was not written: %s", report.error.message);
}

static bool writing(Coordinator *coordinator)
{
    return coordinator->courier ? courier_busy(coordinator->courier)
                                : writer_busy(coordinator->writer, WRITER_CHECKPOINT);
}

static void begin_checkpoint(Coordinator *coordinator, const RunPosition *position)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    Error error = {0};
    /* So that the record up to a checkpoint is whole, and a resumed run appends to it as if it had never stopped. */
    flush_interval(coordinator);
    metrics_check(coordinator, metrics_sync(&coordinator->metrics, &error), &error);
    if (coordinator->courier)
        courier_order(coordinator->courier, setup->pool, ORDER_CHECKPOINT, setup->vectors, position, false);
    else
        writer_checkpoint(coordinator->writer, setup->pool, setup->vectors, position);
    coordinator->wanted = false;
    coordinator->last_time = clock_seconds();
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

bool coordinator_wants_checkpoint(Coordinator *coordinator, const RunPosition *next)
{
    if (!coordinator->leads) return false;
    collect(coordinator);
    coordinator->wanted |= is_due(coordinator, next);
    return coordinator->wanted && !writing(coordinator);
}

/* With zero each rank holds a slice of these. */
static Status gather_slices(Coordinator *coordinator, bool moments, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    float *vectors[] = {setup->vectors->ema, moments ? setup->vectors->moment1 : NULL,
                        moments ? setup->vectors->moment2 : NULL};
    Status status = STATUS_OK;
    for (int i = 0; i < 3 && !status; i++)
        if (vectors[i]) status = reducer_gather(setup->reducer, vectors[i], error);
    return status;
}

Status coordinator_step(Coordinator *coordinator, const RunPosition *position, const StepStats *stats, bool checkpoint,
                        Error *error)
{
    if (checkpoint) {
        Status status = gather_slices(coordinator, true, error);
        if (status) return status;
    }
    if (!coordinator->leads) return STATUS_OK;
    coordinator->step_seconds = stats->seconds;
    TrainRecord record;
    Error problem = {0};
    if (progress_step(&coordinator->progress, stats, &record))
        metrics_check(coordinator, metrics_train(&coordinator->metrics, &record, &problem), &problem);
    if (checkpoint) begin_checkpoint(coordinator, position);
    return STATUS_OK;
}

static Status keeper_finish(Coordinator *coordinator, RunPosition *position, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    bool fresh = courier_step(coordinator->courier) != position->step && coordinator->proved != position->step;
    KeeperReply reply;
    flush_interval(coordinator);
    courier_order(coordinator->courier, setup->pool, ORDER_FINISH, fresh ? setup->vectors : NULL, position,
                  signals_caught() != 0);
    while (courier_reply(coordinator->courier, &reply, true) && reply.kind != REPLY_FINISHED)
        note_reply(coordinator, &reply);
    if (reply.report.status) return finish_failed(coordinator, &reply.report, error);
    if (reply.report.bytes) note_checkpoint(coordinator, &reply.report);
    position->validated = reply.position.validated;
    position->best_epoch = reply.position.best_epoch;
    position->best_top1 = reply.position.best_top1;
    return STATUS_OK;
}

static Status leader_finish(Coordinator *coordinator, RunPosition *position, Error *error)
{
    if (coordinator->courier) return keeper_finish(coordinator, position, error);
    writer_wait(coordinator->writer);
    collect(coordinator);
    if (coordinator->proved != position->step) {
        begin_checkpoint(coordinator, position);
        writer_wait(coordinator->writer);
        WriterReport report;
        if (writer_collect(coordinator->writer, WRITER_CHECKPOINT, &report) && report.status)
            return finish_failed(coordinator, &report, error);
        note_checkpoint(coordinator, &report);
    }
    return STATUS_OK;
}

Status coordinator_finish(Coordinator *coordinator, RunPosition *position, Error *error)
{
    Status status = gather_slices(coordinator, true, error);
    if (!status && coordinator->leads) {
        Error problem = {0};
        status = leader_finish(coordinator, position, error);
        flush_interval(coordinator);
        metrics_check(coordinator, metrics_sync(&coordinator->metrics, &problem), &problem);
    }
    return coordinator_agree(coordinator->setup.world->comm, status, error);
}

/* ---- validation */

static bool asked_to_stop(void *context)
{
    (void)context;
    return signals_caught() != 0;
}

static void show_progress(void *context, int64_t done, int64_t total)
{
    Coordinator *coordinator = context;
    if (coordinator->leads) progress_validation(&coordinator->progress, done, total);
}

/* The keeper does it meanwhile. */
static Status order_validation(Coordinator *coordinator, RunPosition *position, Error *error)
{
    Status status = gather_slices(coordinator, true, error);
    if (status) return status;
    position->validated = position->epoch;
    if (!coordinator->leads) return STATUS_OK;
    bool fresh = courier_step(coordinator->courier) != position->step;
    courier_order(coordinator->courier, coordinator->setup.pool, ORDER_VALIDATE,
                  fresh ? coordinator->setup.vectors : NULL, position, false);
    return STATUS_OK;
}

Status coordinator_validate(Coordinator *coordinator, RunPosition *position, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    const Config *config = setup->config;
    bool last = position->epoch >= schedule_total_epochs(&config->schedule);
    if (!last && position->epoch % config->eval_every != 0) {
        position->validated = position->epoch;
        return STATUS_OK;
    }
    if (setup->keeper >= 0) return order_validation(coordinator, position, error);
    EvaluateConfig evaluation = {.comm = setup->world->comm,
                                 .dataset = setup->validation,
                                 .log = setup->log,
                                 .pipeline = config->pipeline,
                                 .batch = setup->batch,
                                 .workers = config->workers,
                                 .stop = asked_to_stop,
                                 .progress = show_progress,
                                 .context = coordinator};
    Model *models[] = {setup->model, coordinator->ema_model};
    Evaluation results[2] = {0};
    Status status = gather_slices(coordinator, false, error);
    if (status) return status;
    if (coordinator->ema_model) model_set_weights(coordinator->ema_model, setup->vectors->ema);
    status = evaluate(&evaluation, models, coordinator->ema_model ? 2 : 1, results, error);
    if (status) return status;
    const Evaluation *judged = &results[coordinator->ema_model ? 1 : 0];
    bool better = position->best_epoch < 0 || evaluation_top1(judged) > position->best_top1;
    if (better) {
        position->best_epoch = position->epoch - 1;
        position->best_top1 = evaluation_top1(judged);
    }
    position->validated = position->epoch;
    if (!coordinator->leads) return STATUS_OK;
    record_validation(coordinator, position, results, coordinator->ema_model != NULL);
    collect(coordinator);
    if (writer_busy(coordinator->writer, WRITER_VALIDATED)) {
        writer_wait(coordinator->writer);
        collect(coordinator);
    }
    const float *best = coordinator->ema_model ? setup->vectors->ema : setup->vectors->weights;
    writer_validated(coordinator->writer, setup->pool, better ? best : NULL, position);
    return STATUS_OK;
}
