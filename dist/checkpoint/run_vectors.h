/* run_vectors.h: the vectors that a run goes on from: weights, their average, the optimizer's moments. */
#ifndef DIST_CHECKPOINT_RUN_VECTORS_H
#define DIST_CHECKPOINT_RUN_VECTORS_H

#include <stdbool.h>
#include <stdint.h>
#include "core/base/thread_pool.h"
#include "core/model/params.h"

/* Flat vectors (params.h), any of which may be NULL. The moments are those of [begin, end) only, end - begin floats:
 * the moment of element i is at [i - begin]. Without slices (zero: 0) that is all of them. */
typedef struct RunVectors {
    float *weights, *ema, *moment1, *moment2;
    int64_t begin, end;
} RunVectors;

typedef struct RunVectorSet { /* which of them there are */
    bool weights, ema, moment1, moment2;
    int64_t begin, end; /* of the moments */
} RunVectorSet;

/* Zeroed vectors of a table; run_vectors_free gives them back. */
Status run_vectors_allocate(RunVectors *vectors, const ParamTable *table, const RunVectorSet *which, Error *error);
void run_vectors_free(RunVectors *vectors); /* accepts a zeroed one */

/* Copies what both have, by the pool's threads. size: floats of the weights. */
void run_vector_copy(Pool *pool, float *to, const float *from, int64_t count);
void run_vectors_copy(Pool *pool, const RunVectors *to, const RunVectors *from, int64_t size);

#endif
