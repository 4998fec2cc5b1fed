/* Any bytes as metrics.jsonl: read, summed up, and plotted. Must never crash, leak, overflow, or draw a number that is not
 * one. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist/monitor/plot.h"
#include "dist/monitor/progress.h"
#include "dist/monitor/summary.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_drawing(const char *text)
{
    if (strstr(text, "nan") || strstr(text, "inf\"")) abort();
}

static void draw(const MetricsHistory *history)
{
    static char page[1 << 18];
    double *x = malloc((size_t)history->trains * sizeof *x + 1), *y = malloc((size_t)history->trains * sizeof *y + 1);
    FILE *out = fmemopen(page, sizeof page, "w");
    if (!x || !y || !out) abort();
    for (int64_t i = 0; i < history->trains; i++) {
        x[i] = (double)history->train[i].step;
        y[i] = history->train[i].loss;
    }
    Plot plot = {
        .title = "loss", .unit = "", .x_name = "step", .series = {{"train", x, y, history->trains}}, .count = 1};
    plot_write(out, &plot);
    if (ferror(out) || fclose(out) != 0) abort();
    check_drawing(page);
    page[0] = 0;
    free(x);
    free(y);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    Config config;
    MetricsHistory history;
    Error error = {0};
    char left[32];
    config_defaults(&config);
    config.schedule.epochs = config.schedule.cooldown_epochs = 1000000;
    if (metrics_parse_all(&history, (const char *)bytes, size, &error) != STATUS_OK) abort();
    RunSummary summary = run_summarise(&config, &history);
    if (summary.step < 0 || summary.total_steps < 0 || summary.epochs_done < 0) abort();
    progress_duration(summary.seconds_left, left, sizeof left);
    if (history.trains > 0 && size % 4 == 0) draw(&history); /* it takes longer than all the rest */
    metrics_history_free(&history);
    return 0;
}
