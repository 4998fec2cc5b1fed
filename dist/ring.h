/* ring.h: the sum of a vector over all ranks, by MPI point-to-point round a ring.
 *
 * Reduce-scatter, then all-gather (Patarasuk, Yuan, JPDC 2009): each rank sends and receives 2 (N-1)/N of the
 * vector, whatever N. The order of additions for an element depends only on N and the element's part, so all ranks
 * end with the same bits.
 */
#ifndef DIST_RING_H
#define DIST_RING_H

#include <mpi.h>
#include <stdint.h>
#include "core/status.h"

typedef struct Ring {
    MPI_Comm comm; /* the caller's */
    int rank, size;
    float *scratch; /* receive buffers */
    int64_t chunk;  /* floats per message of the pipeline */
} Ring;

Status ring_create(Ring *ring, MPI_Comm comm, Error *error);
void ring_free(Ring *ring); /* accepts a zeroed ring */

/* vector[0 .. count) becomes the sum over ranks, in place; count may be 0 or less than the ranks. */
Status ring_allreduce(Ring *ring, float *vector, int64_t count, Error *error);

#endif
