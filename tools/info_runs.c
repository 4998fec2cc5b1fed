/* t2t info RUN RUN ...: runs side by side, and the settings in which they differ. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/base/printable.h"
#include "dist/config/config_keys.h"
#include "dist/monitor/progress.h"
#include "tools/info.h"
#include "tools/json_output.h"
#include "tools/run_state.h"

enum { NAME_WIDTH = 40 };

static void print_figure(double value, const char *format, int width)
{
    char text[64] = "-";
    if (isfinite(value)) snprintf(text, sizeof text, format, value);
    printf("  %*s", width, text);
}

/* Long names keep their end, which tells them apart. */
static void print_folder(const char *folder, int width)
{
    char text[4 * CHECKPOINT_PATH];
    printable(text, sizeof text, folder);
    int length = (int)strlen(text);
    if (length > width)
        printf("...%s", text + length - width + 3);
    else
        printf("%-*s", width, text);
}

static void print_run_row(const RunState *state, int width)
{
    const RunSummary *summary = &state->summary;
    char left[32] = "-", epochs[48], hours[32];
    snprintf(epochs, sizeof epochs, "%" PRId64 "/%" PRId64, summary->epochs_done, summary->epochs);
    if (summary->seconds_left > 0 && state->phase != RUN_DONE)
        progress_duration(summary->seconds_left, left, sizeof left);
    print_folder(state->folder, width);
    printf("  %-9s  %9s", run_phase_name(state->phase), epochs);
    print_figure(summary->loss, "%.4f", 10);
    print_figure(summary->best_top1, "%.2f", 6);
    print_figure(summary->best_ema, "%.2f", 6);
    print_figure(summary->images_per_s, "%.1f", 8);
    printf("  %8s", isnan(summary->core_hours) ? "-" : core_hours_text(summary->core_hours, hours));
    printf("  %9s\n", left);
}

static bool all_alike(const RunState *states, int count, const Key *key)
{
    char first[2 * CONFIG_TEXT], other[2 * CONFIG_TEXT];
    config_format(&states[0].config, key, first, sizeof first);
    for (int i = 1; i < count; i++) {
        config_format(&states[i].config, key, other, sizeof other);
        if (strcmp(first, other) != 0) return false;
    }
    return true;
}

/* Of the keys that bear on the result, a line for each value and the runs that have it. */
static void print_differences(const RunState *states, int count)
{
    bool headed = false;
    for (int k = 0; k < config_key_count(); k++) {
        const Key *key = config_key(k);
        if (key->may_change || all_alike(states, count, key)) continue;
        if (!headed) printf("\nsettings that differ, in the order of the runs\n");
        headed = true;
        printf("  %-18s", key->name);
        for (int i = 0; i < count; i++) {
            char value[2 * CONFIG_TEXT], text[8 * CONFIG_TEXT];
            config_format(&states[i].config, key, value, sizeof value);
            printf("%s%s", i ? " | " : " ", printable(text, sizeof text, value));
        }
        putchar('\n');
    }
    if (!headed) printf("\nno setting that bears on the result differs\n");
}

static void print_table(const RunState *states, int count)
{
    int width = 3;
    for (int i = 0; i < count; i++) {
        int length = (int)strlen(states[i].folder);
        width = length > width ? length : width;
    }
    if (width > NAME_WIDTH) width = NAME_WIDTH;
    printf("%-*s  %-9s  %9s  %10s  %6s  %6s  %8s  %8s  %9s\n", width, "run", "state", "epochs", "train loss", "top-1",
           "EMA", "images/s", "core-h", "left");
    for (int i = 0; i < count; i++) print_run_row(&states[i], width);
    print_differences(states, count);
}

static void print_json(const RunState *states, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(list, info_run_json(&states[i]));
    json_print(list);
}

Status info_runs(char *const *paths, int count, const InfoOptions *options, Error *error)
{
    RunState *states = memory_alloc(count, sizeof *states, "the runs", error);
    int runs = 0;
    if (!states) return STATUS_FAILED;
    Status status = STATUS_OK;
    for (int i = 0; i < count; i++) {
        Error problem = {0};
        char text[4 * CHECKPOINT_PATH];
        if (!run_state_is_run(paths[i]))
            fprintf(stderr, "%s: left out: no run folder, it has no config.yaml\n",
                    printable(text, sizeof text, paths[i]));
        else if (run_state_read(&states[runs], paths[i], false, &problem))
            fprintf(stderr, "left out: %s\n", problem.message);
        else
            runs++;
    }
    if (runs == 0)
        status = error_set(error, STATUS_USAGE, "one thing at a time, or several run folders: %s is none", paths[0]);
    else if (options->json)
        print_json(states, runs);
    else
        print_table(states, runs);
    for (int i = 0; i < runs; i++) run_state_free(&states[i]);
    free(states);
    return status;
}
