/* intranode.h: the memory that the ranks of one node share: everybody's gradient, and one sum.
 *
 * Each local rank's backward writes its gradient into the shared window itself, so nothing is copied: whoever sums a
 * range reads all gradients and writes the sum, which everybody then reads in place.
 *
 *     node_mark(&node, NODE_READY, bucket, step);               // my gradient of this bucket is complete
 *     if (node_all(&node, NODE_READY, bucket, step, size)) ...  // so is everybody's
 *     node_sum(&node, begin, end);                              // my share of the work
 *     node_mark(&node, NODE_DONE, bucket, step);
 *
 * Marks are step numbers in the window, written by one rank and read by the others (release, acquire). A sum of
 * step t stays valid until the reader marks a bucket of step t+1 ready, since nobody sums before all have.
 */
#ifndef DIST_COMM_INTRANODE_H
#define DIST_COMM_INTRANODE_H

#include <mpi.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/base/status.h"

typedef enum NodeMark { NODE_READY, NODE_DONE, NODE_MARKS } NodeMark;

typedef struct Node {
    MPI_Win window; /* owns all the memory below but the arrays of pointers */
    int rank, size;
    int buckets;
    float **grads;            /* [local rank] -> gradient */
    _Atomic uint32_t **marks; /* [local rank] -> [NODE_MARKS * buckets] */
    float *total;             /* the sum, one per node; a lone rank's own gradient */
    bool open;
} Node;

/* Collective over comm, whose ranks must share memory; fails on all of them or on none. Gradients start as zeros. */
Status node_create(Node *node, MPI_Comm comm, int64_t count, int buckets, Error *error);
void node_free(Node *node); /* accepts a zeroed node; collective */

void node_mark(Node *node, NodeMark mark, int bucket, uint32_t step);
/* Whether the first `ranks` local ranks have made the mark; if not, the first that has not is in *missing. */
bool node_all(const Node *node, NodeMark mark, int bucket, uint32_t step, int ranks, int *missing);

/* total[begin .. end) = sum of everybody's gradient, always in the order of local ranks. */
void node_sum(Node *node, int64_t begin, int64_t end);

#endif
