/* async_writer.h: checkpoints written behind the computing.
 *
 * A CheckpointWriter owns a thread and a copy of every vector it writes. The step is held up only for the copying,
 * which the computing threads do; the thread then writes, verifies and prunes (checkpoint.h) while training goes on. It
 * never calls MPI. One job of each kind can be under way at a time.
 *
 *     if (!writer_busy(writer, WRITER_CHECKPOINT)) writer_checkpoint(writer, pool, &vectors, &position);
 *     ...                                                   // the next steps
 *     WriterReport report;
 *     if (writer_collect(writer, WRITER_CHECKPOINT, &report)) ...     // at the end of a step
 *     ...
 *     writer_wait(writer);                                  // at the end of the run
 *
 * Where several ranks write one checkpoint (sharded_checkpoint.h), WRITER_CHECKPOINT ends with this rank's files, and the head's
 * writer_commit, when all have ended, makes a checkpoint of them or removes them.
 */
#ifndef DIST_CHECKPOINT_ASYNC_WRITER_H
#define DIST_CHECKPOINT_ASYNC_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include "core/base/thread_pool.h"
#include "dist/checkpoint/checkpoint.h"
#include "dist/checkpoint/run_vectors.h"

typedef struct CheckpointWriter CheckpointWriter;

/* In this order the thread does what there is to do. */
typedef enum WriterJob { WRITER_PENDING, WRITER_CHECKPOINT, WRITER_COMMIT, WRITER_VALIDATED, WRITER_JOBS } WriterJob;

typedef struct WriterConfig { /* borrowed for the writer's life */
    const char *folder;       /* RUN/checkpoints */
    const char *run;          /* RUN, for best.safetensors */
    const ParamTable *table;
    const char *config; /* text of the resolved configuration */
    const char *layout;
    const char *const *metadata; /* of every weights file: key, value, ..., NULL */
    const char *provenance; /* of best.safetensors besides; NULL: none. Checkpoints are the same whoever wrote them */
    int keep;
    bool head;            /* writes weights, average and manifest */
    RunVectorSet vectors; /* what it writes: weights and average on the head alone */
    int part, parts;      /* which part of the moments this is, of how many */
    int others;           /* parts that come from other writers */
    /* Called by the thread before a manifest is written; may be NULL. What it cannot do is in the report's `record`. */
    Status (*sync)(void *context, Error *error);
    void *context;
} WriterConfig;

typedef struct WriterReport { /* of a job that ended */
    Status status;
    Error error;
    int64_t step;
    double copy_seconds, write_seconds;
    uint64_t bytes;
    CheckpointFile part; /* the moments, where they are a part; else without a name */
    char record[256];    /* what sync could not do; "": nothing */
    char unpruned[512];  /* what of older checkpoints could not be removed, once; "": nothing new */
} WriterReport;

Status writer_create(CheckpointWriter **writer, const WriterConfig *config, Error *error);
void writer_free(CheckpointWriter *writer); /* accepts NULL; lets what is under way end */

bool writer_busy(const CheckpointWriter *writer, WriterJob job); /* under way, or ended and not yet collected */

/* These start a job and return; the job must not be busy. */
/* Copies first; vectors that are NULL there are not written. */
void writer_checkpoint(CheckpointWriter *writer, Pool *pool, const RunVectors *vectors, const RunPosition *position);
/* The checkpoint written last gets the `count` parts of others and its manifest; or, whole being false, is removed. */
void writer_commit(CheckpointWriter *writer, const CheckpointFile *parts, int count, bool whole);
/* Call it after a validation of the weights of that position. Writes `best` as best.safetensors (NULL: this validation was
 * not the best), and notes in the newest checkpoint what is validated, unless that checkpoint is older than the position. */
void writer_validated(CheckpointWriter *writer, Pool *pool, const float *best, const RunPosition *position);
/* Writes weights and average that are still to be validated, so that a killed run can validate them when it is resumed.
 * Copies nothing: the caller must not change them until the job has ended. */
void writer_pending(CheckpointWriter *writer, const RunVectors *vectors, const RunPosition *position);

bool writer_collect(CheckpointWriter *writer, WriterJob job, WriterReport *report); /* true: it ended; once per job */
void writer_wait(CheckpointWriter *writer);                                         /* until nothing is under way */

#endif
