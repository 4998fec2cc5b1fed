/* sharded_checkpoint.h: one checkpoint of many ranks.
 *
 * With `zero: 1` each rank that trains holds a slice of the optimizer's state and writes it, in parallel, as a part of
 * the checkpoint. One rank is the head: rank 0, or the keeper. It writes weights and average, hears from every other
 * rank that its part is proved and what its hash is, and then writes the manifest; when one rank fails, all of it is
 * abandoned, and the report names the rank and its file. Without slices the head is alone, and this is just its
 * CheckpointWriter.
 *
 *     archive_begin(archive, pool, &vectors, &position);      // on the head and all that have a part, at the same step
 *     ...
 *     if (archive_poll(archive, &report)) ...                 // on all, after each step; true on the head at its end
 *     if (archive_wait(archive, &report)) ...                 // on all, at the end
 *
 * All ranks see the same run folder.
 */
#ifndef DIST_CHECKPOINT_SHARDED_CHECKPOINT_H
#define DIST_CHECKPOINT_SHARDED_CHECKPOINT_H

#include <mpi.h>
#include "dist/checkpoint/async_writer.h"

typedef struct PartReport PartReport;
typedef enum ArchiveState { ARCHIVE_IDLE, ARCHIVE_WRITING, ARCHIVE_COMMITTING } ArchiveState;

typedef struct Archive {
    CheckpointWriter *writer; /* NULL: this rank has nothing to write */
    MPI_Comm comm;
    int head, others; /* others: ranks that the head hears from */
    bool leads;
    ArchiveState state;
    bool own_done;
    int received;
    CheckpointFile *parts; /* (others) */
    WriterReport report;   /* so far */
    PartReport *message;   /* to the head */
    MPI_Request sending;
} Archive;

Status archive_create(Archive *archive, MPI_Comm comm, int head, const WriterConfig *config, Error *error);
void archive_free(Archive *archive); /* accepts a zeroed one; lets this rank's files end */

/* Copies and returns. The archive must not be busy, here and on the head. */
void archive_begin(Archive *archive, Pool *pool, const RunVectors *vectors, const RunPosition *position);
bool archive_busy(const Archive *archive);
bool archive_poll(Archive *archive, WriterReport *report);
/* Until what is under way has ended, here and, for the head, everywhere; *report as by archive_poll. */
bool archive_wait(Archive *archive, WriterReport *report);

#endif
