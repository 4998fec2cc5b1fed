/* bench_model.h: random images for measurements of a training step without data.
 *
 *     bench_model_create(&bench, &setup, error);
 *     bench_model_gradients(&bench, &bench.step);           // forward, loss, backward; inferring: forward
 *     train_step_sum(&bench.step, error);
 *     bench_model_update(&bench.step, error);               // norm, clipping, optimizer, average
 *     bench_model_free(&bench);
 */
#ifndef TOOLS_BENCH_BENCH_MODEL_H
#define TOOLS_BENCH_BENCH_MODEL_H

#include "dist/train/step.h"

typedef struct BenchModelSetup {
    Config config; /* its learning rate and such do not matter; average and clipping are the recipe's */
    int batch;
    int threads; /* 0: the processors that the process may use */
    bool infer;
    const World *world; /* ranks to sum over; NULL: none */
    Timeline *timeline; /* or NULL */
} BenchModelSetup;

typedef struct BenchModel {
    Config config;
    Pool *pool;
    TrainStep step;
    Profile *profile; /* NULL: none */
    bool infer;
    StepBatch batch;
    float *images, *targets;
    uint64_t *samples;
} BenchModel;

/* Collective where there is a world. Free it even after a failure. */
Status bench_model_create(BenchModel *bench, const BenchModelSetup *setup, Error *error);
void bench_model_free(BenchModel *bench); /* accepts a zeroed one */

/* From now on steps are profiled; the profile is the bench's. */
Status bench_model_profile(BenchModel *bench, Error *error);

/* The next step up to the gradients, or when inferring up to the logits. `step` is the bench's own, or a copy of it. */
void bench_model_gradients(BenchModel *bench, TrainStep *step);

/* What follows the gradients, without waiting for their sum: its norm over all ranks, and the update. */
Status bench_model_update(TrainStep *step, Error *error);

#endif
