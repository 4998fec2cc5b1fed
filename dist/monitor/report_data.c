#include "dist/monitor/report_data.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"

/* ---- columns */

static Status fill_columns(ReportRun *run, Error *error)
{
    const MetricsHistory *history = &run->history;
    const double scale = run->summary.epoch_steps > 0 ? 1.0 / (double)run->summary.epoch_steps : 1;
    run->x_name = run->summary.epoch_steps > 0 ? "epoch" : "step";
    int64_t doubles = TRAIN_COLUMNS * history->trains + VALIDATION_COLUMNS * history->validations;
    run->memory = memory_alloc(doubles, sizeof(double), "the figures of a run", error);
    if (!run->memory) return STATUS_FAILED;
    double *next = run->memory;
    for (int i = 0; i < TRAIN_COLUMNS; i++, next += history->trains) run->train[i] = next;
    for (int i = 0; i < VALIDATION_COLUMNS; i++, next += history->validations) run->validation[i] = next;
    for (int64_t i = 0; i < history->trains; i++) {
        const TrainRecord *record = &history->train[i];
        const double values[TRAIN_COLUMNS] = {
            scale * (double)record->step, record->loss,           record->lr, record->grad_norm, record->images_per_s,
            100 * record->data_wait,      100 * record->comm_wait};
        for (int c = 0; c < TRAIN_COLUMNS; c++) run->train[c][i] = values[c];
    }
    for (int64_t i = 0; i < history->validations; i++) {
        const ValidationRecord *record = &history->validation[i];
        const double values[VALIDATION_COLUMNS] = {scale * (double)record->step, record->loss, record->loss_ema,
                                                   record->top1, record->top1_ema};
        for (int c = 0; c < VALIDATION_COLUMNS; c++) run->validation[c][i] = values[c];
    }
    return STATUS_OK;
}

/* The latest ones, where there are too many. */
static void fill_marks(ReportRun *run)
{
    const MetricsHistory *history = &run->history;
    const double scale = run->summary.epoch_steps > 0 ? 1.0 / (double)run->summary.epoch_steps : 1;
    for (int64_t i = history->events - 1; i >= 0 && run->mark_count < REPORT_MARKS; i--) {
        const RunEvent *event = &history->event[i];
        if (event->kind == RUN_ENDED || (event->kind == RUN_STARTED && event->step == 0)) continue;
        PlotMark *mark = &run->marks[run->mark_count++];
        *mark = (PlotMark){.x = scale * (double)event->step, .start = event->kind == RUN_STARTED};
        snprintf(mark->text, sizeof mark->text,
                 mark->start ? "resumed at step %" PRId64 : "checkpoint of step %" PRId64, event->step);
    }
}

Status report_run_read(ReportRun *run, const char *folder, Error *error)
{
    char config_path[PATH_SIZE];
    *run = (ReportRun){.mark_count = 0};
    snprintf(run->folder, sizeof run->folder, "%s", folder);
    Status status = path_join(config_path, sizeof config_path, folder, "config.yaml", error);
    if (status) return status;
    if (!file_exists(config_path))
        return error_set(error, STATUS_USAGE, "%s: not a run folder: it has no config.yaml", folder);
    status = config_load(&run->config, config_path, NULL, 0, error);
    if (!status) status = metrics_read(&run->history, folder, error);
    if (status) return status;
    run->summary = run_summarise(&run->config, &run->history);
    run->ema = run->history.validations > 0 && run->history.validation[run->history.validations - 1].has_ema;
    status = fill_columns(run, error);
    fill_marks(run);
    if (status) report_run_free(run);
    return status;
}

void report_run_free(ReportRun *run)
{
    metrics_history_free(&run->history);
    free(run->memory);
    run->memory = NULL;
}

void report_count_steps(ReportRun *run)
{
    const MetricsHistory *history = &run->history;
    for (int64_t i = 0; i < history->trains; i++) run->train[TRAIN_X][i] = (double)history->train[i].step;
    for (int64_t i = 0; i < history->validations; i++)
        run->validation[VALIDATION_X][i] = (double)history->validation[i].step;
    run->x_name = "step";
}

void report_add_train(Plot *plot, const ReportRun *run, const char *name, int column)
{
    if (plot->count == PLOT_SERIES) return;
    plot->series[plot->count++] = (PlotSeries){name, run->train[TRAIN_X], run->train[column], run->history.trains};
}

void report_add_validation(Plot *plot, const ReportRun *run, const char *name, int column)
{
    if (plot->count == PLOT_SERIES) return;
    plot->series[plot->count++] =
        (PlotSeries){name, run->validation[VALIDATION_X], run->validation[column], run->history.validations};
}

double report_published_top1(const Config *config)
{
    char model[128];
    config_describe_model(config, model, sizeof model);
    return strcmp(model, config->model.name) == 0 ? zoo_published_top1(&config->model) : NAN;
}
