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
 *         train_step_gradients(&step, &batch);                         // backward hands buckets to the reducer
 *         train_step_sum(&step, error);                                // waits for the sum over ranks
 *         train_step_agree(&step, &sums, NULL, 0, error);              // loss and squares, of all ranks
 *         train_step_update(&step, lr, lr, sqrt(sums.squares), error);
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
#include "dist/train/leaves.h"

typedef enum StepKind {                 /* how far a step goes, and so what memory it needs */
                        STEP_UPDATE,    /* moments, and an average if the configuration has one */
                        STEP_GRADIENTS, /* weights and gradients */
                        STEP_FORWARD, /* weights; a model in evaluation mode: model_forward is all that may be called */
} StepKind;

typedef struct TrainStepSetup {
    const Config *config; /* model, optimizer, clipping, reducer; the caller's, for as long as the step lives */
    StepKind kind;
    int micro_batch;    /* most images of one forward and backward pass; train_micro_batch, where a run trains */
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
    double loss;        /* this rank's part of it */
    Leaves leaves;      /* with `reproducible`; otherwise zeroed */
    double *agreed;     /* room for what ranks agree on */
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

/* The images of one pass: a rank's part of the batch, or with `reproducible` a logical worker's, in `accumulate` parts. */
int train_micro_batch(const Config *config, int ranks);

/* One pass forward and backward for each micro-batch, in order; after the last one grads is final, or with
 * `reproducible` the sum over this rank's logical workers, who have the same number of images each. With a reducer the
 * sum over ranks begins here, and train_step_sum has to follow. Returns this rank's part of the loss. */
double train_step_gradients(TrainStep *step, const StepBatch *batch);

/* Collective: waits until the gradients are summed over ranks. */
Status train_step_sum(TrainStep *step, Error *error);

/* What was summed; valid in [vectors.begin, vectors.end) until the next gradients. */
const float *train_step_total(const TrainStep *step);

/* The sum of squares of this rank's slice of the total: the slices cover the vector once. */
double train_step_squares(TrainStep *step);

enum { STEP_VALUES = 14 };

typedef struct StepSums {
    double loss;    /* of the last gradients, over all images */
    double squares; /* of the total: the gradient's norm, squared */
} StepSums;

/* Collective: what the ranks' parts amount to, and the sums of at most STEP_VALUES doubles more, which take their
 * place; the same bits on all ranks, and with `reproducible` those of `sums` on any number of them. */
Status train_step_agree(TrainStep *step, StepSums *sums, double *values, int count, Error *error);

/* Collective: the update by the total, whose norm is `norm`: clipping, optimizer, average, the weights that other ranks
 * own, the model's copies. lr is the head's rate, lr_body that of everything else. */
Status train_step_update(TrainStep *step, double lr, double lr_body, double norm, Error *error);

#endif
