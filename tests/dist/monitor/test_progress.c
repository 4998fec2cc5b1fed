#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "dist/monitor/progress.h"
#include "tests/support/log_capture.h"

static LogCapture capture;

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

Test(progress, one_line_per_interval_in_a_batch_log)
{
    Progress progress;
    TrainRecord record;
    int64_t ended[16];
    int count = 0;
    log_capture_open(&capture, 0, 0);
    progress_begin(&progress, &capture.log, &PLAN, 0);
    for (int64_t step = 1; step <= 20; step++) {
        StepStats stats = stats_of(step);
        if (progress_step(&progress, &stats, &record)) ended[count++] = record.step;
    }
    progress_end(&progress);
    log_close(&capture.log);
    const int64_t expected[] = {4, 8, 10, 12, 16, 20}; /* epochs end at 10 and 20 */
    cr_assert_eq(count, 6);
    cr_assert_arr_eq(ended, expected, sizeof expected);
    cr_assert_eq(text_lines(capture.stream), 6);
    cr_assert_eq(text_lines(capture.file), 6);
    cr_assert(text_holds(capture.stream, "epoch 1/2 step 10/20 loss 9.5000 lr 0.0005 32.0 img/s eta "));
    cr_assert(text_holds(capture.stream, "wait: data 25.0% net 12.5%"));
    cr_assert(!text_holds(capture.stream, "\r"));
}

Test(progress, records_are_means_over_the_interval)
{
    Progress progress;
    TrainRecord record;
    log_capture_open(&capture, 0, 0);
    progress_begin(&progress, &capture.log, &PLAN, 4); /* resumed */
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
    log_close(&capture.log);
}

Test(progress, a_bar_on_a_terminal)
{
    Progress progress;
    TrainRecord record;
    log_capture_open(&capture, 0, 200);
    progress_begin(&progress, &capture.log, &PLAN, 0);
    for (int64_t step = 1; step <= 10; step++) {
        StepStats stats = stats_of(step);
        progress_step(&progress, &stats, &record);
    }
    ValidationRecord validation = {.step = 10, .count = 500, .top1 = 12.345, .has_ema = true, .top1_ema = 3.5};
    progress_validate(&progress, 0);
    progress_validation(&progress, 500, 500);
    progress_validated(&progress, &validation);
    progress_end(&progress);
    log_close(&capture.log);
    cr_assert_eq(text_lines(capture.stream), 1, "only the validation is a line of its own");
    cr_assert(text_holds(capture.stream, "\repoch 1/2 step 10/20 loss 9.500 lr 0.0005 32 img/s eta "));
    cr_assert(text_holds(capture.stream, "data 25% net 12% [####################--------------------]  50%\033[K"));
    cr_assert(
        text_holds(capture.stream, "validating 500/500 eta 0s [########################################] 100%\033[K"));
    cr_assert(text_holds(capture.stream, "top1 12.35 "));
    cr_assert(text_holds(capture.stream, "ema: top1 3.50"));
    cr_assert_eq(text_lines(capture.file), 4); /* three intervals and the validation */
}

/* The bar is the validation's, also where a resumed run has not made a step yet. */
Test(progress, a_validation_has_its_own_share)
{
    Progress progress;
    log_capture_open(&capture, 0, 200);
    progress_begin(&progress, &capture.log, &PLAN, 20);
    progress_validate(&progress, 1);
    progress.validation_began -= 30;
    progress_validation(&progress, 100, 400);
    progress_end(&progress);
    log_close(&capture.log);
    cr_assert(text_holds(capture.stream,
                         "\repoch 2/2 validating 100/400 eta 1m 30s [##########------------------------------]  25%"));
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
