#include "core/optim/schedule.h"

#include <math.h>

static const double PI = 3.14159265358979323846;

int schedule_total_epochs(const ScheduleConfig *config)
{
    return config->epochs + config->cooldown_epochs;
}

double schedule_lr(const ScheduleConfig *config, int epoch, double fraction)
{
    double t = config->per_step ? epoch + fraction : epoch;
    if (t < config->warmup_epochs)
        return config->warmup_lr + t * (config->lr - config->warmup_lr) / config->warmup_epochs;
    if (config->kind == SCHED_CONSTANT) return config->lr;
    if (t >= config->epochs) return config->min_lr;
    return config->min_lr + 0.5 * (config->lr - config->min_lr) * (1 + cos(PI * t / config->epochs));
}
