#include "dist/monitor/summary.h"

#include <math.h>
#include <stdlib.h>

#include "core/base/median.h"
#include "core/base/memory.h"

static double median_speed(const MetricsHistory *history)
{
    double *speeds = memory_alloc(history->trains, sizeof *speeds, "speeds", &(Error){0});
    int64_t count = 0;
    if (!speeds) return NAN;
    for (int64_t i = 0; i < history->trains; i++)
        if (isfinite(history->train[i].images_per_s)) speeds[count++] = history->train[i].images_per_s;
    double median = count > 0 ? median_of(speeds, (int)count) : NAN;
    free(speeds);
    return median;
}

/* Steps of an epoch: a start says it, a validation tells them exactly, else the step at which the epoch number rose. */
static int64_t steps_per_epoch(const MetricsHistory *history)
{
    for (int64_t i = history->events - 1; i >= 0; i--)
        if (history->event[i].epoch_steps > 0) return history->event[i].epoch_steps;
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

/* ---- time */

static void note_time(RunSummary *summary, double time)
{
    if (isnan(time)) return;
    if (!(summary->began <= time)) summary->began = time;
    if (!(summary->last >= time)) summary->last = time;
}

static void find_times(const MetricsHistory *history, RunSummary *summary)
{
    summary->began = summary->last = NAN;
    for (int64_t i = 0; i < history->trains; i++) note_time(summary, history->train[i].time);
    for (int64_t i = 0; i < history->validations; i++) note_time(summary, history->validation[i].time);
    for (int64_t i = 0; i < history->events; i++) note_time(summary, history->event[i].time);
    summary->core_hours = isnan(history->cores.began) ? NAN : core_time_hours(&history->cores);
    for (int64_t i = 0; i < history->events; i++) {
        const RunEvent *event = &history->event[i];
        if (event->kind != RUN_STARTED) continue;
        summary->starts++;
        summary->images = event->images;
        summary->validation_images = event->validation_images;
        summary->parameters = event->parameters;
    }
}

/* Seconds of a step by the clock, since the latest start; NAN: cannot be told. */
static double pace(const MetricsHistory *history)
{
    const TrainRecord *train = history->train;
    if (history->trains == 0) return NAN;
    double since = NAN;
    int64_t from = 0;
    for (int64_t i = 0; i < history->events; i++) {
        if (history->event[i].kind != RUN_STARTED) continue;
        since = history->event[i].time;
        from = history->event[i].step;
    }
    const TrainRecord *last = &train[history->trains - 1];
    double seconds = last->time - since;
    return last->step > from && seconds > 0 ? seconds / (double)(last->step - from) : NAN;
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
    find_times(history, &summary);
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
    double left = (double)(summary.total_steps - summary.step), seconds = pace(history);
    if (isnan(seconds) && summary.images_per_s > 0) seconds = (double)config->batch_size / summary.images_per_s;
    if (summary.total_steps > 0 && !isnan(seconds)) summary.seconds_left = left * seconds;
    return summary;
}
