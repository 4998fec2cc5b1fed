/* tree.h: the sum of a vector over all ranks by recursive vector halving and doubling.
 *
 * Rabenseifner's algorithm (ICCS 2004) with the nearest partner first: in step k ranks that differ in bit k exchange
 * halves of what they still hold, so that each rank ends with the sum of one part; the steps backwards gather the parts.
 * 2 log2 N latencies where a ring has 2 (N-1), and the ring's bytes, 2 (N-1)/N. Small vectors are exchanged whole in
 * every step (recursive doubling): log2 N latencies.
 *
 *      rank   step 0        step 1       then (N = 4)
 *      0      keeps 0 1     keeps 0      owns place 0
 *      1      keeps 2 3     keeps 2      owns place 2
 *      2      keeps 0 1     keeps 1      owns place 1
 *      3      keeps 2 3     keeps 3      owns place 3
 *
 * So every element is summed over one balanced binary tree whose leaves are the ranks in their order, ((0 1) (2 3)) and
 * so on, whichever way it goes: halving and doubling have the same bits, and N ranks that each bring the sum of 2^k leaves
 * have those of N 2^k ranks.
 *
 * Numbers of ranks that are no powers of two, and who ends with which part: tree_shape.h.
 *
 *     Tree tree = {0};
 *     tree_create(&tree, comm, 0, WIRE_FP32, error);
 *     tree_allreduce(&tree, vector, count, error);
 *     tree_free(&tree);
 *
 * or, to do other things meanwhile: tree_start, then tree_progress until tree_done. As for a Ring: all ranks of `comm`
 * start the same sums in the same order, one at a time; a Tree uses the tags 2 tag and 2 tag + 1.
 */
#ifndef DIST_COMM_TREE_H
#define DIST_COMM_TREE_H

#include "dist/comm/ring.h"
#include "dist/comm/tree_shape.h"

enum { TREE_STEPS = 2 * 31 /* halvings and doublings */ + 2 /* of a pair */ };

typedef enum TreeAction {
    TREE_ADD,      /* what comes in is added; what went out was another part */
    TREE_EXCHANGE, /* the same part goes out and comes in, and is added */
    TREE_STORE,    /* what comes in is final */
} TreeAction;

typedef struct TreeStep {
    TreeAction action;
    int partner, tag;
    RingPart sent, received;
    int64_t messages; /* sent in this step and all before */
} TreeStep;

typedef struct TreeCursor { /* how far one direction is: the next message */
    int step;
    int64_t at; /* floats into the step's part */
    int64_t messages;
} TreeCursor;

typedef struct TreeLane {
    int index; /* in which half of the places it is */
    int step_count, first_store;
    TreeStep steps[TREE_STEPS];
    TreeCursor posted, taken, sent; /* receives posted, and finished with their sum; sends posted */
    int64_t flushed;                /* sends finished */
    MessageWindow window;
} TreeLane;

typedef struct Tree {
    int rank, size, tag;
    WireType wire;
    int64_t doubling; /* floats up to which fp32 is exchanged whole; may be changed between sums, never the bits */

    float *vector; /* the sum under way */
    float *residual;
    int lane_count; /* in which this rank is */
    TreeLane lanes[TREE_LANES];
} Tree;

Status tree_create(Tree *tree, MPI_Comm comm, int tag, WireType wire, Error *error); /* collective */
void tree_free(Tree *tree); /* accepts a zeroed tree; nothing may be under way */

/* Between sums, on all ranks alike: messages between nodes as long as suits tcp, as at first, or longer. */
void tree_long_messages(Tree *tree, bool longer);

/* vector[0 .. count) becomes the sum over ranks, in place; as ring_allreduce. */
Status tree_allreduce(Tree *tree, float *vector, int64_t count, Error *error);

/* bounds (tree_places + 1), ascending, the same on all ranks: place p's part is [bounds[p], bounds[p + 1]), maybe
 * empty; RING_REDUCE leaves its sum with the place's rank. Read only here. residual: as ring_start. */
void tree_start(Tree *tree, RingPhases phases, float *vector, float *residual, const int64_t *bounds);
Status tree_progress(Tree *tree, bool *moved, Error *error); /* sets *moved when anything happened, never clears it */
bool tree_done(const Tree *tree);
int tree_neighbour(const Tree *tree); /* the rank of comm that the sum under way waits for */

#endif
