/* report_runs.c: several runs on one page. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "dist/config/config_keys.h"
#include "dist/monitor/html.h"
#include "dist/monitor/progress.h"
#include "dist/monitor/report.h"
#include "dist/monitor/report_data.h"

typedef struct Comparison {
    ReportRun *runs;
    const char **names; /* what tells the folders apart: without the part that all begin with */
    int count;
    const char *x_name;              /* of all charts */
    int64_t least_steps, most_steps; /* of an epoch */
    const char *without_epochs;      /* a run that does not tell its; NULL: all do */
} Comparison;

/* ---- names */

/* Folders in common are left out, whole ones, and never the last. */
static void shorten_names(Comparison *comparison)
{
    size_t common = 0;
    const char *first = comparison->runs[0].folder;
    for (const char *slash = first; (slash = strchr(slash, '/')) && slash[1]; slash++) {
        size_t length = (size_t)(slash - first) + 1;
        for (int i = 1; i < comparison->count; i++) {
            const char *other = comparison->runs[i].folder;
            if (strncmp(first, other, length) != 0 || !other[length]) length = 0;
        }
        if (length == 0) break;
        common = length;
    }
    for (int i = 0; i < comparison->count; i++) comparison->names[i] = comparison->runs[i].folder + common;
}

/* ---- charts */

static bool has_points(const ReportRun *run)
{
    return run->history.trains + run->history.validations > 0;
}

/* One axis for all: epochs, since the runs may differ in their batches, or steps, when one of those that have something
 * to show does not tell how many an epoch has. */
static void choose_axis(Comparison *comparison)
{
    comparison->x_name = "epoch";
    comparison->least_steps = INT64_MAX;
    for (int i = 0; i < comparison->count; i++) {
        const ReportRun *run = &comparison->runs[i];
        const int64_t steps = run->summary.epoch_steps;
        if (!has_points(run)) continue;
        if (steps < comparison->least_steps) comparison->least_steps = steps;
        if (steps > comparison->most_steps) comparison->most_steps = steps;
        if (steps == 0 && !comparison->without_epochs) comparison->without_epochs = comparison->names[i];
    }
    if (!comparison->without_epochs) return;
    comparison->x_name = "step";
    for (int i = 0; i < comparison->count; i++) report_count_steps(&comparison->runs[i]);
}

static void write_axis_note(FILE *out, const Comparison *comparison)
{
    if (comparison->without_epochs) {
        fprintf(out, " The charts count steps: ");
        html_text(out, comparison->without_epochs);
        fprintf(out, " does not tell how many an epoch has.");
    } else if (comparison->least_steps < comparison->most_steps) {
        fprintf(out, " The charts count epochs, which have from %" PRId64 " to %" PRId64 " steps.",
                comparison->least_steps, comparison->most_steps);
    }
}

static void write_train_plot(FILE *out, const Comparison *comparison, Plot plot, int column)
{
    plot.x_name = comparison->x_name;
    for (int i = 0; i < comparison->count; i++)
        report_add_train(&plot, &comparison->runs[i], comparison->names[i], column);
    plot_write(out, &plot);
}

/* Of the averaged weights where a run has them. */
static void write_validation_plot(FILE *out, const Comparison *comparison, Plot plot, int column, int ema_column)
{
    plot.x_name = comparison->x_name;
    for (int i = 0; i < comparison->count; i++) {
        const ReportRun *run = &comparison->runs[i];
        report_add_validation(&plot, run, comparison->names[i], run->ema ? ema_column : column);
    }
    plot_write(out, &plot);
}

static void write_plots_of_all(FILE *out, const Comparison *comparison)
{
    fprintf(out, "<div class=\"plots\">\n");
    write_validation_plot(out, comparison, (Plot){.title = "Top-1", .unit = "%"}, VALIDATION_TOP1, VALIDATION_TOP1_EMA);
    write_validation_plot(out, comparison, (Plot){.title = "Validation loss", .unit = "", .shows_end = true},
                          VALIDATION_LOSS, VALIDATION_LOSS_EMA);
    write_train_plot(out, comparison, (Plot){.title = "Training loss", .unit = "", .shows_end = true}, TRAIN_LOSS);
    write_train_plot(out, comparison, (Plot){.title = "Learning rate", .unit = "", .from_zero = true}, TRAIN_LR);
    write_train_plot(out, comparison, (Plot){.title = "Gradient norm", .unit = "", .from_zero = true}, TRAIN_NORM);
    write_train_plot(out, comparison, (Plot){.title = "Throughput", .unit = "images/s", .from_zero = true},
                     TRAIN_SPEED);
    fprintf(out, "</div>\n");
}

/* ---- tables */

static void write_figure(FILE *out, double value, const char *format)
{
    char text[64];
    snprintf(text, sizeof text, format, value);
    fprintf(out, "<td>%s</td>", isfinite(value) ? text : "");
}

static void write_row(FILE *out, const Comparison *comparison, int i)
{
    const RunSummary *summary = &comparison->runs[i].summary;
    char began[32] = "", span[32] = "", hours[32] = "";
    if (!isnan(summary->core_hours)) core_hours_text(summary->core_hours, hours);
    if (!isnan(summary->began)) {
        progress_date(summary->began, began, sizeof began);
        progress_duration(summary->last - summary->began, span, sizeof span);
    }
    fprintf(out, "<tr><td class=\"text name\"><span class=\"key s%d\">", i);
    html_text(out, comparison->names[i]);
    fprintf(out, "</span></td><td>%" PRId64 "/%" PRId64 "</td>", summary->epochs_done, summary->epochs);
    write_figure(out, summary->best_top1, "%.2f");
    write_figure(out, summary->best_ema, "%.2f");
    write_figure(out, summary->loss, "%.4f");
    write_figure(out, summary->images_per_s, "%.1f");
    fprintf(out, "<td>%s</td><td>%s</td><td>%s</td></tr>\n", hours, began, span);
}

static void write_results(FILE *out, const Comparison *comparison)
{
    fprintf(out,
            "<div class=\"scroll\"><table><thead><tr><th class=\"text\">run</th><th>epochs</th><th>best top-1</th>"
            "<th>EMA</th><th>training loss</th><th>images/s</th><th>core-hours</th><th>began</th><th>took</th></tr>"
            "</thead><tbody>\n");
    for (int i = 0; i < comparison->count; i++) write_row(out, comparison, i);
    fprintf(out, "</tbody></table></div>\n");
}

static bool setting_differs(const Comparison *comparison, const Key *key)
{
    char first[2 * CONFIG_TEXT], other[2 * CONFIG_TEXT];
    config_format(&comparison->runs[0].config, key, first, sizeof first);
    for (int i = 1; i < comparison->count; i++) {
        config_format(&comparison->runs[i].config, key, other, sizeof other);
        if (strcmp(first, other) != 0) return true;
    }
    return false;
}

static void write_settings(FILE *out, const Comparison *comparison)
{
    fprintf(out,
            "<h2>Settings that differ</h2>\n<div class=\"scroll\"><table><thead><tr><th class=\"text\">setting</th>");
    for (int i = 0; i < comparison->count; i++) {
        fprintf(out, "<th class=\"name\">");
        html_text(out, comparison->names[i]);
        fprintf(out, "</th>");
    }
    fprintf(out, "</tr></thead><tbody>\n");
    for (int k = 0; k < config_key_count(); k++) {
        const Key *key = config_key(k);
        if (!setting_differs(comparison, key)) continue;
        fprintf(out, "<tr><td class=\"text\">%s</td>", key->name);
        for (int i = 0; i < comparison->count; i++) {
            char value[2 * CONFIG_TEXT];
            config_format(&comparison->runs[i].config, key, value, sizeof value);
            fprintf(out, "<td class=\"name\">");
            html_text(out, value);
            fprintf(out, "</td>");
        }
        fprintf(out, "</tr>\n");
    }
    fprintf(out, "</tbody></table></div>\n");
}

static void write_provenance_row(void *context, const char *name, const char *value)
{
    html_fact(context, name, "%s", value);
}

static void write_origins(FILE *out, const Comparison *comparison)
{
    fprintf(out, "<h2>Who computed them</h2>\n");
    for (int i = 0; i < comparison->count; i++) {
        fprintf(out, "<details><summary>");
        html_text(out, comparison->runs[i].folder);
        fprintf(out, "</summary><table class=\"facts\"><tbody>\n");
        provenance_each(&comparison->runs[i].history.provenance, write_provenance_row, out);
        fprintf(out, "</tbody></table></details>\n");
    }
}

/* ---- the page */

static Status write_comparison(const Comparison *comparison, const char *path, Error *error)
{
    char *page = NULL, title[32];
    size_t size = 0;
    FILE *out = open_memstream(&page, &size);
    if (out) {
        snprintf(title, sizeof title, "%d runs", comparison->count);
        html_begin(out, title);
        fprintf(out, "<p>Top-1 and validation loss are those of the averaged weights where a run has them.");
        write_axis_note(out, comparison);
        fprintf(out, "</p>\n");
        write_results(out, comparison);
        write_plots_of_all(out, comparison);
        write_settings(out, comparison);
        write_origins(out, comparison);
        html_end(out);
    }
    Status status = out && fclose(out) == 0 ? file_write(path, page, size, error) : memory_failed(path, error);
    free(page);
    return status;
}

Status report_write_runs(char *const *folders, int count, const char *path, Error *error)
{
    if (count < 2 || count > REPORT_RUNS)
        return error_set(error, STATUS_USAGE, "%d runs; 2 to %d fit one page", count, REPORT_RUNS);
    Comparison comparison = {.runs = memory_alloc(count, sizeof *comparison.runs, "the runs", error),
                             .names = memory_alloc(count, sizeof *comparison.names, "the runs", error)};
    Status status = comparison.runs && comparison.names ? STATUS_OK : STATUS_FAILED;
    for (; !status && comparison.count < count; comparison.count += !status)
        status = report_run_read(&comparison.runs[comparison.count], folders[comparison.count], error);
    if (!status) {
        shorten_names(&comparison);
        choose_axis(&comparison);
        status = write_comparison(&comparison, path, error);
    }
    for (int i = 0; i < comparison.count; i++) report_run_free(&comparison.runs[i]);
    free(comparison.runs);
    free(comparison.names);
    return status;
}
