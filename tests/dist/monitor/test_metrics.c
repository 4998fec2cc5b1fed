#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/base/file.h"
#include "dist/monitor/metrics.h"
#include "tests/support/command.h"

static char *text_of(const char *folder, const char *name)
{
    char path[512], *text;
    size_t size;
    Error error = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert_eq(file_read(path, 1 << 24, &text, &size, &error), STATUS_OK, "%s", error.message);
    return text;
}

/* The lines of metrics.jsonl without the time that each ends with, which is of now. */
static char *lines_of(const char *folder)
{
    static const char TIME[] = ",\"time\":";
    char *text = text_of(folder, "metrics.jsonl");
    for (char *at = text; (at = strstr(at, TIME));) {
        char *end;
        double seconds = strtod(at + strlen(TIME), &end);
        cr_assert(seconds > 1.7e9 && strncmp(end, "}\n", 2) == 0, "%s", at);
        memmove(at, end, strlen(end) + 1);
    }
    return text;
}

static void expect_lines(const char *folder, const char *expected)
{
    char *text = lines_of(folder);
    cr_assert_str_eq(text, expected);
    free(text);
}

static void expect_text(const char *folder, const char *name, const char *expected)
{
    char *text = text_of(folder, name);
    cr_assert_str_eq(text, expected);
    free(text);
}

enum { EPOCH_STEPS = 10, INTERVAL = 4 };

/* The records of steps first+1 .. last, as a run with 10 steps per epoch and an interval of 4 writes them. */
static void train(Metrics *metrics, int64_t first, int64_t last)
{
    Error error = {0};
    for (int64_t step = first + 1; step <= last; step++) {
        int64_t epoch = (step - 1) / EPOCH_STEPS;
        if (step % INTERVAL == 0 || step % EPOCH_STEPS == 0) {
            TrainRecord record = {step, epoch, 7 - 0.01 * (double)step, 0.0005, 1.25, 12.5, 0.125, 0.0625, 0};
            cr_assert_eq(metrics_train(metrics, &record, &error), STATUS_OK, "%s", error.message);
        }
        if (step % EPOCH_STEPS != 0) continue;
        double top1 = (double)step / 10;
        ValidationRecord record = {step, epoch, 100, 3.5, top1, top1 + 20, true, 3.25, top1 + 1, top1 + 21, 0};
        cr_assert_eq(metrics_validation(metrics, &record, &error), STATUS_OK, "%s", error.message);
    }
}

static void open_at(Metrics *metrics, const char *folder, int64_t step)
{
    Error error = {0};
    cr_assert_eq(metrics_open(metrics, folder, step, true, &error), STATUS_OK, "%s", error.message);
}

Test(metrics, format_is_the_published_one)
{
    const char *folder = temporary_folder();
    Metrics metrics;
    Error error = {0};
    open_at(&metrics, folder, 0);
    train(&metrics, 0, 10);
    TrainRecord broken = {12, 1, NAN, 1e-6, INFINITY, 0, 0, 0, 0};
    cr_assert_eq(metrics_train(&metrics, &broken, &error), STATUS_OK);
    cr_assert_eq(metrics_sync(&metrics, &error), STATUS_OK);
    metrics_close(&metrics);
    expect_lines(
        folder,
        "{\"event\":\"train\",\"step\":4,\"epoch\":0,\"loss\":6.96,\"lr\":0.0005,\"grad_norm\":1.25,"
        "\"images_per_s\":12.5,\"data_wait\":0.125,\"comm_wait\":0.0625}\n"
        "{\"event\":\"train\",\"step\":8,\"epoch\":0,\"loss\":6.92,\"lr\":0.0005,\"grad_norm\":1.25,"
        "\"images_per_s\":12.5,\"data_wait\":0.125,\"comm_wait\":0.0625}\n"
        "{\"event\":\"train\",\"step\":10,\"epoch\":0,\"loss\":6.9,\"lr\":0.0005,\"grad_norm\":1.25,"
        "\"images_per_s\":12.5,\"data_wait\":0.125,\"comm_wait\":0.0625}\n"
        "{\"event\":\"validation\",\"step\":10,\"epoch\":0,\"count\":100,\"loss\":3.5,\"top1\":1.0,\"top5\":21.0,"
        "\"loss_ema\":3.25,\"top1_ema\":2.0,\"top5_ema\":22.0}\n"
        "{\"event\":\"train\",\"step\":12,\"epoch\":1,\"loss\":null,\"lr\":1e-6,\"grad_norm\":null,"
        "\"images_per_s\":0.0,\"data_wait\":0.0,\"comm_wait\":0.0}\n");
    /* (4 * 6.96 + 4 * 6.92 + 2 * 6.90) / 10 */
    expect_text(folder, "summary.csv",
                "epoch,train_loss,eval_loss,eval_top1,eval_top5,eval_loss_raw,eval_top1_raw,eval_top5_raw\n"
                "0,6.932000,3.250000,2.0000,22.0000,3.500000,1.0000,21.0000\n");
}

/* A table that was begun with the raw weights first goes on so: its heading says what its columns are. */
Test(metrics, an_older_summary_keeps_its_columns)
{
    static const char OLD[] =
        "epoch,train_loss,eval_loss,eval_top1,eval_top5,eval_loss_ema,eval_top1_ema,eval_top5_ema\n";
    const char *folder = temporary_folder();
    char path[600], want[300];
    Metrics metrics;
    Error error = {0};
    snprintf(path, sizeof path, "%.500s/summary.csv", folder);
    cr_assert_eq(file_write(path, OLD, strlen(OLD), &error), STATUS_OK);
    cr_assert_eq(metrics_open(&metrics, folder, 0, true, &error), STATUS_OK, "%s", error.message);
    ValidationRecord record = {.step = 5,
                               .count = 10,
                               .loss = 1,
                               .top1 = 50,
                               .top5 = 90,
                               .has_ema = true,
                               .loss_ema = 2,
                               .top1_ema = 60,
                               .top5_ema = 95};
    cr_assert_eq(metrics_validation(&metrics, &record, &error), STATUS_OK);
    metrics_close(&metrics);
    snprintf(want, sizeof want, "%s0,nan,1.000000,50.0000,90.0000,2.000000,60.0000,95.0000\n", OLD);
    expect_text(folder, "summary.csv", want);
}

Test(metrics, without_an_ema_the_columns_are_timms)
{
    const char *folder = temporary_folder();
    Metrics metrics;
    Error error = {0};
    cr_assert_eq(metrics_open(&metrics, folder, 0, false, &error), STATUS_OK);
    ValidationRecord record = {.step = 5, .epoch = 0, .count = 10, .loss = 1, .top1 = 50, .top5 = 90};
    cr_assert_eq(metrics_validation(&metrics, &record, &error), STATUS_OK);
    metrics_close(&metrics);
    expect_text(folder, "summary.csv",
                "epoch,train_loss,eval_loss,eval_top1,eval_top5\n0,nan,1.000000,50.0000,90.0000\n");
    char *lines = text_of(folder, "metrics.jsonl");
    cr_assert_null(strstr(lines, "ema"));
    free(lines);
}

/* Whatever step a run is cut at, and wherever its checkpoint was, the files end as those of the uncut run. */
Test(metrics, resumed_runs_leave_the_same_files)
{
    char whole[512], cut[512];
    Metrics metrics;
    snprintf(whole, sizeof whole, "%s/whole", temporary_folder());
    Error error = {0};
    cr_assert_eq(file_make_folders(whole, &error), STATUS_OK);
    open_at(&metrics, whole, 0);
    train(&metrics, 0, 45);
    metrics_close(&metrics);
    char *lines = lines_of(whole), *summary = text_of(whole, "summary.csv");
    /* A checkpoint at step `saved` (where an interval ends), a crash at step `died`. */
    const int64_t saved[] = {0, 4, 8, 10, 20, 24, 40}, died[] = {3, 9, 10, 11, 20, 25, 39, 45};
    for (size_t i = 0; i < sizeof saved / sizeof saved[0]; i++)
        for (size_t j = 0; j < sizeof died / sizeof died[0]; j++) {
            if (died[j] < saved[i]) continue;
            snprintf(cut, sizeof cut, "%s/cut-%zu-%zu", temporary_folder(), i, j);
            cr_assert_eq(file_make_folders(cut, &error), STATUS_OK);
            open_at(&metrics, cut, 0);
            train(&metrics, 0, died[j]);
            metrics_close(&metrics);
            open_at(&metrics, cut, saved[i]);
            train(&metrics, saved[i], 45);
            metrics_close(&metrics);
            expect_lines(cut, lines);
            expect_text(cut, "summary.csv", summary);
        }
    free(lines);
    free(summary);
}

/* A checkpoint is taken, the validation follows, the run is cut: resumed, it validates again. */
Test(metrics, a_repeated_validation_is_recorded_once)
{
    const char *folder = temporary_folder();
    Metrics metrics;
    Error error = {0};
    open_at(&metrics, folder, 0);
    train(&metrics, 0, 20);
    metrics_close(&metrics);
    char *lines = lines_of(folder), *summary = text_of(folder, "summary.csv");
    open_at(&metrics, folder, 20);
    ValidationRecord again = {.step = 20, .epoch = 1, .count = 100, .has_ema = true};
    cr_assert_eq(metrics_validation(&metrics, &again, &error), STATUS_OK);
    metrics_close(&metrics);
    expect_lines(folder, lines);
    expect_text(folder, "summary.csv", summary);
    free(lines);
    free(summary);
}

Test(metrics, torn_and_foreign_lines)
{
    const char *folder = temporary_folder();
    char path[512];
    Error error = {0};
    static const char BEFORE[] = "{\"event\":\"train\",\"step\":4,\"epoch\":0,\"loss\":7}\n"
                                 "{\"event\":\"note\",\"text\":\"by hand\"}\n"
                                 "{\"event\":\"train\",\"step\":-4,\"epoch\":0}\n"
                                 "not json\n"
                                 "{\"event\":\"train\",\"step\":8,\"epoch\":0,\"loss\":6}";
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    cr_assert_eq(file_write(path, BEFORE, strlen(BEFORE), &error), STATUS_OK);
    Metrics metrics;
    open_at(&metrics, folder, 8);
    metrics_close(&metrics);
    expect_text(folder, "metrics.jsonl",
                "{\"event\":\"train\",\"step\":4,\"epoch\":0,\"loss\":7}\n{\"event\":\"note\",\"text\":\"by hand\"}\n");
}

Test(metrics, history_reads_back)
{
    const char *folder = temporary_folder();
    Metrics metrics;
    MetricsHistory history;
    Error error = {0};
    open_at(&metrics, folder, 0);
    train(&metrics, 0, 20);
    metrics_close(&metrics);
    cr_assert_eq(metrics_read(&history, folder, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(history.trains, 6);
    cr_assert_eq(history.validations, 2);
    cr_assert_eq(history.train[5].step, 20);
    cr_assert_float_eq(history.train[5].loss, 6.8, 1e-12);
    cr_assert_float_eq(history.validation[1].top1_ema, 3, 1e-12);
    metrics_history_free(&history);
}

Test(metrics, numbers_that_no_run_can_have_are_no_record)
{
    static const char LINES[] = "{\"event\":\"validation\",\"step\":5,\"epoch\":9223372036854775807,\"top1\":1}\n"
                                "{\"event\":\"validation\",\"step\":9223372036854775807,\"epoch\":0,\"top1\":1}\n"
                                "{\"event\":\"train\",\"step\":1000000000001,\"epoch\":0,\"loss\":1}\n"
                                "{\"event\":\"train\",\"step\":7,\"epoch\":2000001,\"loss\":1}\n"
                                "{\"event\":\"train\",\"step\":1000000000000,\"epoch\":2000000,\"loss\":1e300,"
                                "\"images_per_s\":-1e39}\n"
                                "{\"event\":\"validation\",\"step\":8,\"epoch\":1,\"count\":-5,\"top1\":1e39}\n";
    MetricsHistory history;
    Error error = {0};
    cr_assert_eq(metrics_parse_all(&history, LINES, strlen(LINES), &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(history.trains, 1);
    cr_assert_eq(history.validations, 1);
    cr_expect_eq(history.train[0].step, 1000000000000);
    cr_expect(isnan(history.train[0].loss) && isnan(history.train[0].images_per_s));
    cr_expect_eq(history.validation[0].count, 0);
    cr_expect(isnan(history.validation[0].top1));
    metrics_history_free(&history);
}

/* Lines that are no record; a file that ends within a line counts too. */
static int broken_lines(const char *folder)
{
    char *text = text_of(folder, "metrics.jsonl"), *line = text, *end;
    MetricsLine record;
    int broken = 0;
    for (; (end = strchr(line, '\n')); line = end + 1)
        broken += metrics_parse(line, (size_t)(end - line), &record) != METRICS_TRAIN;
    broken += *line != '\0';
    free(text);
    return broken;
}

/* A full disk (here: a limit on the size of files) must not leave half a record in the way of the next. */
Test(metrics, a_failed_write_leaves_whole_lines)
{
    int named = 0;
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t room = 100; room < 1000; room += 37) {
        char folder[512];
        Metrics metrics;
        Error error = {0};
        struct rlimit limit;
        TrainRecord record = {4, 0, 7, 0.0005, 1.25, 12.5, 0.125, 0.0625, 0};
        snprintf(folder, sizeof folder, "%s/%d", temporary_folder(), (int)room);
        cr_assert_eq(file_make_folders(folder, &error), STATUS_OK);
        open_at(&metrics, folder, 0);
        getrlimit(RLIMIT_FSIZE, &limit);
        rlim_t before = limit.rlim_cur;
        limit.rlim_cur = room;
        setrlimit(RLIMIT_FSIZE, &limit);
        while (metrics_train(&metrics, &record, &error) == STATUS_OK) record.step += 4;
        limit.rlim_cur = before;
        setrlimit(RLIMIT_FSIZE, &limit);
        cr_assert_eq(error.status, STATUS_FAILED);
        named += strstr(error.message, "metrics.jsonl") != NULL;
        record.step += 4;
        error = (Error){0};
        cr_assert_eq(metrics_train(&metrics, &record, &error), STATUS_OK, "%s", error.message);
        metrics_close(&metrics);
        cr_assert_eq(broken_lines(folder), 0, "with room for %d bytes", (int)room);
    }
    cr_assert_gt(named, 0);
}

/* The first line says who computes, and core-hours add up over starts, also of lines that a resume cuts. */
Test(metrics, starts_and_ends_are_recorded)
{
    const char *folder = temporary_folder();
    const RunStart start = {.step = 0,
                            .epochs = 3,
                            .epoch_steps = 10,
                            .images = 1000,
                            .provenance = {.version = "v1", .command = "t2t train \"<b>\xff\x1b", .threads = 3600}};
    Metrics metrics;
    MetricsHistory history;
    Error error = {0};
    open_at(&metrics, folder, 0);
    cr_assert_eq(metrics_start(&metrics, &start, &error), STATUS_OK, "%s", error.message);
    train(&metrics, 0, 14);
    cr_assert_eq(metrics_checkpoint(&metrics, 10, 1000, 0.5, &error), STATUS_OK);
    metrics_close(&metrics);
    char *text = text_of(folder, "metrics.jsonl");
    cr_expect_eq(strncmp(text, "{\"event\":\"start\",\"step\":0,", 26), 0, "%.100s", text);
    free(text);

    open_at(&metrics, folder, 10);
    RunStart again = start;
    again.step = 10;
    cr_assert_eq(metrics_start(&metrics, &again, &error), STATUS_OK);
    metrics.cores.began -= 2;
    cr_assert_eq(metrics_end(&metrics, 10, "stopped", &error), STATUS_OK);
    metrics_close(&metrics);
    cr_assert_eq(metrics_read(&history, folder, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(history.events, 4);
    cr_expect_eq(history.event[0].kind, RUN_STARTED);
    cr_expect_eq(history.event[0].images, 1000);
    cr_expect_eq(history.event[1].kind, RUN_CHECKPOINT);
    cr_expect_eq(history.event[1].step, 10);
    cr_expect_eq(history.event[2].kind, RUN_STARTED);
    cr_expect_eq(history.event[2].step, 10);
    cr_expect_eq(history.event[3].kind, RUN_ENDED);
    /* 3600 threads: a core-hour each second. The file's times are of this very moment. */
    cr_expect_leq(history.event[2].core_hours, 1);
    cr_expect_float_eq(history.event[3].core_hours, 2, 1);
    cr_expect_str_eq(history.provenance.version, "v1");
    cr_expect_str_eq(history.provenance.command, "t2t train \"<b>\\xFF\\x1B");
    cr_expect_eq(history.provenance.threads, 3600);
    metrics_history_free(&history);
}

Test(metrics, core_hours_of_cut_lines_count)
{
    static const char LINES[] = "{\"event\":\"start\",\"step\":0,\"threads\":2,\"core_hours\":0,\"time\":1000}\n"
                                "{\"event\":\"train\",\"step\":10,\"epoch\":0,\"loss\":1,\"time\":2800}\n"
                                "{\"event\":\"train\",\"step\":20,\"epoch\":1,\"loss\":1,\"time\":4600}\n";
    char path[512];
    Metrics metrics;
    Error error = {0};
    snprintf(path, sizeof path, "%s/metrics.jsonl", temporary_folder());
    cr_assert_eq(file_write(path, LINES, strlen(LINES), &error), STATUS_OK);
    open_at(&metrics, temporary_folder(), 10);
    cr_expect_float_eq(core_time_hours(&metrics.cores), 2, 1e-9);
    metrics_close(&metrics);
}
