/* step.h: one training step of one rank: forward, loss, backward, the sum over ranks, clipping, update.
 *
 * A TrainStep owns what a step works on: the model, the flat vectors, the reducer. Training (replica.h), `bench step`,
 * `bench overlap`, `bench loader` and `trace` compute by it. What stands around a step is theirs: where images come
 * from, what the ranks agree on, what is recorded.
 *
 *     train_step_create(&step, &setup, error);
 *     params_init(step.table, ..., step.vectors.weights);              // or another way to fill the vectors
 *     model_set_weights(step.model, step.vectors.weights);
 *     for each step:
 *         loss = train_step_gradients(&step, &batch);                  // backward hands buckets to the reducer
 *         train_step_sum(&step, error);                                // waits for the sum over ranks
 *         squares = train_step_squares(&step);                         // of this rank's slice
 *         train_step_agree(&step, &squares, 1, error);                 // of the whole gradient
 *         train_step_update(&step, lr, lr, sqrt(squares), error);
 *     train_step_free(&step);
 */
#ifndef DIST_TRAIN_STEP_H
#define DIST_TRAIN_STEP_H

#include "core/base/arena.h"
#include "core/model/model.h"
#include "dist/checkpoint/checkpoint.h"
#include "dist/comm/reducer.h"
#include "dist/comm/timeline.h"
#include "dist/comm/world.h"
#include "dist/config/config.h"

typedef enum StepKind {                 /* how far a step goes, and so what memory it needs */
                        STEP_UPDATE,    /* moments, and an average if the configuration has one */
                        STEP_GRADIENTS, /* weights and gradients */
                        STEP_FORWARD, /* weights; a model in evaluation mode: model_forward is all that may be called */
} StepKind;

typedef struct TrainStepSetup {
    const Config *config; /* model, optimizer, clipping, reducer; the caller's, for as long as the step lives */
    StepKind kind;
    int micro_batch;    /* most images of one forward and backward pass */
    Pool *pool;         /* the caller's */
    const World *world; /* ranks to sum over, the caller's; NULL: none */
    Timeline *timeline; /* NULL, or where the reducer and each step tell what they did when; the caller's */
} TrainStepSetup;

typedef struct TrainStep {
    const Config *config;
    Pool *pool;
    Model *model;
    ParamTable *table;    /* the model's, with what the configuration says: frozen or not, decay or not */
    double *lamb_squares; /* (table->count, 2); others: NULL */
    Arena arena;
    RunVectors vectors;          /* [begin, end) is what this rank updates */
    float *grads;                /* the reducer's, if there is one */
    float *logits, *grad_logits; /* (micro_batch, classes), of the last micro-batch */
    int micro_batch;
    int64_t number;     /* of the step under way */
    Reducer *reducer;   /* NULL: the rank's own gradients are the sum */
    Timeline *timeline; /* or NULL */
    Profile *profile;   /* NULL, or where the time goes; the caller's, who tells the model of it, too */
} TrainStep;

typedef struct StepBatch {
    ModelInput input;     /* of any count: 0 takes part in the sum with zeros, more than micro_batch goes in parts */
    const float *targets; /* (count, classes) */
    double scale;         /* of the loss: 1 / global batch, so that sums over micro-batches and ranks are means */
    int64_t number;       /* of the step, from 0 */
} StepBatch;

/* Collective where there is a world. The vectors are zero. Free the step even after a failure. */
Status train_step_create(TrainStep *step, const TrainStepSetup *setup, Error *error);
void train_step_free(TrainStep *step); /* accepts a zeroed one; collective */

/* One pass forward and backward for each micro-batch, in order; after the last one grads is final. Returns this rank's
 * part of the loss. With a reducer the sum begins here, and train_step_sum has to follow. */
double train_step_gradients(TrainStep *step, const StepBatch *batch);

/* Collective: waits until the gradients are summed over ranks. */
Status train_step_sum(TrainStep *step, Error *error);

/* What was summed; valid in [vectors.begin, vectors.end) until the next gradients. */
const float *train_step_total(const TrainStep *step);

/* The sum of squares of this rank's slice of the total: the slices cover the vector once. */
double train_step_squares(const TrainStep *step);

/* Collective: sums a few doubles over ranks (reducer_agree). */
Status train_step_agree(TrainStep *step, double *values, int count, Error *error);

/* Collective: the update by the total, whose norm is `norm`: clipping, optimizer, average, the weights that other ranks
 * own, the model's copies. lr is the head's rate, lr_body that of everything else. */
Status train_step_update(TrainStep *step, double lr, double lr_body, double norm, Error *error);

#endif
