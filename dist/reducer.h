/* reducer.h: gradients summed over ranks while backward still computes.
 *
 * The flat gradient is cut into buckets from its end to its start. Backward reports finished slices (GradsReady of
 * core/model.h); a bucket whose floats are all reported goes to the communication thread, which alone talks to MPI
 * until reducer_wait returns.
 *
 *     reducer_begin(reducer);
 *     model_backward(model, grad_logits, grads, false, reducer_ready, reducer);
 *     reducer_wait(reducer, error);               // grads now holds the sum over ranks
 */
#ifndef DIST_REDUCER_H
#define DIST_REDUCER_H

#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/status.h"
#include "dist/config.h"

typedef struct Reducer Reducer;

typedef struct ReducerConfig {
    MPI_Comm comm;
    AllreduceKind kind;
    double bucket_mb;
    WireType wire;
    bool zero;       /* reduce-scatter only: each rank ends with the sum of its own slice */
    double watchdog; /* seconds; 0: off */
} ReducerConfig;

/* grads: the flat gradient of `count` floats; the caller's, at the same place for the reducer's life. */
Status reducer_create(Reducer **reducer, const ReducerConfig *config, float *grads, int64_t count, Error *error);
void reducer_free(Reducer *reducer); /* accepts NULL */

void reducer_begin(Reducer *reducer);
void reducer_ready(void *reducer, int64_t offset, int64_t count); /* a GradsReady */
Status reducer_wait(Reducer *reducer, Error *error);

/* zero: the slice of the flat vectors that this rank updates, and the all-gather of the updated weights.
 * Without zero: everything, and nothing to do. */
void reducer_owned(const Reducer *reducer, int64_t *begin, int64_t *end);
Status reducer_gather(Reducer *reducer, float *weights, Error *error);

typedef struct ReducerTimes {
    double wait; /* seconds of the last step that reducer_wait held up the caller */
    double busy; /* seconds of the last step that the communication thread worked */
} ReducerTimes;
ReducerTimes reducer_times(const Reducer *reducer);

#endif
