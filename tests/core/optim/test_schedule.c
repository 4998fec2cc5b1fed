#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/optim/schedule.h"
#include "tests/support/golden.h"

static void check(const Safetensors *file, const char *name, ScheduleConfig config)
{
    int64_t count;
    double *rates = golden_doubles(file, name, &count);
    cr_assert_eq(schedule_total_epochs(&config), count, "%s", name);
    for (int epoch = 0; epoch < count; epoch++) {
        double lr = schedule_lr(&config, epoch, 0.75);
        cr_assert_float_eq(lr, rates[epoch], 1e-15, "%s, epoch %d: %.17g, expected %.17g", name, epoch, lr,
                           rates[epoch]);
    }
    free(rates);
}

Test(schedule, goldens)
{
    Safetensors file = golden_open("ops/lr_schedules");
    ScheduleConfig paper = {
        .lr = 5e-4, .min_lr = 1e-5, .warmup_lr = 1e-6, .epochs = 300, .warmup_epochs = 10, .cooldown_epochs = 10};
    check(&file, "cosine_lr5e-4_e300_w10_c10", paper);
    paper.lr = 1e-3;
    check(&file, "cosine_lr1e-3_e300_w10_c10", paper);
    paper.lr = 5e-4;
    paper.epochs = 30, paper.warmup_epochs = 5, paper.cooldown_epochs = 3;
    check(&file, "cosine_lr5e-4_e30_w5_c3", paper);
    paper.epochs = 20, paper.warmup_epochs = 0, paper.cooldown_epochs = 0;
    check(&file, "cosine_lr5e-4_e20_w0_c0", paper);
    /* The transfer recipe: torch's CosineAnnealingLR to 2e-4, for which a rate that starts lower rises. */
    ScheduleConfig transfer = {.lr = 0.05, .min_lr = 2e-4, .epochs = 60};
    check(&file, "transfer_lr0.05", transfer);
    transfer.lr = 5e-4;
    check(&file, "transfer_lr0.0005", transfer);
    transfer.lr = 1e-4;
    check(&file, "transfer_lr0.0001", transfer);
    safetensors_close(&file);
}

Test(schedule, per_step_moves_between_the_epochs_and_meets_them)
{
    ScheduleConfig stairs = {.lr = 1e-3, .min_lr = 1e-5, .warmup_lr = 1e-6, .epochs = 8, .warmup_epochs = 2};
    ScheduleConfig smooth = stairs;
    smooth.per_step = true;
    for (int epoch = 0; epoch < 8; epoch++) {
        cr_assert_eq(schedule_lr(&smooth, epoch, 0), schedule_lr(&stairs, epoch, 0.5));
        double half = schedule_lr(&smooth, epoch, 0.5), next = schedule_lr(&stairs, epoch + 1, 0);
        if (epoch == 1) continue; /* the warm-up ends above the cosine that it joins */
        cr_assert((half - schedule_lr(&stairs, epoch, 0)) * (next - half) > 0, "between its neighbours: %d", epoch);
    }
}

Test(schedule, constant_after_warmup)
{
    ScheduleConfig config = {.kind = SCHED_CONSTANT, .lr = 1e-3, .warmup_lr = 0, .epochs = 4, .warmup_epochs = 2};
    cr_assert_eq(schedule_lr(&config, 0, 0), 0);
    cr_assert_eq(schedule_lr(&config, 1, 0), 5e-4);
    for (int epoch = 2; epoch < 9; epoch++) cr_assert_eq(schedule_lr(&config, epoch, 0), 1e-3);
}
