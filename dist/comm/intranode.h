/* intranode.h: the memory that the ranks of one node share: everybody's gradient, and one sum.
 *
 * Each local rank's backward writes its gradient into the shared window itself, so nothing is copied: whoever sums a
 * range reads all gradients and writes the sum, which everybody then reads in place.
 *
 *     shm_set_flag(&shm, SHM_READY, bucket, step);                    // my gradient of this bucket is complete
 *     if (shm_all_flags(&shm, SHM_READY, bucket, step, size, &missing))  // so is everybody's
 *         shm_sum(&shm, begin, end);                                  // my share of the work
 *     shm_set_flag(&shm, SHM_DONE, bucket, step);
 *
 * Flags are step numbers in the window, written by one rank and read by the others (release, acquire). A sum of
 * step t stays valid until the reader marks a bucket of step t+1 ready, since nobody sums before all have.
 */
#ifndef DIST_COMM_INTRANODE_H
#define DIST_COMM_INTRANODE_H

#include <mpi.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/base/status.h"

typedef enum ShmFlag { SHM_READY, SHM_DONE, SHM_FLAGS } ShmFlag;

typedef struct ShmWindow {
    MPI_Win window; /* owns all the memory below but the arrays of pointers */
    int rank, size;
    int buckets;
    float **grads;            /* [local rank] -> gradient */
    _Atomic uint32_t **flags; /* [local rank] -> [SHM_FLAGS * buckets] */
    float *total;             /* the sum, one per node; a lone rank's own gradient */
    bool open;
} ShmWindow;

/* Collective over comm, whose ranks must share memory; fails on all of them or on none. Gradients start as zeros. */
Status shm_create(ShmWindow *shm, MPI_Comm comm, int64_t count, int buckets, Error *error);
void shm_free(ShmWindow *shm); /* accepts a zeroed window; collective */

void shm_set_flag(ShmWindow *shm, ShmFlag flag, int bucket, uint32_t step);
/* Whether the first `ranks` local ranks have made the mark; if not, the first that has not is in *missing. */
bool shm_all_flags(const ShmWindow *shm, ShmFlag flag, int bucket, uint32_t step, int ranks, int *missing);

/* total[begin .. end) = sum of everybody's gradient over a balanced binary tree, whose leaves are the local ranks in their
 * order: the lower levels of tree.h's. */
void shm_sum(ShmWindow *shm, int64_t begin, int64_t end);

#endif
