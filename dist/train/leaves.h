/* leaves.h: the gradient of one rank's logical workers, summed as a subtree.
 *
 * With `reproducible: W` the global batch is that of W logical workers. Each one's gradient comes from passes over its
 * own images alone, and the W gradients are the leaves of one balanced binary tree. A rank has W/N leaves side by side and
 * sums their subtree here; ranks sum the levels above (dist/comm/tree.h). So the sum has the same bits for every power of
 * two N up to W. What else is summed over images or elements goes by leaves, too: losses by the leaf, squares of the
 * gradient by W slices of the vector; all ranks see all of them and add them in their order.
 *
 * Two finished subtrees of one size become one of twice the size, so log2(W/N) vectors wait at most, and the last
 * leaf's gradient is completed where backward puts it, slice by slice:
 *
 *     for (int leaf = 0; leaf < leaves.count; leaf++) {
 *         float *gradient = leaves_target(&leaves, leaf, grads);       // written by backward
 *         leaves_merge(&leaves, pool, leaf, grads, begin, end);        // all of it; of the last leaf as slices are ready
 *     }
 *     // grads is the sum over this rank's leaves
 */
#ifndef DIST_TRAIN_LEAVES_H
#define DIST_TRAIN_LEAVES_H

#include "core/base/arena.h"
#include "core/base/status.h"
#include "core/base/thread_pool.h"
#include "core/model/params.h"

enum { LEAVES_LEVELS = 17 };

typedef struct Leaves {
    int workers; /* W; 0: not reproducible, and nothing else is set */
    int first, count;
    int levels;                     /* log2(count) */
    float *subtrees[LEAVES_LEVELS]; /* [level] -> the sum of 2^level leaves that waits for its sibling */
    double *figures;                /* (2 W) losses, squares; zeros where they are another rank's */
} Leaves;

/* place: this rank's turn among `ranks` (reducer_place). STATUS_USAGE, with what would work, unless `ranks` is a power of
 * two of at most W. */
Status leaves_create(Leaves *leaves, int workers, int place, int ranks, Error *error);
void leaves_free(Leaves *leaves); /* accepts a zeroed one */
/* Takes the waiting vectors, of `size` floats, from an arena. */
void leaves_carve(Leaves *leaves, Arena *arena, size_t size);

/* Leaf `leaf` of this rank's, 0 .. count-1: where its gradient is to be written. grads is as long as the model. */
float *leaves_target(const Leaves *leaves, int leaf, float *grads);
/* Adds what waits for the leaf whose gradient [begin, end) is there. */
void leaves_merge(const Leaves *leaves, Pool *pool, int leaf, float *grads, int64_t begin, int64_t end);

/* The squares of this rank's slice [begin, end) of the summed gradient, into `figures`. */
void leaves_squares(Leaves *leaves, Pool *pool, const ParamTable *table, const float *total, int64_t begin,
                    int64_t end);

#endif
