#include "dist/monitor/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "dist/monitor/html.h"
#include "dist/monitor/progress.h"
#include "dist/monitor/report_data.h"

/* ---- charts */

static Plot plot_of(const ReportRun *run, const char *title, const char *unit, bool from_zero)
{
    return (Plot){.title = title,
                  .unit = unit,
                  .x_name = run->x_name,
                  .from_zero = from_zero,
                  .marks = run->marks,
                  .mark_count = run->mark_count};
}

static void write_plots(FILE *out, const ReportRun *run)
{
    Plot top1 = plot_of(run, "Top-1", "%", false);
    const double published = report_published_top1(&run->config);
    report_add_validation(&top1, run, "weights", VALIDATION_TOP1);
    if (run->ema) report_add_validation(&top1, run, "EMA", VALIDATION_TOP1_EMA);
    top1.level = isnan(published) ? 0 : published;
    top1.level_name = "published";
    plot_write(out, &top1);

    Plot loss = plot_of(run, "Loss", "", false);
    loss.shows_end = true;
    report_add_train(&loss, run, "training", TRAIN_LOSS);
    report_add_validation(&loss, run, "validation", VALIDATION_LOSS);
    if (run->ema) report_add_validation(&loss, run, "validation, EMA", VALIDATION_LOSS_EMA);
    plot_write(out, &loss);

    Plot lr = plot_of(run, "Learning rate", "", true);
    report_add_train(&lr, run, "lr", TRAIN_LR);
    plot_write(out, &lr);

    Plot norm = plot_of(run, "Gradient norm", "", true);
    report_add_train(&norm, run, "norm", TRAIN_NORM);
    plot_write(out, &norm);

    Plot speed = plot_of(run, "Throughput", "images/s", true);
    report_add_train(&speed, run, "throughput", TRAIN_SPEED);
    plot_write(out, &speed);

    Plot waits = plot_of(run, "Waiting", "% of time", true);
    report_add_train(&waits, run, "for data", TRAIN_DATA_WAIT);
    report_add_train(&waits, run, "for the network", TRAIN_COMM_WAIT);
    plot_write(out, &waits);
}

/* ---- figures */

static void write_cards(FILE *out, const RunSummary *summary)
{
    fprintf(out, "<div class=\"cards\">\n");
    char label[64], text[32];
    snprintf(label, sizeof label, "of %" PRId64 " steps done", summary->total_steps);
    html_card(out, summary->total_steps > 0 ? label : "steps done", "%" PRId64, summary->step);
    snprintf(label, sizeof label, "of %" PRId64 " epochs validated", summary->epochs);
    html_card(out, label, "%" PRId64, summary->epochs_done);
    snprintf(label, sizeof label, "best top-1, weights, epoch %.0f", summary->best_epoch + 1);
    if (!isnan(summary->best_top1)) html_card(out, label, "%.2f %%", summary->best_top1);
    snprintf(label, sizeof label, "best top-1, EMA, epoch %.0f", summary->best_ema_epoch + 1);
    if (!isnan(summary->best_ema)) html_card(out, label, "%.2f %%", summary->best_ema);
    if (!isnan(summary->loss)) html_card(out, "training loss, last interval", "%.4f", summary->loss);
    if (!isnan(summary->images_per_s)) html_card(out, "images/s, median", "%.1f", summary->images_per_s);
    if (!isnan(summary->data_wait))
        html_card(out, "of the time waiting for data / network", "%.1f / %.1f %%", 100 * summary->data_wait,
                  100 * summary->comm_wait);
    if (!isnan(summary->core_hours)) html_card(out, "core-hours", "%s", core_hours_text(summary->core_hours, text));
    if (summary->seconds_left > 0) {
        progress_duration(summary->seconds_left, text, sizeof text);
        html_card(out, "of training left at that speed", "%s", text);
    }
    fprintf(out, "</div>\n");
}

static void write_provenance(void *context, const char *name, const char *value)
{
    html_fact(context, name, "%s", value);
}

static void write_times(FILE *out, const RunSummary *summary)
{
    char began[32], last[32], span[32];
    if (isnan(summary->began)) return;
    progress_date(summary->began, began, sizeof began);
    progress_date(summary->last, last, sizeof last);
    progress_duration(summary->last - summary->began, span, sizeof span);
    html_fact(out, "began", "%s", began);
    html_fact(out, "last line", "%s, %s later", last, span);
    if (summary->starts > 0) html_fact(out, "starts", "%" PRId64, summary->starts);
}

/* What best.safetensors holds: the averaged weights where there are such. */
static void write_best(FILE *out, const ReportRun *run)
{
    const RunSummary *summary = &run->summary;
    const double top1 = run->ema ? summary->best_ema : summary->best_top1;
    const double epoch = run->ema ? summary->best_ema_epoch : summary->best_epoch;
    if (isnan(top1)) return;
    html_fact(out, "best.safetensors", "%s of epoch %.0f, top-1 %.2f %%",
              run->ema ? "the averaged weights (EMA)" : "the weights", epoch + 1, top1);
}

static void write_facts(FILE *out, const ReportRun *run)
{
    const Config *config = &run->config;
    const RunSummary *summary = &run->summary;
    const double published = report_published_top1(config);
    fprintf(out, "<h2>Run</h2>\n<table class=\"facts\"><tbody>\n");
    if (summary->parameters > 0)
        html_fact(out, "model", "%s, %.2f M parameters, %.3f G MACs", config->model.name,
                  (double)summary->parameters * 1e-6, (double)macs_total(zoo_macs(&config->model)) * 1e-9);
    if (summary->images > 0)
        html_fact(out, "data", "%s: %" PRId64 " training images, %" PRId64 " validation images", config->data,
                  summary->images, summary->validation_images);
    write_best(out, run);
    if (!isnan(published)) html_fact(out, "published", "top-1 %.1f %% for this model", published);
    write_times(out, summary);
    provenance_each(&run->history.provenance, write_provenance, out);
    fprintf(out, "</tbody></table>\n");
}

/* ---- the table of validations */

static void write_cell(FILE *out, double value, const char *format)
{
    char text[32];
    snprintf(text, sizeof text, format, value);
    fprintf(out, "<td>%s</td>", isnan(value) ? "" : text);
}

/* The mean training loss of an epoch, over the intervals that lie in it. */
static double training_loss(const MetricsHistory *history, int64_t epoch)
{
    double sum = 0, steps = 0;
    int64_t before = 0;
    for (int64_t i = 0; i < history->trains && history->train[i].epoch <= epoch; i++) {
        const TrainRecord *record = &history->train[i];
        if (record->epoch == epoch) {
            sum += record->loss * (double)(record->step - before);
            steps += (double)(record->step - before);
        }
        before = record->step;
    }
    return steps > 0 ? sum / steps : NAN;
}

static void write_table(FILE *out, const ReportRun *run)
{
    const MetricsHistory *history = &run->history;
    const RunSummary *summary = &run->summary;
    if (history->validations == 0) return;
    fprintf(out,
            "<h2>Validations, latest first</h2>\n<div class=\"scroll\"><table><thead><tr><th>epoch</th><th>step</th>"
            "<th>images</th><th>training loss</th><th>loss</th><th>top-1</th><th>top-5</th>%s</tr></thead><tbody>\n",
            run->ema ? "<th>loss, EMA</th><th>top-1, EMA</th><th>top-5, EMA</th>" : "");
    double best = isnan(summary->best_ema) ? summary->best_epoch : summary->best_ema_epoch;
    for (int64_t i = history->validations - 1; i >= 0; i--) {
        const ValidationRecord *record = &history->validation[i];
        fprintf(out, "<tr%s><td>%" PRId64 "</td><td>%" PRId64 "</td><td>%" PRId64 "</td>",
                (double)record->epoch == best ? " class=\"best\"" : "", record->epoch + 1, record->step, record->count);
        write_cell(out, training_loss(history, record->epoch), "%.4f");
        write_cell(out, record->loss, "%.4f");
        write_cell(out, record->top1, "%.2f");
        write_cell(out, record->top5, "%.2f");
        if (run->ema) {
            write_cell(out, record->loss_ema, "%.4f");
            write_cell(out, record->top1_ema, "%.2f");
            write_cell(out, record->top5_ema, "%.2f");
        }
        fprintf(out, "</tr>\n");
    }
    fprintf(out, "</tbody></table></div>\n");
}

/* ---- the page */

static void write_page(FILE *out, const ReportRun *run, const char *config_file)
{
    const Config *config = &run->config;
    char model[128];
    config_describe_model(config, model, sizeof model);
    html_begin(out, run->folder);
    fprintf(out, "<p>%s, at %d pixels, %d classes, global batch %" PRId64 ", peak learning rate %g</p>\n", model,
            config->model.img_size, config->model.num_classes, config->batch_size, config->schedule.lr);
    write_cards(out, &run->summary);
    fprintf(out, "<div class=\"plots\">\n");
    write_plots(out, run);
    fprintf(out, "</div>\n");
    if (run->mark_count > 0)
        fprintf(out, "<p>Strokes at the axis are checkpoints; dotted lines are where the run was resumed.</p>\n");
    write_facts(out, run);
    write_table(out, run);
    fprintf(out, "<h2>Configuration</h2>\n<details><summary>config.yaml</summary><pre>");
    html_text(out, config_file);
    fprintf(out, "</pre></details>\n");
    html_end(out);
}

Status report_write(const char *folder, const char *path, Error *error)
{
    char *page = NULL, *config_file = NULL;
    size_t size = 0;
    ReportRun *run = memory_alloc(1, sizeof *run, "a run", error);
    if (!run) return STATUS_FAILED;
    Status status = report_run_read(run, folder, error);
    if (!status) status = config_text(&run->config, &config_file, error);
    if (!status) {
        FILE *out = open_memstream(&page, &size);
        if (out) write_page(out, run, config_file);
        if (!out || fclose(out) != 0) status = memory_failed(path, error);
    }
    if (!status) status = file_write(path, page, size, error);
    free(page);
    free(config_file);
    report_run_free(run);
    free(run);
    return status;
}
