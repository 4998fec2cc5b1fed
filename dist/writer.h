/* writer.h: checkpoints written behind the computing.
 *
 * A CheckpointWriter owns a thread and a copy of every vector it writes. The step is held up only for the copying, which
 * the computing threads do; the thread then writes, proves and prunes (checkpoint.h) while training goes on. It
 * never calls MPI. One checkpoint and one note of a validation can be under way at a time.
 *
 *     if (!writer_busy(writer)) writer_checkpoint(writer, pool, &vectors, &position);
 *     ...                                                   // the next steps
 *     WriterReport report;
 *     if (writer_collect(writer, WRITER_CHECKPOINT, &report)) ...     // at the end of a step
 *     ...
 *     writer_wait(writer);                                  // at the end of the run
 */
#ifndef DIST_WRITER_H
#define DIST_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include "core/pool.h"
#include "dist/checkpoint.h"

typedef struct CheckpointWriter CheckpointWriter;

typedef enum WriterJob { WRITER_CHECKPOINT, WRITER_VALIDATED, WRITER_JOBS } WriterJob;

typedef struct WriterConfig { /* borrowed for the writer's life */
    const char *folder;       /* RUN/checkpoints */
    const char *run;          /* RUN, for best.safetensors */
    const ParamTable *table;
    const char *config; /* text of the resolved configuration */
    const char *layout;
    const char *const *metadata; /* of every weights file: key, value, ..., NULL */
    int keep;
    bool ema, moment1, moment2; /* which vectors there are */
} WriterConfig;

typedef struct WriterReport { /* of a job that ended */
    Status status;
    Error error;
    int64_t step;
    double copy_seconds, write_seconds;
    uint64_t bytes;
} WriterReport;

Status writer_create(CheckpointWriter **writer, const WriterConfig *config, Error *error);
void writer_free(CheckpointWriter *writer); /* accepts NULL; lets what is under way end */

bool writer_busy(const CheckpointWriter *writer, WriterJob job); /* under way, or ended and not yet collected */

/* Copies and returns. The job must not be busy. */
void writer_checkpoint(CheckpointWriter *writer, Pool *pool, const RunVectors *vectors, const RunPosition *position);
/* After a validation: `best` (NULL: not a better one) becomes best.safetensors, and the newest checkpoint, when it is of this
 * step, says that its epoch is validated. */
void writer_validated(CheckpointWriter *writer, Pool *pool, const float *best, const RunPosition *position);

/* Flat vectors of a table, those that are wanted, zeroed; and copying what both have, by the pool's threads. */
Status run_vectors_allocate(RunVectors *vectors, const ParamTable *table, bool ema, bool moment1, bool moment2,
                            Error *error);
void run_vectors_free(RunVectors *vectors); /* accepts a zeroed one */
void run_vectors_copy(Pool *pool, const RunVectors *to, const RunVectors *from, int64_t size);

bool writer_collect(CheckpointWriter *writer, WriterJob job, WriterReport *report); /* true: it ended; once per job */
void writer_wait(CheckpointWriter *writer);                                         /* until nothing is under way */

#endif
