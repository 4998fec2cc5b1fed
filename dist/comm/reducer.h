/* reducer.h: gradients summed over ranks while backward still computes.
 *
 * The flat gradient is cut into buckets from its end to its start. Backward reports finished slices (GradsReady of
 * core/model/model.h); a bucket whose floats are all reported is summed at once by a thread of the reducer's own, which
 * alone calls MPI from reducer_begin until reducer_wait takes over.
 *
 *     reducer_create(&reducer, &config, params->size, error);
 *     float *grads = reducer_grads(reducer);                            // backward writes here
 *     for each step:
 *         reducer_begin(reducer);
 *         model_backward(model, grad_logits, grads, false, reducer_ready, reducer);
 *         reducer_wait(reducer, error);
 *         const float *total = reducer_total(reducer);                  // the sum over ranks
 *         double squares = optim_sum_squares(pool, total, begin, end);  // of reducer_slice
 *         reducer_agree(reducer, &squares, 1, error);                   // now of the whole vector, on all ranks
 *         optim_step(..., total, ...)                                   // on reducer_owned
 *         reducer_gather(reducer, weights, error);                      // zero: others' slices
 *
 * How a bucket is summed (README.md): ranks of one node through shared memory, nodes by a ring or a tree; or a ring or
 * tree over all ranks; or the MPI library's all-reduce, the yardstick. For given ranks, nodes and way, an element's
 * additions have a fixed order (but with ALLREDUCE_MPI), and all ranks see the same bits.
 */
#ifndef DIST_COMM_REDUCER_H
#define DIST_COMM_REDUCER_H

#include <mpi.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/base/status.h"
#include "dist/comm/settings.h"
#include "dist/comm/timeline.h"

typedef struct Reducer Reducer;

typedef struct ReducerConfig {
    MPI_Comm comm;      /* the reducer works on copies of it */
    AllreduceKind kind; /* ALLREDUCE_AUTO: shared memory where ranks share nodes, and what is faster between them */
    double bucket_mb;
    WireType wire;      /* between nodes, or round the ring; error feedback is kept locally */
    bool zero;          /* the sum is needed only where reducer_owned says */
    bool balanced;      /* every sum goes over the one balanced tree of all ranks; with AUTO or TREE, powers of two */
    double watchdog;    /* seconds without progress after which the job is ended; 0: off */
    int ranks_per_node; /* 0: as found; see topology.h */
    Timeline *timeline; /* NULL: none */
} ReducerConfig;

/* Collective, like every function here that returns a Status. `count` floats per flat vector. Fails on all ranks or on
 * none, with the message of the lowest one that failed. */
Status reducer_create(Reducer **reducer, const ReducerConfig *config, int64_t count, Error *error);
void reducer_free(Reducer *reducer); /* accepts NULL; collective */

/* The gradient vector that backward fills, zeroed at first, 64-byte aligned, the reducer's. What it holds after
 * reducer_wait is unspecified. */
float *reducer_grads(Reducer *reducer);

void reducer_begin(Reducer *reducer);
void reducer_ready(void *reducer, int64_t offset, int64_t count); /* a GradsReady; never waits */
Status reducer_wait(Reducer *reducer, Error *error);

/* The sum over ranks of the whole vector, or with zero of reducer_owned only. Valid from reducer_wait until
 * backward writes to reducer_grads again; may be memory that all ranks of a node read. */
const float *reducer_total(const Reducer *reducer);

/* The rank's turn in the order in which ranks are summed: node by node, so not always the rank itself. */
int reducer_place(const Reducer *reducer);

/* The slice of the flat vectors that is this rank's: the slices of all ranks cover the vector once. */
void reducer_slice(const Reducer *reducer, int64_t *begin, int64_t *end);
/* What this rank updates: its slice with zero, everything without. */
void reducer_owned(const Reducer *reducer, int64_t *begin, int64_t *end);
/* zero: every rank's owned slice of `vector` (weights, or moments for a checkpoint) goes to all ranks. Without zero
 * there is nothing to do. */
Status reducer_gather(Reducer *reducer, float *vector, Error *error);

/* Sums a few doubles over all ranks. All get the same bits, so that what is decided from them (is the norm finite? did
 * anyone get a signal?) is decided by all together. */
Status reducer_agree(Reducer *reducer, double *values, int count, Error *error);

/* Who is slow: one figure of each rank, such as its seconds of computing without waiting, over all of them. */
typedef struct ReducerSpread {
    double min, median, max;
    int min_rank, max_rank; /* in the caller's communicator */
} ReducerSpread;
Status reducer_spread(Reducer *reducer, double value, ReducerSpread *spread, Error *error);

typedef struct ReducerTimes {
    double wait; /* seconds of the last step that reducer_wait held up the caller */
    double busy; /* seconds of the last step that a bucket was under way */
} ReducerTimes;
ReducerTimes reducer_times(const Reducer *reducer);
const char *reducer_kind(const Reducer *reducer); /* "ring", "tree", "hierarchical" or "mpi": what AUTO has become */
/* For the log: the way, and what it was chosen by. */
void reducer_describe(const Reducer *reducer, char *text, size_t room);

#endif
