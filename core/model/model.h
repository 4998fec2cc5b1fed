/* model.h: one replica: forward and backward over a batch.
 *
 * A Model owns its parameter table, its threads' scratch and the activations of at most `max_batch` images, all
 * carved at creation; a step allocates nothing. It does not own weights or gradients: flat vectors (params.h) are
 * the caller's.
 *
 *     Model *model;
 *     model_create(&model, &config, 32, MODEL_TRAIN, pool, error);
 *     model_set_weights(model, weights);                  // again after every change of the weights
 *     model_forward(model, &input, logits);               // (B, classes)
 *     loss_soft_target(logits, targets, ..., grad_logits);
 *     model_backward(model, grad_logits, grads, false, ready, reducer);
 *
 * Results are the same bits at any thread count.
 */
#ifndef CORE_MODEL_MODEL_H
#define CORE_MODEL_MODEL_H

#include <stddef.h>
#include "core/model/params.h"
#include "core/base/thread_pool.h"
#include "core/model/profile.h"

typedef struct Model Model;

typedef enum ModelMode {
    MODEL_EVAL,    /* forward only; keeps one block's activations */
    MODEL_OBSERVE, /* the same, and nothing is left out that observe.h tells: the last block has all rows */
    MODEL_TRAIN,   /* keeps what backward needs */
} ModelMode;

typedef struct ModelInput {
    int count;           /* B, 1 .. max_batch */
    const float *images; /* (B, in_chans, img_size, img_size), normalised; to stay as it is until model_backward */
    bool training;       /* dropout and drop-path on: needs the three below */
    uint64_t seed, epoch;
    const uint64_t *samples; /* (B) what keys each image's random numbers, so that they depend on nothing else */
} ModelInput;

/* Called when grads[offset, offset + count) is final. Slices come in order from the end of the vector to its start,
 * without gaps, and cover it once. Runs on the calling thread, inside model_backward. */
typedef void (*GradsReady)(void *context, int64_t offset, int64_t count);

Status model_create(Model **model, const ModelConfig *config, int max_batch, ModelMode mode, Pool *pool, Error *error);
/* What model_create would carve, without doing it: model_memory of that model. */
Status model_measure(const ModelConfig *config, int max_batch, ModelMode mode, Pool *pool, size_t *bytes, Error *error);
void model_free(Model *model); /* accepts NULL */

const ModelConfig *model_config(const Model *model);
const ParamTable *model_params(const Model *model);
size_t model_memory(const Model *model); /* bytes carved */
const Kernels *model_kernels(const Model *model);

/* From now on steps tell this profile (of as many threads as the pool's) where their time goes; NULL: no longer. */
void model_profile(Model *model, Profile *profile);

/* Borrows `weights` (params->size floats) and makes the copies that the kernels read. Call again whenever
 * their content changed. */
void model_set_weights(Model *model, const float *weights);

void model_forward(Model *model, const ModelInput *input, float *logits /* (B, num_classes) */);

/* After model_forward on the same input. accumulate: add to grads instead of overwriting. ready may be NULL.
 * Frozen tensors' slices are zero. */
void model_backward(Model *model, const float *grad_logits /* (B, num_classes) */, float *grads, bool accumulate,
                    GradsReady ready, void *context);

#endif
