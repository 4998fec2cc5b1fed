#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/base/file.h"
#include "dist/monitor/progress.h"
#include "tests/support/command.h"

/* A log whose stream is a file; with `columns` > 0 it believes in a terminal of that width. */
static Log log_;
static int terminal = -1;
static char stream[512], file[512];

static void open_log(int rank, int columns)
{
    Error error = {0};
    snprintf(stream, sizeof stream, "%s/stderr", temporary_folder());
    snprintf(file, sizeof file, "%s/log.txt", temporary_folder());
    cr_assert_eq(log_open(&log_, rank, LOG_INFO, &error), STATUS_OK);
    if (log_.terminal >= 0) close(log_.terminal);
    log_.stream = open(stream, O_WRONLY | O_CREAT | O_APPEND, 0600);
    log_.terminal = -1;
    if (columns > 0) {
        struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
        terminal = posix_openpt(O_RDWR | O_NOCTTY);
        cr_assert_geq(terminal, 0);
        cr_assert_eq(ioctl(terminal, TIOCSWINSZ, &size), 0);
        log_.terminal = terminal;
    }
    cr_assert_eq(log_file(&log_, file, &error), STATUS_OK, "%s", error.message);
}

static char *read_text(const char *path)
{
    char *text;
    size_t size;
    Error error = {0};
    if (!file_exists(path)) return strdup("");
    cr_assert_eq(file_read(path, 1 << 20, &text, &size, &error), STATUS_OK, "%s", error.message);
    return text;
}

static int lines_in(const char *path)
{
    char *text = read_text(path);
    int lines = 0;
    for (char *at = text; *at; at++) lines += *at == '\n';
    free(text);
    return lines;
}

static bool holds(const char *path, const char *word)
{
    char *text = read_text(path);
    bool found = strstr(text, word) != NULL;
    free(text);
    return found;
}

static StepStats stats_of(int64_t step)
{
    return (StepStats){.step = step,
                       .epoch = (step - 1) / 10,
                       .loss = (double)step,
                       .lr = 0.0005,
                       .grad_norm = 2,
                       .images = 64,
                       .seconds = 2,
                       .data_wait = 0.5,
                       .comm_wait = 0.25};
}

static const ProgressPlan PLAN = {.total_steps = 20, .epoch_steps = 10, .epochs = 2, .interval = 4};

Test(log, levels_and_ranks)
{
    open_log(0, 0);
    log_write(&log_, LOG_INFO, "model %s", "t2t_vit_14");
    log_write(&log_, LOG_DEBUG, "too quiet");
    log_write(&log_, LOG_WARNING, "few images");
    log_close(&log_);
    cr_assert_eq(lines_in(stream), 2);
    cr_assert_eq(lines_in(file), 2);
    cr_assert(holds(stream, " model t2t_vit_14\n"));
    cr_assert(holds(stream, " warning: few images\n"));
    cr_assert(holds(file, " info model t2t_vit_14\n"));
}

Test(log, other_ranks_only_warn)
{
    open_log(3, 0);
    log_write(&log_, LOG_INFO, "hello");
    log_progress(&log_, "step 1");
    cr_assert(!file_exists(file));
    log_write(&log_, LOG_WARNING, "slow disk");
    log_close(&log_);
    cr_assert_eq(lines_in(stream), 1);
    cr_assert(holds(stream, " warning: rank 3: slow disk\n"));
    cr_assert(holds(file, " warning rank 3: slow disk\n"));
}

Test(log, status_line_is_cut_to_the_terminal_and_steps_aside)
{
    open_log(0, 11);
    log_status(&log_, "0123456789abcdef");
    log_write(&log_, LOG_INFO, "hello");
    log_status(&log_, "gr\xc3\xbc\xc3\x9f"
                      "e 1234567");
    log_status(&log_, "");
    log_close(&log_);
    char *text = read_text(stream);
    const char *erase = "\r\033[K", *line = strstr(text, "hello\n");
    cr_assert_eq(strncmp(text, "\r0123456789\033[K", 14), 0);
    cr_assert_not_null(line);
    cr_assert_eq(strncmp(text + 14, erase, 4), 0, "the status line must be erased before a message");
    cr_assert_eq(strncmp(line + 6, "\r0123456789\033[K", 14), 0, "and drawn again behind it");
    cr_assert_not_null(strstr(text, "\rgr\xc3\xbc\xc3\x9f"
                                    "e 1234\033[K"));
    cr_assert_str_eq(text + strlen(text) - 4, erase);
    free(text);
    cr_assert_eq(lines_in(file), 1);
}

Test(progress, one_line_per_interval_in_a_batch_log)
{
    Progress progress;
    TrainRecord record;
    int64_t ended[16];
    int count = 0;
    open_log(0, 0);
    progress_begin(&progress, &log_, &PLAN, 0);
    for (int64_t step = 1; step <= 20; step++) {
        StepStats stats = stats_of(step);
        if (progress_step(&progress, &stats, &record)) ended[count++] = record.step;
    }
    progress_end(&progress);
    log_close(&log_);
    const int64_t expected[] = {4, 8, 10, 12, 16, 20}; /* epochs end at 10 and 20 */
    cr_assert_eq(count, 6);
    cr_assert_arr_eq(ended, expected, sizeof expected);
    cr_assert_eq(lines_in(stream), 6);
    cr_assert_eq(lines_in(file), 6);
    cr_assert(holds(stream, "epoch 1/2 step 10/20 loss 9.5000 lr 0.0005 32.0 img/s eta "));
    cr_assert(holds(stream, "wait: data 25.0% net 12.5%"));
    cr_assert(!holds(stream, "\r"));
}

Test(progress, records_are_means_over_the_interval)
{
    Progress progress;
    TrainRecord record;
    open_log(0, 0);
    progress_begin(&progress, &log_, &PLAN, 4); /* resumed */
    cr_assert(!progress_flush(&progress, &record));
    for (int64_t step = 5; step <= 7; step++) {
        StepStats stats = stats_of(step);
        cr_assert(!progress_step(&progress, &stats, &record));
    }
    cr_assert(progress_flush(&progress, &record));
    cr_assert_eq(record.step, 7);
    cr_assert_eq(record.epoch, 0);
    cr_assert_float_eq(record.loss, 6, 1e-12);
    cr_assert_float_eq(record.grad_norm, 2, 1e-12);
    cr_assert_float_eq(record.images_per_s, 32, 1e-12);
    cr_assert_float_eq(record.data_wait, 0.25, 1e-12);
    cr_assert_float_eq(record.comm_wait, 0.125, 1e-12);
    cr_assert(!progress_flush(&progress, &record));
    log_close(&log_);
}

Test(progress, a_bar_on_a_terminal)
{
    Progress progress;
    TrainRecord record;
    open_log(0, 200);
    progress_begin(&progress, &log_, &PLAN, 0);
    for (int64_t step = 1; step <= 10; step++) {
        StepStats stats = stats_of(step);
        progress_step(&progress, &stats, &record);
    }
    ValidationRecord validation = {.step = 10, .count = 500, .top1 = 12.345, .has_ema = true, .top1_ema = 3.5};
    progress_validate(&progress, 0);
    progress_validation(&progress, 500, 500);
    progress_validated(&progress, &validation);
    progress_end(&progress);
    log_close(&log_);
    cr_assert_eq(lines_in(stream), 1, "only the validation is a line of its own");
    cr_assert(holds(stream, "\repoch 1/2 step 10/20 loss 9.500 lr 0.0005 32 img/s eta "));
    cr_assert(holds(stream, "data 25% net 12% [####################--------------------]  50%\033[K"));
    cr_assert(holds(stream, "validating 500/500 eta 0s [########################################] 100%\033[K"));
    cr_assert(holds(stream, "top1 12.35 "));
    cr_assert(holds(stream, "ema: top1 3.50"));
    cr_assert_eq(lines_in(file), 4); /* three intervals and the validation */
}

/* The bar is the validation's, also where a resumed run has not made a step yet. */
Test(progress, a_validation_has_its_own_share)
{
    Progress progress;
    open_log(0, 200);
    progress_begin(&progress, &log_, &PLAN, 20);
    progress_validate(&progress, 1);
    progress.validation_began -= 30;
    progress_validation(&progress, 100, 400);
    progress_end(&progress);
    log_close(&log_);
    cr_assert(
        holds(stream, "\repoch 2/2 validating 100/400 eta 1m 30s [##########------------------------------]  25%"));
}

Test(progress, durations)
{
    const struct {
        double seconds;
        const char *text;
    } cases[] = {{-1, "0s"},
                 {8.6, "9s"},
                 {750, "12m 30s"},
                 {11100, "3h 05m"},
                 {93600, "1d 02h"},
                 {1e300, "1000000d 00h"},
                 {INFINITY, "1000000d 00h"},
                 {NAN, "0s"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[32];
        progress_duration(cases[i].seconds, text, sizeof text);
        cr_assert_str_eq(text, cases[i].text);
    }
}
