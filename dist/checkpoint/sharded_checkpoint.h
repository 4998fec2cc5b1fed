/* sharded_checkpoint.h: one checkpoint of many ranks.
 *
 * With `zero: 1` each rank that trains holds a slice of the optimizer's state and writes it, in parallel, as a part of
 * the checkpoint. One rank is the head: rank 0, or the dedicated rank. It writes weights and average, hears from every other
 * rank that its part is verified and what its hash is, and then writes the manifest; when one rank fails, all of it is
 * abandoned, and the report names the rank and its file. Without slices the head is alone, and this is just its
 * CheckpointWriter.
 *
 *     sharded_checkpoint_begin(sharded, pool, &vectors, &position); // head and all that have a part, at the same step
 *     ...
 *     if (sharded_checkpoint_poll(sharded, &report)) ...  // on all, after each step; true on the head at its end
 *     if (sharded_checkpoint_wait(sharded, &report)) ...  // on all, at the end
 *
 * All ranks see the same run folder.
 */
#ifndef DIST_CHECKPOINT_SHARDED_CHECKPOINT_H
#define DIST_CHECKPOINT_SHARDED_CHECKPOINT_H

#include <mpi.h>
#include "dist/checkpoint/async_writer.h"

typedef struct PartReport PartReport;
typedef enum ShardedState { SHARDED_IDLE, SHARDED_WRITING, SHARDED_COMMITTING } ShardedState;

typedef struct ShardedCheckpoint {
    CheckpointWriter *writer; /* NULL: this rank has nothing to write */
    MPI_Comm comm;
    int head, others; /* others: ranks that the head hears from */
    bool leads;
    ShardedState state;
    bool own_done;
    int received;
    CheckpointFile *parts; /* (others) */
    WriterReport report;   /* so far */
    PartReport *message;   /* to the head */
    MPI_Request sending;
} ShardedCheckpoint;

Status sharded_checkpoint_create(ShardedCheckpoint *sharded, MPI_Comm comm, int head, const WriterConfig *config,
                                 Error *error);
void sharded_checkpoint_free(ShardedCheckpoint *sharded); /* accepts a zeroed one; lets this rank's files end */

/* Copies and returns. The one before must have ended, here and on the head. */
void sharded_checkpoint_begin(ShardedCheckpoint *sharded, Pool *pool, const RunVectors *vectors,
                              const RunPosition *position);
bool sharded_checkpoint_busy(const ShardedCheckpoint *sharded);
bool sharded_checkpoint_poll(ShardedCheckpoint *sharded, WriterReport *report);
/* Until what is under way has ended, here and, for the head, everywhere; *report as by sharded_checkpoint_poll. */
bool sharded_checkpoint_wait(ShardedCheckpoint *sharded, WriterReport *report);

#endif
