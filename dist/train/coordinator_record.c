/* coordinator_record.c: what a run leaves behind about itself. */

#include "dist/train/coordinator_internal.h"

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

void coordinator_begin(Coordinator *coordinator, const RunPosition *position)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    Error error = {0};
    if (!coordinator->is_root || !setup->provenance) return;
    const RunStart start = {.step = position->step,
                            .epochs = schedule_total_epochs(&setup->config->schedule),
                            .epoch_steps = setup->epoch_steps,
                            .images = setup->images,
                            .validation_images = dataset_count(setup->validation),
                            .parameters = setup->table->numel,
                            .provenance = *setup->provenance};
    coordinator_check_metrics(coordinator, metrics_start(&coordinator->metrics, &start, &error), &error);
}

void coordinator_record_end(Coordinator *coordinator, const RunPosition *position)
{
    Error error = {0};
    const bool done = position->epoch >= schedule_total_epochs(&coordinator->setup.config->schedule);
    if (!coordinator->setup.provenance) return;
    coordinator_check_metrics(
        coordinator, metrics_end(&coordinator->metrics, position->step, done ? "done" : "stopped", &error), &error);
    char hours[32];
    log_write(coordinator->setup.log, LOG_INFO, "%s after %s core-hours in all", done ? "done" : "stopped",
              core_hours_text(core_time_hours(&coordinator->metrics.cores), hours));
}

void coordinator_sync_metrics(Coordinator *coordinator)
{
    Error error = {0};
    coordinator_check_metrics(coordinator, metrics_sync(&coordinator->metrics, &error), &error);
}

void coordinator_record_validation(Coordinator *coordinator, const RunPosition *position, const Evaluation *results)
{
    Error error = {0};
    ValidationRecord record = {.step = position->step,
                               .epoch = position->epoch - 1,
                               .count = results[0].count,
                               .loss = evaluation_loss(&results[0]),
                               .top1 = evaluation_top1(&results[0]),
                               .top5 = evaluation_top5(&results[0]),
                               .has_ema = coordinator->setup.vectors->ema != NULL};
    if (record.has_ema) {
        record.loss_ema = evaluation_loss(&results[1]);
        record.top1_ema = evaluation_top1(&results[1]);
        record.top5_ema = evaluation_top5(&results[1]);
    }
    coordinator_flush(coordinator);
    progress_validated(&coordinator->progress, &record);
    coordinator_check_metrics(coordinator, metrics_validation(&coordinator->metrics, &record, &error), &error);
}

void coordinator_log_best(Log *log, const WriterReport *report)
{
    if (report->status) log_write(log, LOG_WARNING, "best.safetensors was not written: %s", report->error.message);
    if (report->unpruned[0]) log_write(log, LOG_WARNING, "%s", report->unpruned);
}

/* ---- validation */

bool coordinator_validates(const Config *config, int64_t epoch)
{
    return epoch >= schedule_total_epochs(&config->schedule) || epoch % config->eval_every == 0;
}

bool coordinator_update_best(RunPosition *position, const Evaluation *result)
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

Status coordinator_validate(Coordinator *coordinator, RunPosition *position, Error *error)
{
    if (!coordinator_validates(coordinator->setup.config, position->epoch)) {
        position->validated = position->epoch;
        return STATUS_OK;
    }
    Status status = coordinator_gather(coordinator, error);
    return status ? status : coordinator->backend->validate(coordinator, position, error);
}
