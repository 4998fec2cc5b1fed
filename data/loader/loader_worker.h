/* loader_worker.h: one unit of a loader's work, private to loader*.c: one image of an evaluation batch, or the one or two
 * images of a training batch that mixing pairs.
 *
 * A unit depends on nothing but its own description, so units may be done by any thread in any order. A rank whose part
 * cuts a pair prepares the other image too, for mixing, and drops it. */
#ifndef DATA_LOADER_LOADER_WORKER_H
#define DATA_LOADER_LOADER_WORKER_H

#include "data/loader/loader.h"
#include "data/augment/mix.h"
#include "data/augment/sample.h"

typedef struct WorkImage {
    int64_t position; /* in the epoch: keys every random choice */
    int64_t index;    /* in the data set */
    int place;        /* in the batch; -1: wanted only as the other's partner */
} WorkImage;

typedef struct WorkUnit {
    Batch *batch;
    int count; /* images: 1 or 2 */
    WorkImage images[2];
    int64_t ahead[2]; /* images that some later unit will read, for the disk to fetch; -1: none */
} WorkUnit;

typedef struct WorkSettings { /* shared, read-only */
    const Dataset *dataset;
    const LoaderConfig *config;
    Preprocess preprocess;
} WorkSettings;

typedef struct Worker { /* one thread's own */
    DatasetReader *reader;
    PreprocessScratch scratch;
    Canvas canvases[2];
} Worker;

typedef struct WorkResult {
    int bad;       /* own images whose record was unusable */
    int bad_place; /* of the first of them, with what was wrong */
    Error why;
} WorkResult;

Status worker_create(Worker *worker, const WorkSettings *settings, Error *error);
void worker_free(Worker *worker); /* accepts a zeroed one */

/* Training: an unusable record is replaced by the next usable one of the data set, with the random choices of the
 * position. Evaluation: its label becomes -1. Fails when it is not the record's fault, or when too many in a row are
 * unusable. */
Status worker_do(Worker *worker, const WorkSettings *settings, const WorkUnit *unit, WorkResult *result, Error *error);

#endif
