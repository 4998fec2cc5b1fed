#include "dist/train/speed.h"

#include <inttypes.h>

#include "core/base/processor.h"
#include "core/kernels/bf16.h"
#include "core/model/peak.h"

/* The first steps are left out: they touch memory for the first time. */
enum { WARM_UP = 2, MOST_STEPS = 20 };
static const double MEASURE_SECONDS = 0.03, TELL_SECONDS = 10;

void speed_begin(Speed *speed, Log *log, const World *world, const ModelConfig *model, Pool *pool)
{
    char processor[128];
    const Kernels *kernels = kernels_best();
    const Bf16Kernels *products = NULL;
    if (model->precision == PRECISION_BF16) bf16_choose(&products, &(Error){0});
    world_barrier(world->comm);
    double own = peak_measure(kernels, pool, MEASURE_SECONDS);
    *speed = (Speed){.log = log, .work = peak_work(model, true), .peak = world_sum(own, world->comm)};
    processor_name(processor, sizeof processor);
    int threads = pool_threads(pool);
    log_write(log, LOG_INFO, "%s; kernels %s%s%s, %d thread%s: %.4g GFLOP/s at most%s%s", processor, kernels->name,
              products ? ", products of bfloat16 by " : "", products ? products->name : "", threads,
              threads > 1 ? "s" : "", own * 1e-9, world->size > 1 ? " on each rank" : "",
              products ? " in float32" : "");
}

void speed_step(Speed *speed, const StepStats *stats)
{
    if (speed->told || speed->steps++ < WARM_UP) return;
    speed->images += stats->images;
    speed->seconds += stats->seconds;
    int64_t steps = speed->steps - WARM_UP;
    if (steps < MOST_STEPS && speed->seconds < TELL_SECONDS) return;
    speed->told = true;
    double rate = speed->work * (double)speed->images / speed->seconds;
    if (speed->peak > 0)
        log_write(speed->log, LOG_INFO,
                  "steps take %.1f ms: %.4g GFLOP/s, %.0f %% of what the processors can do at most",
                  1e3 * speed->seconds / (double)steps, rate * 1e-9, 100 * rate / speed->peak);
}
