#include "dist/checkpoint/sharded_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/memory.h"
#include "dist/comm/world.h"

enum { TAG_PART = 120, IDLE_MICROSECONDS = 1000 };

/* What the head hears. Both are the same program on one kind of machine, so the struct travels as bytes; few enough for
 * every MPI to send at once, without waiting for the head. */
struct PartReport {
    Status status;
    char message[1024];
    double copy_seconds, write_seconds;
    CheckpointFile part;
};

Status sharded_checkpoint_create(ShardedCheckpoint *sharded, MPI_Comm comm, int head, const WriterConfig *config,
                                 Error *error)
{
    *sharded = (ShardedCheckpoint){.comm = comm, .head = head, .others = config->others, .leads = config->head};
    sharded->sending = MPI_REQUEST_NULL;
    sharded->parts = memory_alloc(config->others, sizeof *sharded->parts, "the parts of a checkpoint", error);
    sharded->message = memory_alloc(1, sizeof *sharded->message, "the parts of a checkpoint", error);
    if (!sharded->parts || !sharded->message) return STATUS_FAILED;
    return writer_create(&sharded->writer, config, error);
}

void sharded_checkpoint_free(ShardedCheckpoint *sharded)
{
    writer_free(sharded->writer);
    if (sharded->message && sharded->sending != MPI_REQUEST_NULL)
        (void)MPI_Wait(&sharded->sending, MPI_STATUS_IGNORE); /* nobody is left to be told */
    free(sharded->message);
    free(sharded->parts);
    *sharded = (ShardedCheckpoint){0};
}

void sharded_checkpoint_begin(ShardedCheckpoint *sharded, Pool *pool, const RunVectors *vectors,
                              const RunPosition *position)
{
    sharded->state = SHARDED_WRITING;
    sharded->own_done = false;
    sharded->received = 0;
    sharded->report = (WriterReport){.step = position->step};
    writer_checkpoint(sharded->writer, pool, vectors, position);
}

bool sharded_checkpoint_busy(const ShardedCheckpoint *sharded)
{
    return sharded->state != SHARDED_IDLE;
}

/* Times of ranks that write side by side: the longest counts. The first failure is told. */
static void merge(ShardedCheckpoint *sharded, const WriterReport *report)
{
    WriterReport *whole = &sharded->report;
    if (report->status && !whole->status) {
        whole->status = report->status;
        whole->error = report->error;
    }
    whole->bytes += report->bytes;
    if (report->copy_seconds > whole->copy_seconds) whole->copy_seconds = report->copy_seconds;
    if (report->write_seconds > whole->write_seconds) whole->write_seconds = report->write_seconds;
    if (report->record[0]) memcpy(whole->record, report->record, sizeof whole->record);
    if (report->unpruned[0]) memcpy(whole->unpruned, report->unpruned, sizeof whole->unpruned);
}

/* Parts that cannot be heard of are parts that failed: nobody waits for them, and the checkpoint is abandoned. */
static void give_up_parts(ShardedCheckpoint *sharded, int code)
{
    WriterReport lost = {.step = sharded->report.step};
    lost.status = world_mpi_failed(code, "hearing of a checkpoint's parts", &lost.error);
    memset(sharded->parts + sharded->received, 0,
           (size_t)(sharded->others - sharded->received) * sizeof *sharded->parts);
    sharded->received = sharded->others;
    merge(sharded, &lost);
}

static void receive_parts(ShardedCheckpoint *sharded)
{
    while (sharded->received < sharded->others) {
        PartReport part;
        MPI_Status from;
        int there = 0;
        int code = MPI_Iprobe(MPI_ANY_SOURCE, TAG_PART, sharded->comm, &there, &from);
        if (code == MPI_SUCCESS && !there) return;
        if (code == MPI_SUCCESS)
            code = MPI_Recv(&part, (int)sizeof part, MPI_BYTE, from.MPI_SOURCE, TAG_PART, sharded->comm,
                            MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS) {
            give_up_parts(sharded, code);
            return;
        }
        WriterReport report = {.status = part.status,
                               .copy_seconds = part.copy_seconds,
                               .write_seconds = part.write_seconds,
                               .bytes = part.part.bytes};
        if (part.status) error_set(&report.error, part.status, "rank %d: %s", from.MPI_SOURCE, part.message);
        sharded->parts[sharded->received++] = part.part;
        merge(sharded, &report);
    }
}

static bool poll_head(ShardedCheckpoint *sharded)
{
    WriterReport report;
    if (sharded->state == SHARDED_WRITING) {
        receive_parts(sharded);
        if (!sharded->own_done && writer_collect(sharded->writer, WRITER_CHECKPOINT, &report)) {
            sharded->own_done = true;
            merge(sharded, &report);
        }
        if (!sharded->own_done || sharded->received < sharded->others) return false;
        if (sharded->others == 0) return true;
        writer_commit(sharded->writer, sharded->parts, sharded->others, sharded->report.status == STATUS_OK);
        sharded->state = SHARDED_COMMITTING;
    }
    if (!writer_collect(sharded->writer, WRITER_COMMIT, &report)) return false;
    report.write_seconds += sharded->report.write_seconds;
    merge(sharded, &report);
    return true;
}

/* A report that MPI cannot send is over, too: the head cannot hear of it, and says so. */
static bool poll_part(ShardedCheckpoint *sharded)
{
    WriterReport report;
    int code = MPI_SUCCESS, sent = 0;
    if (!sharded->own_done) {
        if (!writer_collect(sharded->writer, WRITER_CHECKPOINT, &report)) return false;
        sharded->own_done = true;
        *sharded->message = (PartReport){.status = report.status,
                                         .copy_seconds = report.copy_seconds,
                                         .write_seconds = report.write_seconds,
                                         .part = report.part};
        snprintf(sharded->message->message, sizeof sharded->message->message, "%.1000s", report.error.message);
        code = MPI_Isend(sharded->message, (int)sizeof *sharded->message, MPI_BYTE, sharded->head, TAG_PART,
                         sharded->comm, &sharded->sending);
    }
    if (code == MPI_SUCCESS) code = MPI_Test(&sharded->sending, &sent, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) sharded->sending = MPI_REQUEST_NULL;
    return sent || code != MPI_SUCCESS;
}

bool sharded_checkpoint_poll(ShardedCheckpoint *sharded, WriterReport *report)
{
    if (sharded->state == SHARDED_IDLE) return false;
    if (!(sharded->leads ? poll_head(sharded) : poll_part(sharded))) return false;
    sharded->state = SHARDED_IDLE;
    *report = sharded->report;
    return sharded->leads;
}

bool sharded_checkpoint_wait(ShardedCheckpoint *sharded, WriterReport *report)
{
    while (sharded_checkpoint_busy(sharded)) {
        if (sharded_checkpoint_poll(sharded, report)) return true;
        if (sharded_checkpoint_busy(sharded)) usleep(IDLE_MICROSECONDS);
    }
    return false;
}
