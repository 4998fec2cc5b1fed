/* evaluate.h: validation over all ranks; every image counts exactly once, whatever their number.
 *
 * Each rank takes a contiguous part of the images, runs every given model (raw and EMA weights) over it, and the counts
 * are summed. Ranks go in lock-step, a batch at a time, so that a failure or a signal on one stops all.
 *
 *     Model *models[] = {model, ema_model};                       // weights set
 *     Evaluation results[2];
 *     evaluate(&config, models, 2, results, error);
 *     double top1 = 100.0 * results[1].top1 / results[1].count;
 */
#ifndef DIST_TRAIN_EVALUATE_H
#define DIST_TRAIN_EVALUATE_H

#include <mpi.h>
#include "core/model/model.h"
#include "core/optim/loss.h"
#include "data/loader/loader.h"
#include "dist/monitor/log.h"

enum { PREDICTED = 5 };

typedef struct Prediction {
    int64_t label;        /* -1: the image cannot be used */
    Guess top[PREDICTED]; /* the likeliest first; where the model has fewer classes the rest is class -1 */
} Prediction;

typedef struct EvaluateConfig {
    MPI_Comm comm;
    const Dataset *dataset;
    PipelineConfig pipeline;
    Log *log;    /* for records that cannot be used */
    int batch;   /* images at a time per rank; at most the models' max_batch */
    int unit;    /* ranks' parts begin at multiples of it; 0: anywhere. As `batch`: the same batches on any ranks */
    int workers; /* loader threads */
    Pool *pool;  /* NULL, or the models': a signal then cuts a batch short, and `stop` has to be true from there on */
    /* May be NULL: asked after each batch; true on any rank ends it with STATUS_STOPPED and without results. */
    bool (*stop)(void *context);
    void (*progress)(void *context, int64_t done, int64_t total); /* may be NULL; images of all ranks */
    void *context;
    /* NULL, or (classes, classes) of the models, zeroed by the caller: images of each class (row) by the class that the
     * first model finds likeliest (column), summed over ranks; the caller's. */
    int64_t *confusion;
    /* NULL, or (images of the split), the caller's: what the first model says of each. On rank 0 all of them; on others
     * this rank's part. */
    Prediction *predictions;
} EvaluateConfig;

typedef struct Evaluation {    /* summed over images and ranks */
    int64_t count, top1, top5; /* count: all images but those that cannot be used */
    double loss;               /* cross-entropy with the plain label, summed: exactly, over batches */
} Evaluation;

/* Collective. A failure on another rank has its Status, and no message here: that rank has it. */
Status evaluate(const EvaluateConfig *config, Model *const *models, int count, Evaluation *results, Error *error);

double evaluation_top1(const Evaluation *evaluation); /* percent */
double evaluation_top5(const Evaluation *evaluation);
double evaluation_loss(const Evaluation *evaluation); /* mean */

/* Part `rank` of `total` things over `ranks`, as even as possible, in multiples of `unit` (the last part takes what is
 * left): [*begin, *end). */
void share_range(int64_t total, int64_t unit, int rank, int ranks, int64_t *begin, int64_t *end);

#endif
