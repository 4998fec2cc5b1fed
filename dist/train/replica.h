/* replica.h: what one rank trains with in a run, and the steps of the run.
 *
 * A Replica owns the step's model and vectors (step.h) and the loader of this rank's part of each global batch. All
 * ranks' replicas hold the same weights, bit for bit, after every step.
 *
 *     replica_create(&replica, &config, &world, dataset, pool, NULL, error);
 *     params_init(...) or coordinator_resume(...);             // into replica.step.vectors
 *     replica_start(&replica, &position, error);
 *     while (...) status = replica_step(&replica, &position, &request, &result, error);
 *     replica_free(&replica);
 */
#ifndef DIST_TRAIN_REPLICA_H
#define DIST_TRAIN_REPLICA_H

#include <stdio.h>
#include "data/loader/loader.h"
#include "dist/monitor/progress.h"
#include "dist/train/step.h"

typedef struct Replica {
    const Config *config;
    const World *world;
    TrainStep step;
    Loader *loader;
    int64_t epoch_steps;
    FILE *samples; /* NULL, or where the images of each step are told; the caller's */
} Replica;

/* timeline: NULL, or where the reducer and each step tell what they did when; the caller's. */
Status replica_create(Replica *replica, const Config *config, const World *world, const Dataset *dataset, Pool *pool,
                      Timeline *timeline, Error *error);
void replica_free(Replica *replica); /* accepts a zeroed one */

/* The part [*begin, *end) of a global batch that is a rank's: parts differ by one image, or two, at most, and some are
 * empty where there are more ranks than images, or than mixed pairs. */
void replica_part(int64_t global_batch, int rank, int ranks, int64_t *begin, int64_t *end);

/* After the vectors were filled, and with the position of the first step. */
Status replica_start(Replica *replica, const RunPosition *position, Error *error);

typedef struct StepRequest { /* what a rank brings into the step's agreement */
    bool checkpoint;
    bool stop;     /* besides what signals_caught says */
    Status health; /* not STATUS_OK: all stop with it before the update; the message is in `error` already */
} StepRequest;

typedef struct StepResult { /* the same on all ranks, except stats.seconds and compute */
    StepStats stats;
    double compute;  /* seconds that this rank neither waited for data nor for others */
    bool stop;       /* a signal asked some rank to stop: the step was dropped, nothing has changed */
    bool checkpoint; /* rank 0 wanted one of the position that this step leads to */
} StepResult;

/* The position that one more step leads to. */
RunPosition replica_next(const Replica *replica, const RunPosition *position);

/* Collective. One update; *position becomes that of the next step. On failure (a rank's data, gradients that are not
 * finite), and when a rank was asked to stop, all ranks return the same, and weights and position are those before the
 * step. */
Status replica_step(Replica *replica, RunPosition *position, const StepRequest *request, StepResult *result,
                    Error *error);

#endif
