/* coordinator_local.c: `coordinator: shared`: rank 0 writes checkpoints behind its computing, with `zero: 1` every rank
 * a part, and all validate together. */
#include "dist/train/coordinator_internal.h"
#include "dist/train/signals.h"

/* The record up to a checkpoint must not be behind it. The descriptors do not change while the run goes on. */
static Status sync_record(void *context, Error *error)
{
    Coordinator *coordinator = context;
    return coordinator->metrics_open ? metrics_sync(&coordinator->metrics, error) : STATUS_OK;
}

static Status local_create(Coordinator *coordinator, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    Status status = STATUS_OK;
    if (setup->vectors->ema)
        status =
            model_create(&coordinator->ema_model, &setup->config->model, setup->batch, MODEL_EVAL, setup->pool, error);
    const bool sharded = coordinator_sharded(setup);
    if (status || (!coordinator->is_root && !sharded)) return status;
    const int parts = sharded ? setup->world->size : 1;
    const CheckpointShare share = {.head = coordinator->is_root,
                                   .moments = true,
                                   .begin = setup->vectors->begin,
                                   .end = setup->vectors->end,
                                   .part = setup->world->rank,
                                   .parts = parts,
                                   .others = coordinator->is_root ? parts - 1 : 0};
    status = coordinator_files(&coordinator->files, setup, error);
    if (status) return status;
    WriterConfig writer = coordinator_writer_config(setup, &coordinator->files, &share);
    if (share.head) {
        writer.sync = sync_record;
        writer.context = coordinator;
    }
    return sharded_checkpoint_create(&coordinator->sharded, setup->job, 0, &writer, error);
}

static void local_free(Coordinator *coordinator)
{
    sharded_checkpoint_free(&coordinator->sharded);
    model_free(coordinator->ema_model);
}

static void local_begin_run(Coordinator *coordinator, const RunPosition *position)
{
    (void)coordinator;
    (void)position;
}

static void local_collect(Coordinator *coordinator)
{
    WriterReport report;
    if (sharded_checkpoint_poll(&coordinator->sharded, &report)) coordinator_log_checkpoint(coordinator, &report);
    if (coordinator->is_root && writer_collect(coordinator->sharded.writer, WRITER_VALIDATED, &report))
        coordinator_log_best(coordinator->setup.log, &report);
}

static bool local_busy(const Coordinator *coordinator)
{
    return sharded_checkpoint_busy(&coordinator->sharded);
}

static void local_begin_checkpoint(Coordinator *coordinator, const RunPosition *position)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    if (coordinator->sharded.writer)
        sharded_checkpoint_begin(&coordinator->sharded, setup->pool, setup->vectors, position);
}

/* Every rank that has a part waits for its disk. */
static void local_drain(Coordinator *coordinator)
{
    WriterReport report;
    if (sharded_checkpoint_wait(&coordinator->sharded, &report)) coordinator_log_checkpoint(coordinator, &report);
    if (coordinator->is_root) writer_wait(coordinator->sharded.writer);
    local_collect(coordinator);
}

static void local_end_run(Coordinator *coordinator, RunPosition *position)
{
    (void)coordinator;
    (void)position;
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
    if (coordinator->is_root) progress_validation(&coordinator->progress, done, total);
}

static void write_best(Coordinator *coordinator, const float *best, const RunPosition *position)
{
    CheckpointWriter *writer = coordinator->sharded.writer;
    local_collect(coordinator);
    if (writer_busy(writer, WRITER_VALIDATED)) {
        writer_wait(writer);
        local_collect(coordinator);
    }
    writer_validated(writer, coordinator->setup.pool, best, position);
}

static Status local_validate(Coordinator *coordinator, RunPosition *position, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    const Config *config = setup->config;
    EvaluateConfig evaluation = {.comm = setup->world->comm,
                                 .dataset = setup->validation,
                                 .log = setup->log,
                                 .pipeline = config->pipeline,
                                 .batch = setup->batch,
                                 .unit = config->reproducible > 0 ? setup->batch : 1,
                                 .workers = config->workers,
                                 .pool = setup->pool,
                                 .stop = asked_to_stop,
                                 .progress = show_progress,
                                 .context = coordinator};
    Model *models[] = {setup->model, coordinator->ema_model};
    const int count = coordinator->ema_model ? 2 : 1;
    Evaluation results[2] = {0};
    if (coordinator->ema_model) model_set_weights(coordinator->ema_model, setup->vectors->ema);
    if (coordinator->is_root) progress_validate(&coordinator->progress, position->epoch - 1);
    Status status = evaluate(&evaluation, models, count, results, error);
    if (status) return status;
    const bool better = coordinator_update_best(position, &results[count - 1]);
    if (!coordinator->is_root) return STATUS_OK;
    coordinator_record_validation(coordinator, position, results);
    const float *weights = coordinator->ema_model ? setup->vectors->ema : setup->vectors->weights;
    write_best(coordinator, better ? weights : NULL, position);
    return STATUS_OK;
}

const CoordinatorBackend COORDINATOR_LOCAL = {.create = local_create,
                                              .free = local_free,
                                              .begin_run = local_begin_run,
                                              .collect = local_collect,
                                              .busy = local_busy,
                                              .begin_checkpoint = local_begin_checkpoint,
                                              .validate = local_validate,
                                              .drain = local_drain,
                                              .end_run = local_end_run};
