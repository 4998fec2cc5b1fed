/* tree_shape.h: who is where in a tree of any number of ranks, and who ends with which part of a vector.
 *
 * A place is a turn in the order in which parts lie in the vector. Of a power of two of ranks, each has one place, its
 * number with the bits reversed.
 *
 * N between two powers of two: of the N - P ranks beyond P, the largest one within N, each makes a pair with another, the
 * ranks 2i and 2i + 1. A pair exchanges halves of the vector first and last, and its two ranks go through the tree as one
 * participant, each with its half, a lane; all other ranks go through both lanes at once. So there are 2 P places, two of
 * some ranks, and a rank sends at most half more than in a tree of P.
 */
#ifndef DIST_COMM_TREE_SHAPE_H
#define DIST_COMM_TREE_SHAPE_H

#include "dist/comm/ring.h"

enum { TREE_LANES = 2 };

typedef struct TreeShape {
    int log, participants; /* of a lane: 2^log */
    int pairs;             /* the first participants */
    int lanes;             /* 1 when there are no pairs */
} TreeShape;

TreeShape tree_shape(int ranks);
int tree_participant(TreeShape shape, int rank);
int tree_rank(TreeShape shape, int lane, int participant);

int tree_places(int ranks);
/* Slice 0 .. ranks-1 of a rank when each rank is to own one slice of a vector and slices follow the places. */
int tree_slice(int ranks, int rank);

/* bounds[0 .. tree_places]: place p's part is [bounds[p], bounds[p + 1]). Of [begin, end) cut into almost equal parts at
 * multiples of 16 floats: */
void tree_split(int ranks, int64_t begin, int64_t end, int64_t *bounds);
/* Of what lies in `range` of the slices of a whole vector, slice_ends[s] being slice s's end: */
void tree_split_slices(int ranks, RingPart range, const int64_t *slice_ends, int64_t *bounds);

#endif
