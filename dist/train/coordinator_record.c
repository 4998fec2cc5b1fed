/* coordinator_record.c: what a run leaves behind about itself, and the validation that it records. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "dist/train/coordinator_internal.h"
#include "dist/train/signals.h"

enum { WAIT_MICROSECONDS = 5000 };

/* ---- the record */

void coordinator_metrics_failed(Coordinator *coordinator, const char *message)
{
    if (coordinator->metrics_failed) return;
    coordinator->metrics_failed = true;
    log_write(coordinator->setup.log, LOG_WARNING, "metrics are incomplete from here on: %s", message);
}

void coordinator_check_metrics(Coordinator *coordinator, Status status, const Error *error)
{
    if (status) coordinator_metrics_failed(coordinator, error->message);
}

void coordinator_flush(Coordinator *coordinator)
{
    TrainRecord record;
    Error error = {0};
    if (progress_flush(&coordinator->progress, &record))
        coordinator_check_metrics(coordinator, metrics_train(&coordinator->metrics, &record, &error), &error);
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
    coordinator_flush(coordinator);
    progress_validated(&coordinator->progress, &record);
    coordinator_check_metrics(coordinator, metrics_validation(&coordinator->metrics, &record, &error), &error);
}

/* ---- validation */

bool coordinator_validates(const Config *config, int64_t epoch)
{
    return epoch >= schedule_total_epochs(&config->schedule) || epoch % config->eval_every == 0;
}

bool coordinator_judge(RunPosition *position, const Evaluation *result)
{
    const double top1 = evaluation_top1(result);
    const bool better = position->best_epoch < 0 || top1 > position->best_top1;
    position->validated = position->epoch;
    if (better) {
        position->best_epoch = position->epoch - 1;
        position->best_top1 = top1;
    }
    return better;
}

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

/* By the keeper. */
void coordinator_note_validation(Coordinator *coordinator, const KeeperReply *reply)
{
    coordinator->validating = false;
    if (!reply->report.status) {
        Error problem = {0};
        record_validation(coordinator, &reply->position, reply->results, coordinator->setup.vectors->ema != NULL);
        coordinator_check_metrics(coordinator, metrics_sync(&coordinator->metrics, &problem), &problem);
        courier_order(coordinator->courier, coordinator->setup.pool, ORDER_RECORDED, NULL, &reply->position);
    } else if (reply->report.status != STATUS_STOPPED) {
        log_write(coordinator->setup.log, LOG_WARNING, "epoch %" PRId64 " was not validated: %s", reply->position.epoch,
                  reply->report.error.message);
    }
}

/* The keeper has one validation at a time: where that takes longer than an epoch, all wait here, not in a sum of
 * gradients, which would look like a rank that is missing. */
static Status wait_for_keeper(Coordinator *coordinator, Error *error)
{
    for (;;) {
        if (coordinator->leads) coordinator_collect(coordinator);
        int local[2] = {coordinator->validating, coordinator->asked_to_stop || signals_caught()}, all[2];
        MPI_Allreduce(local, all, 2, MPI_INT, MPI_MAX, coordinator->setup.world->comm);
        if (!all[0]) return STATUS_OK;
        if (all[1]) return error_set(error, STATUS_STOPPED, "stopped while waiting for the validation before");
        if (coordinator->leads && !coordinator->waiting_told) {
            coordinator->waiting_told = true;
            log_write(coordinator->setup.log, LOG_WARNING,
                      "training waits: the dedicated rank takes longer to validate than the others for the epochs "
                      "between; see eval_every");
        }
        usleep(WAIT_MICROSECONDS);
    }
}

static Status order_validation(Coordinator *coordinator, RunPosition *position, Error *error)
{
    Status status = wait_for_keeper(coordinator, error);
    if (status) return status;
    if (coordinator->leads) {
        bool fresh = courier_step(coordinator->courier) != position->step;
        courier_order(coordinator->courier, coordinator->setup.pool, ORDER_VALIDATE,
                      fresh ? coordinator->setup.vectors : NULL, position);
        coordinator->validating = true;
    }
    position->validated = position->epoch;
    return STATUS_OK;
}

Status coordinator_validate_gathered(Coordinator *coordinator, RunPosition *position, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    const Config *config = setup->config;
    if (setup->keeper >= 0) return order_validation(coordinator, position, error);
    EvaluateConfig evaluation = {.comm = setup->world->comm,
                                 .dataset = setup->validation,
                                 .log = setup->log,
                                 .pipeline = config->pipeline,
                                 .batch = setup->batch,
                                 .workers = config->workers,
                                 .pool = setup->pool,
                                 .stop = asked_to_stop,
                                 .progress = show_progress,
                                 .context = coordinator};
    Model *models[] = {setup->model, coordinator->ema_model};
    Evaluation results[2] = {0};
    if (coordinator->ema_model) model_set_weights(coordinator->ema_model, setup->vectors->ema);
    Status status = evaluate(&evaluation, models, coordinator->ema_model ? 2 : 1, results, error);
    if (status) return status;
    const bool better = coordinator_judge(position, &results[coordinator->ema_model ? 1 : 0]);
    if (!coordinator->leads) return STATUS_OK;
    record_validation(coordinator, position, results, coordinator->ema_model != NULL);
    coordinator_collect(coordinator);
    CheckpointWriter *writer = coordinator->sharded.writer;
    if (writer_busy(writer, WRITER_VALIDATED)) {
        writer_wait(writer);
        coordinator_collect(coordinator);
    }
    const float *best = coordinator->ema_model ? setup->vectors->ema : setup->vectors->weights;
    writer_validated(writer, setup->pool, better ? best : NULL, position);
    return STATUS_OK;
}

Status coordinator_validate(Coordinator *coordinator, RunPosition *position, Error *error)
{
    if (!coordinator_validates(coordinator->setup.config, position->epoch)) {
        position->validated = position->epoch;
        return STATUS_OK;
    }
    Status status = coordinator_gather(coordinator, error);
    return status ? status : coordinator_validate_gathered(coordinator, position, error);
}
