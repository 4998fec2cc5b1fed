/* speed.h: what a run computes with, and which share of it the first steps reach. Two lines of the log.
 *
 *     speed_begin(&speed, log, world, &config->model, pool);      // processor, kernels, threads, their peak
 *     while (...) speed_step(&speed, &stats);                     // after some steps: the share
 */
#ifndef DIST_TRAIN_SPEED_H
#define DIST_TRAIN_SPEED_H

#include <stdbool.h>
#include "core/base/thread_pool.h"
#include "core/model/zoo.h"
#include "dist/comm/world.h"
#include "dist/monitor/log.h"
#include "dist/monitor/progress.h"

typedef struct Speed {
    Log *log;
    double work; /* nominal operations of an image */
    double peak; /* operations a second of all ranks */
    int64_t steps, images;
    double seconds;
    bool told;
} Speed;

/* Collective over those that train; all measure at once, for some hundredths of a second. */
void speed_begin(Speed *speed, Log *log, const World *world, const ModelConfig *model, Pool *pool);
void speed_step(Speed *speed, const StepStats *stats);

#endif
