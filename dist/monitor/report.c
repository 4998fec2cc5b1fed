#include "dist/monitor/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "dist/monitor/plot.h"
#include "dist/monitor/progress.h"
#include "dist/monitor/summary.h"

/* ---- columns for the plots */

enum { TRAIN_COLUMNS = 7, VALIDATION_COLUMNS = 5 };

typedef struct Columns {
    const char *x_name;
    double *memory;
    double *train[TRAIN_COLUMNS];           /* x, loss, lr, grad_norm, images_per_s, data_wait %, comm_wait % */
    double *validation[VALIDATION_COLUMNS]; /* x, loss, loss_ema, top1, top1_ema */
    int64_t trains, validations;
} Columns;

static Status columns_fill(Columns *columns, const MetricsHistory *history, int64_t epoch_steps, Error *error)
{
    double scale = epoch_steps > 0 ? 1.0 / (double)epoch_steps : 1;
    *columns = (Columns){
        .x_name = epoch_steps > 0 ? "epoch" : "step", .trains = history->trains, .validations = history->validations};
    size_t doubles = (size_t)(TRAIN_COLUMNS * history->trains + VALIDATION_COLUMNS * history->validations);
    columns->memory = calloc(doubles + 1, sizeof(double));
    if (!columns->memory) return error_set(error, STATUS_FAILED, "out of memory");
    double *next = columns->memory;
    for (int i = 0; i < TRAIN_COLUMNS; i++, next += history->trains) columns->train[i] = next;
    for (int i = 0; i < VALIDATION_COLUMNS; i++, next += history->validations) columns->validation[i] = next;
    for (int64_t i = 0; i < history->trains; i++) {
        const TrainRecord *record = &history->train[i];
        const double values[] = {
            scale * (double)record->step, record->loss,           record->lr, record->grad_norm, record->images_per_s,
            100 * record->data_wait,      100 * record->comm_wait};
        for (int c = 0; c < TRAIN_COLUMNS; c++) columns->train[c][i] = values[c];
    }
    for (int64_t i = 0; i < history->validations; i++) {
        const ValidationRecord *record = &history->validation[i];
        const double values[] = {scale * (double)record->step, record->loss, record->loss_ema, record->top1,
                                 record->top1_ema};
        for (int c = 0; c < VALIDATION_COLUMNS; c++) columns->validation[c][i] = values[c];
    }
    return STATUS_OK;
}

static void add_train(Plot *plot, const Columns *columns, const char *name, int column)
{
    plot->series[plot->count++] = (PlotSeries){name, columns->train[0], columns->train[column], columns->trains};
}

static void add_validation(Plot *plot, const Columns *columns, const char *name, int column)
{
    plot->series[plot->count++] =
        (PlotSeries){name, columns->validation[0], columns->validation[column], columns->validations};
}

static void write_plots(FILE *out, const Columns *columns, bool ema)
{
    Plot top1 = {.title = "Top-1", .unit = "%", .x_name = columns->x_name};
    add_validation(&top1, columns, "weights", 3);
    if (ema) add_validation(&top1, columns, "EMA", 4);
    plot_write(out, &top1);

    Plot loss = {.title = "Loss", .unit = "", .x_name = columns->x_name};
    add_train(&loss, columns, "training", 1);
    add_validation(&loss, columns, "validation", 1);
    if (ema) add_validation(&loss, columns, "validation, EMA", 2);
    plot_write(out, &loss);

    Plot lr = {.title = "Learning rate", .unit = "", .x_name = columns->x_name, .from_zero = true};
    add_train(&lr, columns, "lr", 2);
    plot_write(out, &lr);

    Plot norm = {.title = "Gradient norm", .unit = "", .x_name = columns->x_name, .from_zero = true};
    add_train(&norm, columns, "norm", 3);
    plot_write(out, &norm);

    Plot speed = {.title = "Throughput", .unit = "images/s", .x_name = columns->x_name, .from_zero = true};
    add_train(&speed, columns, "throughput", 4);
    plot_write(out, &speed);

    Plot waits = {.title = "Waiting", .unit = "% of time", .x_name = columns->x_name, .from_zero = true};
    add_train(&waits, columns, "for data", 5);
    add_train(&waits, columns, "for the network", 6);
    plot_write(out, &waits);
}

/* ---- the page */

static const char STYLE[] =
    ":root{color-scheme:light dark;--back:#fff;--text:#1b1f24;--soft:#5c6670;--rule:#d9dee3;--card:#f4f6f8;"
    "--s0:#1f6fd0;--s1:#c2500a;--s2:#0b7a5f}\n"
    "@media(prefers-color-scheme:dark){:root{--back:#14171a;--text:#e4e8ec;--soft:#98a3ad;--rule:#31383f;--card:#"
    "1d2226;"
    "--s0:#6cacff;--s1:#ff9d57;--s2:#4fd0aa}}\n"
    "body{background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif;max-width:1180px;margin:0 auto;"
    "padding:24px}\n"
    "h1{font-size:24px;margin:0}h2{font-size:18px;margin:32px 0 8px}p{margin:4px 0 20px;color:var(--soft)}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:12px}\n"
    ".cards div{background:var(--card);border-radius:6px;padding:10px 14px;color:var(--soft);font-size:13px}\n"
    ".cards b{display:block;color:var(--text);font-size:20px;font-weight:600}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:20px "
    "28px;margin-top:28px}\n"
    "figure{margin:0}figcaption{color:var(--soft)}figcaption b{color:var(--text)}svg{width:100%;display:block}\n"
    ".tick{font-size:11px;fill:var(--soft)}.grid,.axis{stroke:var(--rule);fill:none}.axis{stroke:var(--soft)}\n"
    ".line{fill:none;stroke-width:1.6;stroke-linejoin:round}.hover{fill:transparent}\n"
    ".hover:hover{fill:var(--soft);fill-opacity:.14}\n"
    ".s0{stroke:var(--s0)}.s1{stroke:var(--s1)}.s2{stroke:var(--s2)}.line.s2{stroke-dasharray:5 3}\n"
    ".dot.s0{fill:var(--s0)}.dot.s1{fill:var(--s1)}.dot.s2{fill:var(--s2)}\n"
    ".key{margin-left:10px;font-size:13px}.key::before{content:'';display:inline-block;width:14px;height:3px;"
    "margin:0 5px 4px 0;background:currentColor}\n"
    ".key.s0{color:var(--s0)}.key.s1{color:var(--s1)}.key.s2{color:var(--s2)}\n"
    ".scroll{overflow:auto;max-height:420px}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-"
    "nums}\n"
    "th,td{text-align:right;padding:3px 12px;border-bottom:1px solid var(--rule)}\n"
    "th{position:sticky;top:0;background:var(--back);color:var(--soft);font-weight:500}tr.best td{font-weight:700}\n"
    "pre{background:var(--card);padding:14px;border-radius:6px;overflow:auto;font-size:13px}\n";

static void write_escaped(FILE *out, const char *text)
{
    for (; *text; text++) {
        const char *entity = *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '&' ? "&amp;" : NULL;
        if (entity)
            fputs(entity, out);
        else
            fputc(*text, out);
    }
}

__attribute__((format(printf, 3, 4))) static void write_card(FILE *out, const char *name, const char *format, ...)
{
    va_list arguments;
    fprintf(out, "<div><b>");
    va_start(arguments, format);
    vfprintf(out, format, arguments);
    va_end(arguments);
    fprintf(out, "</b>%s</div>\n", name);
}

static void write_cards(FILE *out, const RunSummary *summary)
{
    fprintf(out, "<div class=\"cards\">\n");
    char label[64];
    snprintf(label, sizeof label, "of %" PRId64 " steps done", summary->total_steps);
    write_card(out, summary->total_steps > 0 ? label : "steps done", "%" PRId64, summary->step);
    snprintf(label, sizeof label, "of %" PRId64 " epochs validated", summary->epochs);
    write_card(out, label, "%" PRId64, summary->epochs_done);
    snprintf(label, sizeof label, "best top-1, weights, epoch %.0f", summary->best_epoch + 1);
    if (!isnan(summary->best_top1)) write_card(out, label, "%.2f %%", summary->best_top1);
    snprintf(label, sizeof label, "best top-1, EMA, epoch %.0f", summary->best_ema_epoch + 1);
    if (!isnan(summary->best_ema)) write_card(out, label, "%.2f %%", summary->best_ema);
    if (!isnan(summary->loss)) write_card(out, "training loss, last interval", "%.4f", summary->loss);
    if (!isnan(summary->images_per_s)) write_card(out, "images/s, median", "%.1f", summary->images_per_s);
    if (!isnan(summary->data_wait))
        write_card(out, "of the time waiting for data / network", "%.1f / %.1f %%", 100 * summary->data_wait,
                   100 * summary->comm_wait);
    if (summary->seconds_left > 0) {
        char left[32];
        progress_duration(summary->seconds_left, left, sizeof left);
        write_card(out, "of training left at that speed", "%s", left);
    }
    fprintf(out, "</div>\n");
}

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

static void write_table(FILE *out, const MetricsHistory *history, const RunSummary *summary, bool ema)
{
    if (history->validations == 0) return;
    fprintf(out,
            "<h2>Validations, latest first</h2>\n<div class=\"scroll\"><table><thead><tr><th>epoch</th><th>step</th>"
            "<th>images</th><th>training loss</th><th>loss</th><th>top-1</th><th>top-5</th>%s</tr></thead><tbody>\n",
            ema ? "<th>loss, EMA</th><th>top-1, EMA</th><th>top-5, EMA</th>" : "");
    double best = isnan(summary->best_ema) ? summary->best_epoch : summary->best_ema_epoch;
    for (int64_t i = history->validations - 1; i >= 0; i--) {
        const ValidationRecord *record = &history->validation[i];
        fprintf(out, "<tr%s><td>%" PRId64 "</td><td>%" PRId64 "</td><td>%" PRId64 "</td>",
                (double)record->epoch == best ? " class=\"best\"" : "", record->epoch + 1, record->step, record->count);
        write_cell(out, training_loss(history, record->epoch), "%.4f");
        write_cell(out, record->loss, "%.4f");
        write_cell(out, record->top1, "%.2f");
        write_cell(out, record->top5, "%.2f");
        if (ema) {
            write_cell(out, record->loss_ema, "%.4f");
            write_cell(out, record->top1_ema, "%.2f");
            write_cell(out, record->top5_ema, "%.2f");
        }
        fprintf(out, "</tr>\n");
    }
    fprintf(out, "</tbody></table></div>\n");
}

static void write_page(FILE *out, const char *folder, const Config *config, const char *config_file,
                       const MetricsHistory *history, const Columns *columns, const RunSummary *summary)
{
    bool ema = history->validations > 0 && history->validation[history->validations - 1].has_ema;
    fprintf(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
                 "content=\"width=device-width,initial-scale=1\">\n<title>");
    write_escaped(out, folder);
    fprintf(out, "</title>\n<style>\n%s</style></head>\n<body><h1>", STYLE);
    write_escaped(out, folder);
    char model[128];
    config_describe_model(config, model, sizeof model);
    fprintf(out, "</h1>\n<p>%s, at %d pixels, %d classes, global batch %" PRId64 ", peak learning rate %g</p>\n", model,
            config->model.img_size, config->model.num_classes, config->batch_size, config->schedule.lr);
    write_cards(out, summary);
    fprintf(out, "<div class=\"plots\">\n");
    write_plots(out, columns, ema);
    fprintf(out, "</div>\n");
    write_table(out, history, summary, ema);
    fprintf(out, "<h2>Configuration</h2>\n<details><summary>config.yaml</summary><pre>");
    write_escaped(out, config_file);
    fprintf(out, "</pre></details>\n</body></html>\n");
}

static Status save_page(const char *folder, const char *path, const Config *config, const MetricsHistory *history,
                        Error *error)
{
    char *page = NULL, *config_file = NULL;
    size_t size = 0;
    Columns columns = {0};
    RunSummary summary = run_summarise(config, history);
    Status status = columns_fill(&columns, history, summary.epoch_steps, error);
    if (!status) status = config_text(config, &config_file, error);
    if (!status) {
        FILE *out = open_memstream(&page, &size);
        if (out) write_page(out, folder, config, config_file, history, &columns, &summary);
        if (!out || fclose(out) != 0) status = error_set(error, STATUS_FAILED, "%s: out of memory", path);
    }
    if (!status) status = file_write(path, page, size, error);
    free(page);
    free(config_file);
    free(columns.memory);
    return status;
}

Status report_write(const char *folder, const char *path, Error *error)
{
    char config_path[PATH_SIZE];
    Config config;
    MetricsHistory history;
    Status status = path_join(config_path, sizeof config_path, folder, "config.yaml", error);
    if (status) return status;
    if (!file_exists(config_path))
        return error_set(error, STATUS_USAGE, "%s: not a run folder: it has no config.yaml", folder);
    status = config_load(&config, config_path, NULL, 0, error);
    if (!status) status = metrics_read(&history, folder, error);
    if (status) return status;
    status = save_page(folder, path, &config, &history, error);
    metrics_history_free(&history);
    return status;
}
