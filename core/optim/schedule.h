/* schedule.h: the learning rate, as timm's CosineLRScheduler with t_in_epochs.
 *
 * Epochs 0 .. warmup-1 rise linearly from warmup_lr; epoch `warmup` joins the cosine at t = warmup; after `epochs` the
 * rate stays at min_lr for the cool-down. A run lasts epochs + cooldown_epochs.
 */
#ifndef CORE_OPTIM_SCHEDULE_H
#define CORE_OPTIM_SCHEDULE_H

#include <stdbool.h>

typedef enum SchedKind { SCHED_COSINE, SCHED_CONSTANT } SchedKind;

typedef struct ScheduleConfig {
    SchedKind kind;
    double lr, min_lr, warmup_lr;
    int epochs, warmup_epochs, cooldown_epochs;
    bool per_step; /* t counts fractions of an epoch: smoother for runs of a few epochs; the paper: false */
} ScheduleConfig;

int schedule_total_epochs(const ScheduleConfig *config);

/* The rate of epoch `epoch` (from 0) at `fraction` (0 .. 1) of it; the fraction counts only when per_step. */
double schedule_lr(const ScheduleConfig *config, int epoch, double fraction);

#endif
