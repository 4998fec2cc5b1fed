/* bench_model.h: a model on random images, for measurements of a training step without data.
 *
 *     bench_model_create(&bench, &config, batch, threads, false, error);
 *     bench_model_gradients(&bench, grads, NULL, NULL);             // forward, loss, backward
 *     bench_model_update(&bench, grads, 0, size, squares);          // clipping, AdamW, EMA
 *     bench_model_free(&bench);
 */
#ifndef TOOLS_BENCH_BENCH_MODEL_H
#define TOOLS_BENCH_BENCH_MODEL_H

#include "core/model/model.h"
#include "core/optim/optim.h"
#include "dist/config/config.h"

typedef struct BenchModel {
    const ModelConfig *config; /* the caller's */
    OptimConfig optim;
    Pool *pool;
    Model *model;
    Profile *profile; /* NULL: none */
    int batch;
    bool infer;
    float *vectors, *images, *logits, *targets, *dlogits;
    float *weights, *grads, *moment1, *moment2, *ema; /* flat; only weights when inferring */
    uint64_t *samples;
    int64_t step;
} BenchModel;

/* threads 0: the processors that the process may use. */
Status bench_model_create(BenchModel *bench, const Config *config, int batch, int threads, bool infer, Error *error);
void bench_model_free(BenchModel *bench); /* accepts a zeroed one */

/* From now on steps are profiled; the profile is the bench's. */
Status bench_model_profile(BenchModel *bench, Error *error);

/* A step up to the gradients, or when inferring up to the logits; ready and context as for model_backward. */
void bench_model_gradients(BenchModel *bench, float *grads, GradsReady ready, void *context);
/* Updates [begin, end) of the weights; squares: the sum over all gradients. */
void bench_model_update(BenchModel *bench, const float *grads, int64_t begin, int64_t end, double squares);

#endif
