#include <criterion/criterion.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "dist/monitor/plot.h"
#include "dist/monitor/report.h"
#include "dist/monitor/summary.h"
#include "tests/support/command.h"

/* A run of `epochs` epochs of 100 steps out of 300, validated each; top-1 peaks at epoch 5 of the raw weights. */
static const char *make_run(const char *name, int epochs, bool ema)
{
    static char folder[512];
    char path[600];
    Config config;
    Metrics metrics;
    Error error = {0};
    snprintf(folder, sizeof folder, "%s/%s", temporary_folder(), name);
    snprintf(path, sizeof path, "%s/config.yaml", folder);
    config_defaults(&config);
    cr_assert_eq(file_make_folders(folder, &error), STATUS_OK);
    cr_assert_eq(config_save(&config, path, &error), STATUS_OK);
    cr_assert_eq(metrics_open(&metrics, folder, 0, ema, &error), STATUS_OK);
    for (int step = 10; step <= 100 * epochs; step += 10) {
        TrainRecord train = {step, (step - 1) / 100, 7 - 0.001 * step, 5e-4, step == 50 ? INFINITY : 2, 64, 0.125, 0.25,
                             0};
        cr_assert_eq(metrics_train(&metrics, &train, &error), STATUS_OK);
        if (step % 100 != 0) continue;
        double top1 = 60 - fabs(step / 100.0 - 5);
        ValidationRecord record = {step, step / 100 - 1, 500, 3, top1, top1 + 20, ema, 2.5, 50 + step / 100.0, 80, 0};
        cr_assert_eq(metrics_validation(&metrics, &record, &error), STATUS_OK);
    }
    metrics_close(&metrics);
    return folder;
}

static char *page_of(const char *folder)
{
    char path[600], *page;
    size_t size;
    Error error = {0};
    snprintf(path, sizeof path, "%s/report.html", folder);
    cr_assert_eq(report_write(folder, path, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(file_read(path, 1 << 24, &page, &size, &error), STATUS_OK, "%s", error.message);
    return page;
}

static int count_of(const char *text, const char *word)
{
    int count = 0;
    for (; (text = strstr(text, word)); text++) count++;
    return count;
}

/* Every element but HTML's empty ones must be closed, in order. */
static void expect_well_formed(const char *page)
{
    char stack[64][32];
    int depth = 0;
    for (const char *at = page; (at = strchr(at, '<')); at++) {
        bool closing = at[1] == '/';
        const char *name = at + 1 + closing, *end = strchr(at, '>');
        if (at[1] == '!') continue;
        cr_assert_not_null(end);
        int size = 0;
        while (isalnum((unsigned char)name[size])) size++;
        cr_assert(size > 0 && size < 32, "a bare < at %.40s", at);
        char tag[32];
        snprintf(tag, sizeof tag, "%.*s", size, name);
        if (closing) {
            cr_assert(depth > 0 && strcmp(stack[--depth], tag) == 0, "</%s> closes <%s>", tag, stack[depth]);
        } else if (end[-1] != '/' && strcmp(tag, "meta") != 0) {
            cr_assert_lt(depth, 64);
            strcpy(stack[depth++], tag);
        }
    }
    cr_assert_eq(depth, 0);
}

static void expect_self_contained(const char *page)
{
    static const char *const OUTSIDE[] = {"<script", "<link", "<img", "<iframe", "://", "src=", "url(", "@import"};
    for (size_t i = 0; i < sizeof OUTSIDE / sizeof OUTSIDE[0]; i++)
        cr_expect_eq(count_of(page, OUTSIDE[i]), 0, "the page has %s", OUTSIDE[i]);
}

Test(report, one_page_that_needs_nothing_else)
{
    char *page = page_of(make_run("run", 12, true));
    expect_well_formed(page);
    cr_assert_eq(count_of(page, "<figure"), 6);
    expect_self_contained(page);
    cr_assert_eq(count_of(page, "<tr"), 12 + 1 + 4); /* validations, their heading, facts */
    cr_assert_not_null(strstr(page, "<b>60.00 %</b>best top-1, weights, epoch 5"));
    cr_assert_not_null(strstr(page, "<b>62.00 %</b>best top-1, EMA, epoch 12"));
    cr_assert_not_null(strstr(page, "<b>1200</b>of 31000 steps done")); /* 300 epochs and 10 of cool-down */
    cr_assert_not_null(strstr(page, "<tr class=\"best\"><td>12</td>"));
    cr_assert_not_null(strstr(page, "model: t2t_vit_14"));
    cr_assert_eq(count_of(page, "nan"), 0, "a number that is none was drawn");
    free(page);
}

Test(report, a_run_that_has_just_begun)
{
    char *page = page_of(make_run("new", 0, true));
    expect_well_formed(page);
    cr_assert_eq(count_of(page, "<svg"), 0);
    cr_assert_not_null(strstr(page, "<b>0</b>steps done"));
    free(page);
}

Test(report, without_an_ema)
{
    char *page = page_of(make_run("plain", 2, false));
    expect_well_formed(page);
    cr_assert_eq(count_of(page, "EMA"), 0);
    free(page);
}

Test(report, a_folder_name_is_text)
{
    char *page = page_of(make_run("a<b>&c", 1, false));
    expect_well_formed(page);
    cr_assert_not_null(strstr(page, "a&lt;b&gt;&amp;c"));
    free(page);
}

/* Commands, hosts and folders may be called anything. */
Test(report, hostile_texts_stay_texts)
{
    static const char LINES[] =
        "{\"event\":\"start\",\"step\":0,\"epoch_steps\":10,\"images\":100,\"parameters\":5,\"version\":\"v\","
        "\"command\":\"t2t train </td><script>alert(1)</script>\",\"hosts\":\"a\\u001b[31m\\\"<b>\",\"time\":1.7e9}\n"
        "{\"event\":\"train\",\"step\":5,\"epoch\":0,\"loss\":5,\"time\":1700000100}\n"
        "{\"event\":\"checkpoint\",\"step\":5,\"time\":1700000100}\n"
        "{\"event\":\"start\",\"step\":5,\"version\":\"v\",\"command\":\"</td><script>\",\"hosts\":\"a\\u001b[31m<b>\","
        "\"time\":1700000200}\n"
        "{\"event\":\"train\",\"step\":9,\"epoch\":0,\"loss\":4,\"time\":1700000300}\n";
    const char *folder = make_run("x\"><img src=y>", 0, true);
    char path[600];
    Error error = {0};
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    cr_assert_eq(file_write(path, LINES, strlen(LINES), &error), STATUS_OK);
    char *page = page_of(folder);
    expect_well_formed(page);
    cr_expect_eq(count_of(page, "<script") + count_of(page, "<img") + count_of(page, "\x1b"), 0);
    cr_expect_not_null(strstr(page, "&lt;/td&gt;&lt;script&gt;"));
    cr_expect_not_null(strstr(page, "a\\x1B[31m&lt;b&gt;"));
    cr_expect_not_null(strstr(page, "<title>resumed at step 5</title>"));
    cr_expect_not_null(strstr(page, "<title>checkpoint of step 5</title>"));
    free(page);
}

Test(report, several_runs_on_one_page)
{
    Config config;
    char one[512], two[512], path[600], *page;
    size_t size;
    Error error = {0};
    snprintf(one, sizeof one, "%s", make_run("one", 3, true));
    snprintf(two, sizeof two, "%s", make_run("two<b>", 5, false));
    snprintf(path, sizeof path, "%s/config.yaml", two);
    config_defaults(&config);
    config.lr = 0.125;
    cr_assert_eq(config_save(&config, path, &error), STATUS_OK);
    snprintf(path, sizeof path, "%s/both.html", temporary_folder());
    char *folders[] = {one, two};
    cr_assert_eq(report_write_runs(folders, 2, path, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(file_read(path, 1 << 24, &page, &size, &error), STATUS_OK, "%s", error.message);
    expect_well_formed(page);
    expect_self_contained(page);
    cr_expect_eq(count_of(page, "<figure"), 6);
    cr_expect_not_null(strstr(page, "<span class=\"key s1\">two&lt;b&gt;</span>"));
    cr_expect_not_null(
        strstr(page, "<td class=\"text\">lr</td><td class=\"name\">0.0005</td><td class=\"name\">0.125</td>"));
    free(page);
    cr_expect_eq(report_write_runs(folders, 1, path, &error), STATUS_USAGE);
}

/* A run of two steps' records, `epoch_steps` apart; 0: it does not tell how many steps an epoch has. */
static void make_short_run(char *folder, size_t size, const char *name, int epoch_steps, int spacing)
{
    char lines[1024], path[600];
    Error error = {0};
    snprintf(folder, size, "%s", make_run(name, 0, false));
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    int used = snprintf(lines, sizeof lines, "{\"event\":\"start\",\"step\":0,\"epoch_steps\":%d}\n", epoch_steps);
    for (int i = 1; i <= 2; i++)
        used += snprintf(lines + used, sizeof lines - (size_t)used,
                         "{\"event\":\"train\",\"step\":%d,\"epoch\":0,\"loss\":%d,\"lr\":1}\n", spacing * i, 8 - i);
    cr_assert_eq(file_write(path, lines, (size_t)used, &error), STATUS_OK);
}

static char *page_of_all(char *const *folders, int count)
{
    char path[600], *page;
    size_t size;
    Error error = {0};
    snprintf(path, sizeof path, "%s/all.html", temporary_folder());
    cr_assert_eq(report_write_runs(folders, count, path, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(file_read(path, 1 << 24, &page, &size, &error), STATUS_OK, "%s", error.message);
    expect_well_formed(page);
    return page;
}

/* Batches of another size make epochs of other numbers of steps; side by side they begin and end together. */
Test(report, runs_of_other_batches_share_an_axis_of_epochs)
{
    char one[512], two[512], idle[512], old[512];
    make_short_run(one, sizeof one, "one", 100, 100);
    make_short_run(two, sizeof two, "two", 50, 50);
    make_short_run(old, sizeof old, "old<", 0, 50);
    snprintf(idle, sizeof idle, "%s", make_run("idle", 0, false)); /* has not begun: nothing to place */
    char *folders[] = {one, two, idle, old};
    char *page = page_of_all(folders, 3);
    cr_expect_not_null(strstr(page, "The charts count epochs, which have from 50 to 100 steps."));
    /* From x = 82, epoch 0, to 546, epoch 2. */
    cr_expect_not_null(strstr(page, "<path class=\"line s0\" d=\"M314.0 12.0L546.0 208.0\"/>"));
    cr_expect_not_null(strstr(page, "<path class=\"line s1\" d=\"M314.0 12.0L546.0 208.0\"/>"));
    cr_expect_not_null(strstr(page, "text-anchor=\"end\">epoch</text>"));
    cr_expect_null(strstr(page, "text-anchor=\"end\">step</text>"));
    free(page);
    page = page_of_all(folders, 4);
    cr_expect_not_null(strstr(page, "The charts count steps: old&lt; does not tell how many an epoch has."));
    cr_expect_not_null(strstr(page, "<path class=\"line s0\" d=\"M314.0 12.0L546.0 208.0\"/>")); /* 100, 200 */
    cr_expect_not_null(strstr(page, "<path class=\"line s1\" d=\"M198.0 12.0L314.0 208.0\"/>")); /* 50, 100 */
    cr_expect_not_null(strstr(page, "<path class=\"line s3\" d=\"M198.0 12.0L314.0 208.0\"/>"));
    cr_expect_null(strstr(page, "text-anchor=\"end\">epoch</text>"));
    free(page);
}

Test(report, refuses_what_is_no_run)
{
    Error error = {0};
    cr_assert_eq(report_write(temporary_folder(), "/dev/null", &error), STATUS_USAGE);
    cr_assert_not_null(strstr(error.message, "not a run folder"));
}

Test(report, a_summary_of_hostile_numbers)
{
    static const char LINES[] =
        "{\"event\":\"train\",\"step\":1000000000000,\"epoch\":0,\"loss\":1,\"images_per_s\":1e-300}\n"
        "{\"event\":\"validation\",\"step\":1000000000000,\"epoch\":0,\"top1\":1}\n"
        "{\"event\":\"validation\",\"step\":1,\"epoch\":9223372036854775807,\"top1\":1}\n";
    Config config;
    MetricsHistory history;
    Error error = {0};
    config_defaults(&config);
    config.schedule.epochs = 1000000;
    config.schedule.cooldown_epochs = 1000000;
    cr_assert_eq(metrics_parse_all(&history, LINES, strlen(LINES), &error), STATUS_OK, "%s", error.message);
    RunSummary summary = run_summarise(&config, &history);
    cr_expect_eq(summary.epoch_steps, 1000000000000);
    cr_expect_eq(summary.total_steps, 2000000000000000000);
    cr_expect_eq(summary.epochs_done, 1);
    metrics_history_free(&history);
}

Test(report, summary)
{
    Config config;
    MetricsHistory history;
    Error error = {0};
    config_defaults(&config);
    cr_assert_eq(metrics_read(&history, make_run("summary", 3, true), &error), STATUS_OK);
    RunSummary summary = run_summarise(&config, &history);
    cr_assert_eq(summary.step, 300);
    cr_assert_eq(summary.epoch_steps, 100);
    cr_assert_eq(summary.total_steps, 31000);
    cr_assert_eq(summary.epochs_done, 3);
    cr_assert_float_eq(summary.images_per_s, 64, 1e-9);
    cr_assert_float_eq(summary.seconds_left, 30700 * 512 / 64.0, 1e-6);
    cr_assert_float_eq(summary.comm_wait, 0.25, 1e-9);
    metrics_history_free(&history);
}

static char *plotted(const double *x, const double *y, int64_t count)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    Plot plot = {.title = "t", .unit = "", .x_name = "x", .series = {{"s", x, y, count}}, .count = 1};
    plot_write(out, &plot);
    fclose(out);
    return text;
}

Test(plot, corners_and_gaps)
{
    const double x[] = {0, 1, 2, 3, 4}, y[] = {0, 10, NAN, 5, 5};
    char *text = plotted(x, y, 5);
    expect_well_formed(text);
    /* The chart's inside goes from (82, 12) to (546, 208). */
    cr_assert_not_null(strstr(text, "d=\"M82.0 208.0L198.0 12.0M430.0 110.0L546.0 110.0\""), "%s", text);
    free(text);
}

Test(plot, degenerate_series)
{
    const double x[] = {3, 3}, zero[] = {0, 0}, nothing[] = {NAN, INFINITY};
    char *text = plotted(x, nothing, 2);
    cr_assert_str_empty(text);
    free(text);
    for (int count = 1; count <= 2; count++) {
        text = plotted(x, zero, count);
        expect_well_formed(text);
        cr_assert_null(strstr(text, "nan"));
        cr_assert_null(strstr(text, "inf"));
        free(text);
    }
    static const double PAIRS[][2] = {{0, 5e-324}, {1, 1 + 2.3e-16}, {-3e38, 3e38}, {1e15, 1e15 + 0.125}, {1e-310, 0}};
    const double apart[] = {0, 1e12};
    for (size_t i = 0; i < sizeof PAIRS / sizeof PAIRS[0]; i++) {
        text = plotted(apart, PAIRS[i], 2);
        expect_well_formed(text);
        cr_expect_null(strstr(text, "nan"), "pair %zu", i);
        cr_expect_null(strstr(text, "inf"), "pair %zu", i);
        cr_expect_lt(strlen(text), 4000, "pair %zu: %zu bytes", i, strlen(text));
        free(text);
    }
}

Test(plot, long_series_are_averaged)
{
    enum { N = 100003 };
    double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    for (int i = 0; i < N; i++) {
        x[i] = i;
        y[i] = i % 2 ? 1 : -1;
    }
    char *text = plotted(x, y, N);
    expect_well_formed(text);
    cr_assert_lt(strlen(text), 40000);
    free(text);
    free(x);
    free(y);
}

/* What a run begins with would hide what it ends with. */
Test(plot, the_axis_is_for_the_end)
{
    const double x[] = {0, 1, 2, 3, 4, 5, 6, 7, 8}, y[] = {900, 50, 3, 2.9, 2.8, 2.7, 2.6, 2.5, 2.4};
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    Plot plot = {.title = "t",
                 .unit = "",
                 .x_name = "x",
                 .shows_end = true,
                 .level = 2.5,
                 .level_name = "published",
                 .series = {{"s", x, y, 9}},
                 .count = 1};
    plot_write(out, &plot);
    fclose(out);
    expect_well_formed(text);
    cr_expect_not_null(strstr(text, ">3</text>"));
    cr_expect_null(strstr(text, ">900</text>"));
    cr_expect_not_null(strstr(text, "the beginning is cut off"));
    cr_expect_not_null(strstr(text, "class=\"level\""));
    cr_expect_not_null(strstr(text, "published 2.5"));
    free(text);
}
