/* internode.h: the sum of one bucket's region between nodes: round a ring or over a tree, whichever its size calls for.
 *
 *     Internode between = {0};
 *     internode_create(&between, comm, tag, wire, error);
 *     internode_start(&between, by_tree, RING_ALL, vector, residual, region, NULL);
 *     while (!internode_done(&between)) internode_progress(&between, &moved, error);
 *
 * As a Ring or a Tree, which see; all ranks of comm start the same sums the same way. An Internode uses four tags from
 * 4 tag on.
 */
#ifndef DIST_COMM_INTERNODE_H
#define DIST_COMM_INTERNODE_H

#include "dist/comm/tree.h"

typedef struct Internode {
    Ring ring;
    Tree tree;
    bool by_tree;        /* the sum under way */
    RingPart *parts;     /* (ranks) of the ring */
    int64_t *bounds;     /* (places + 1) of the tree */
    int64_t *slice_ends; /* (ranks) */
} Internode;

Status internode_create(Internode *between, MPI_Comm comm, int tag, WireType wire, Error *error); /* collective */
void internode_free(Internode *between); /* accepts a zeroed one; nothing may be under way */

/* The sum of vector[region]; residual as ring_start. slices NULL: equal parts. Else the region of a vector of which each
 * rank owns a slice: `slices` is cut into as many equal parts as there are ranks, and tree_slice says whose is which;
 * for RING_REDUCE. */
void internode_start(Internode *between, bool by_tree, RingPhases phases, float *vector, float *residual,
                     RingPart region, const RingPart *slices);
/* slices[rank] of the vector, each rank's own, go to all. by_tree: they lie in the order of tree_slice. */
void internode_gather(Internode *between, bool by_tree, float *vector, const RingPart *slices);

Status internode_progress(Internode *between, bool *moved, Error *error);
bool internode_done(const Internode *between);
int internode_neighbour(const Internode *between); /* the rank of comm that the sum under way waits for */

/* From how many floats on the ring is the faster way by a clear margin: both sum zeros of several sizes, to `largest`,
 * some times in turn. INT64_MAX: at none of them. Collective over comm; takes some tenths of a second at most. `report`
 * (room bytes): what was measured, for the log. */
Status internode_measure(Internode *between, float *zeros, int64_t largest, int64_t *ring_from, char *report,
                         size_t room, Error *error);

#endif
