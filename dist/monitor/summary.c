#include "dist/monitor/summary.h"

#include <math.h>
#include <stdlib.h>

#include "core/base/median.h"

static double median_speed(const MetricsHistory *history)
{
    double *speeds = calloc((size_t)history->trains + 1, sizeof *speeds);
    int64_t count = 0;
    if (!speeds) return NAN;
    for (int64_t i = 0; i < history->trains; i++)
        if (isfinite(history->train[i].images_per_s)) speeds[count++] = history->train[i].images_per_s;
    double median = count > 0 ? median_of(speeds, (int)count) : NAN;
    free(speeds);
    return median;
}

/* Steps of an epoch: a validation tells them exactly, else the step at which the epoch number rose. */
static int64_t steps_per_epoch(const MetricsHistory *history)
{
    if (history->validations > 0) return history->validation[0].step / (history->validation[0].epoch + 1);
    for (int64_t i = 1; i < history->trains; i++)
        if (history->train[i].epoch > history->train[i - 1].epoch)
            return history->train[i - 1].step / (history->train[i - 1].epoch + 1);
    return 0;
}

static void find_best(const MetricsHistory *history, RunSummary *summary)
{
    summary->best_top1 = summary->best_ema = summary->best_epoch = summary->best_ema_epoch = NAN;
    for (int64_t i = 0; i < history->validations; i++) {
        const ValidationRecord *record = &history->validation[i];
        if (!(record->top1 <= summary->best_top1)) {
            summary->best_top1 = record->top1;
            summary->best_epoch = (double)record->epoch;
        }
        if (record->has_ema && !(record->top1_ema <= summary->best_ema)) {
            summary->best_ema = record->top1_ema;
            summary->best_ema_epoch = (double)record->epoch;
        }
    }
}

RunSummary run_summarise(const Config *config, const MetricsHistory *history)
{
    RunSummary summary = {
        .epochs = schedule_total_epochs(&config->schedule),
        .epoch_steps = steps_per_epoch(history),
        .loss = NAN,
        .images_per_s = median_speed(history),
        .seconds_left = NAN,
    };
    find_best(history, &summary);
    for (int64_t i = 0; i < history->trains; i++) {
        summary.data_wait += history->train[i].data_wait / (double)history->trains;
        summary.comm_wait += history->train[i].comm_wait / (double)history->trains;
    }
    if (history->trains > 0) {
        summary.step = history->train[history->trains - 1].step;
        summary.loss = history->train[history->trains - 1].loss;
    }
    if (history->validations > 0) summary.epochs_done = history->validation[history->validations - 1].epoch + 1;
    summary.total_steps = summary.epoch_steps * summary.epochs;
    if (summary.total_steps > 0 && summary.images_per_s > 0)
        summary.seconds_left =
            (double)(summary.total_steps - summary.step) * (double)config->batch_size / summary.images_per_s;
    return summary;
}
