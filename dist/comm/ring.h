/* ring.h: the sum of a vector over all ranks, by MPI point-to-point round a ring.
 *
 * Reduce-scatter, then all-gather (Patarasuk, Yuan, JPDC 2009): each rank sends and receives 2 (N-1)/N of the vector,
 * whatever N. The vector is cut into N parts. Part p starts at rank p+1 and travels N-1 steps to rank p, every rank on
 * the way adding its own; then the sums travel once round. So the order of additions depends only on N and the part,
 * and all ranks end with the same bits.
 *
 *      rank   step 0       step 1       step 2       then (N = 4, reduce-scatter)
 *      0      sends 3      sends 2      sends 1      owns 0
 *      1      sends 0      sends 3      sends 2      owns 1
 *      2      sends 1      sends 0      sends 3      owns 2
 *      3      sends 2      sends 1      sends 0      owns 3
 *
 * Each part moves in chunks, several under way at once: while a chunk is added, the next one arrives and the previous
 * one leaves. A few chunks of every part go all the way before the next few set out, a wave: so what is received, added
 * and sent in a wave stays in the cache until its last step, and little piles up between two ranks of unlike pace.
 *
 *     Ring ring = {0};
 *     ring_create(&ring, comm, 0, WIRE_FP32, error);
 *     ring_allreduce(&ring, vector, count, error);
 *     ring_free(&ring);
 *
 * or, to do other things meanwhile: ring_start, then ring_progress until ring_done. All ranks of `comm` start the same
 * sums in the same order. A Ring has one sum under way; several Rings on one communicator need different tags.
 */
#ifndef DIST_COMM_RING_H
#define DIST_COMM_RING_H

#include "dist/comm/message_window.h"

typedef struct RingPart {
    int64_t begin, end; /* floats of the vector */
} RingPart;

typedef enum RingPhases {
    RING_REDUCE = 1, /* each rank ends with the sum of its part; the rest of its vector is spoilt */
    RING_GATHER = 2, /* each rank's part goes to all */
    RING_ALL = RING_REDUCE | RING_GATHER,
} RingPhases;

typedef struct Ring {
    MessageWindow window;
    int rank, size, tag;
    int64_t max_wave; /* messages of a part in one wave; may be changed between sums */

    float *vector; /* the sum under way */
    float *residual;
    const RingPart *parts;
    int64_t wave;              /* messages per step of a wave */
    int64_t first_step, steps; /* of each wave */
    int64_t last;              /* messages count up from 0 to here, the same in both directions: */
    int64_t posted, received;  /* receives posted, and finished with their sum */
    int64_t sent, flushed;     /* sends posted, and finished */
} Ring;

Status ring_create(Ring *ring, MPI_Comm comm, int tag, WireType wire, Error *error); /* collective */
void ring_free(Ring *ring); /* accepts a zeroed ring; nothing may be under way */

/* vector[0 .. count) becomes the sum over ranks, in place; count may be 0 or less than the ranks. fp32 only on the
 * wire unless the caller can do without error feedback. */
Status ring_allreduce(Ring *ring, float *vector, int64_t count, Error *error);

/* parts[0 .. size): what belongs to each rank, the same on all; they may be empty, must not overlap, and stay the
 * caller's until the end. residual (NULL: none): error feedback, parallel to vector. */
void ring_start(Ring *ring, RingPhases phases, float *vector, float *residual, const RingPart *parts);
Status ring_progress(Ring *ring, bool *moved, Error *error); /* sets *moved when anything happened, never clears it */
bool ring_done(const Ring *ring);
int ring_neighbour(const Ring *ring); /* the rank of comm that the sum under way waits for */

/* Part `index` of [begin, end) cut into `count` almost equal parts at multiples of 16 floats. */
RingPart ring_split(int64_t begin, int64_t end, int64_t index, int64_t count);

#endif
