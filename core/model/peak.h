/* peak.h: the most that a pool's threads can compute, and what of it a model needs.
 *
 *     double peak = peak_measure(kernels, pool, 0.03);              // operations a second
 *     double share = peak_work(&config, true) * images_per_s / peak;
 */
#ifndef CORE_MODEL_PEAK_H
#define CORE_MODEL_PEAK_H

#include "core/base/thread_pool.h"
#include "core/kernels/kernels.h"
#include "core/model/zoo.h"

/* Multiply-adds in registers on all threads at once, as the model's products use them: the best of as many bursts of
 * a millisecond or two as fit into `seconds`, in floating-point operations a second. 0
 * when the pool was told to stop. */
double peak_measure(const Kernels *kernels, Pool *pool, double seconds);

/* Nominal operations for an image: two for each multiply-accumulate of zoo_macs, and three times these to train. */
double peak_work(const ModelConfig *config, bool training);

#endif
