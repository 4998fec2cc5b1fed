#include "dist/checkpoint/sharded_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TAG_PART = 120, IDLE_MICROSECONDS = 1000 };

/* What the head hears. Both are the same program on one kind of machine, so the struct travels as bytes; few enough for
 * every MPI to send at once, without waiting for the head. */
struct PartReport {
    Status status;
    char message[1024];
    double copy_seconds, write_seconds;
    CheckpointFile part;
};

Status archive_create(Archive *archive, MPI_Comm comm, int head, const WriterConfig *config, Error *error)
{
    *archive = (Archive){.comm = comm, .head = head, .others = config->others, .leads = config->head};
    archive->sending = MPI_REQUEST_NULL;
    archive->parts = calloc((size_t)config->others + 1, sizeof *archive->parts);
    archive->message = calloc(1, sizeof *archive->message);
    if (!archive->parts || !archive->message)
        return error_set(error, STATUS_FAILED, "out of memory for a checkpoint of %d parts", config->parts);
    return writer_create(&archive->writer, config, error);
}

void archive_free(Archive *archive)
{
    writer_free(archive->writer);
    if (archive->message && archive->sending != MPI_REQUEST_NULL) MPI_Wait(&archive->sending, MPI_STATUS_IGNORE);
    free(archive->message);
    free(archive->parts);
    *archive = (Archive){0};
}

void archive_begin(Archive *archive, Pool *pool, const RunVectors *vectors, const RunPosition *position)
{
    archive->state = ARCHIVE_WRITING;
    archive->own_done = false;
    archive->received = 0;
    archive->report = (WriterReport){.step = position->step};
    writer_checkpoint(archive->writer, pool, vectors, position);
}

bool archive_busy(const Archive *archive)
{
    return archive->state != ARCHIVE_IDLE;
}

/* Times of ranks that write side by side: the longest counts. The first failure is told. */
static void merge(Archive *archive, const WriterReport *report)
{
    WriterReport *whole = &archive->report;
    if (report->status && !whole->status) {
        whole->status = report->status;
        whole->error = report->error;
    }
    whole->bytes += report->bytes;
    if (report->copy_seconds > whole->copy_seconds) whole->copy_seconds = report->copy_seconds;
    if (report->write_seconds > whole->write_seconds) whole->write_seconds = report->write_seconds;
    if (report->record[0]) memcpy(whole->record, report->record, sizeof whole->record);
}

static void receive_parts(Archive *archive)
{
    while (archive->received < archive->others) {
        PartReport part;
        MPI_Status from;
        int there = 0;
        MPI_Iprobe(MPI_ANY_SOURCE, TAG_PART, archive->comm, &there, &from);
        if (!there) return;
        MPI_Recv(&part, (int)sizeof part, MPI_BYTE, from.MPI_SOURCE, TAG_PART, archive->comm, MPI_STATUS_IGNORE);
        WriterReport report = {.status = part.status,
                               .copy_seconds = part.copy_seconds,
                               .write_seconds = part.write_seconds,
                               .bytes = part.part.bytes};
        if (part.status) error_set(&report.error, part.status, "rank %d: %s", from.MPI_SOURCE, part.message);
        archive->parts[archive->received++] = part.part;
        merge(archive, &report);
    }
}

static bool poll_head(Archive *archive)
{
    WriterReport report;
    if (archive->state == ARCHIVE_WRITING) {
        receive_parts(archive);
        if (!archive->own_done && writer_collect(archive->writer, WRITER_CHECKPOINT, &report)) {
            archive->own_done = true;
            merge(archive, &report);
        }
        if (!archive->own_done || archive->received < archive->others) return false;
        if (archive->others == 0) return true;
        writer_commit(archive->writer, archive->parts, archive->others, archive->report.status == STATUS_OK);
        archive->state = ARCHIVE_COMMITTING;
    }
    if (!writer_collect(archive->writer, WRITER_COMMIT, &report)) return false;
    report.write_seconds += archive->report.write_seconds;
    merge(archive, &report);
    return true;
}

static bool poll_part(Archive *archive)
{
    WriterReport report;
    if (!archive->own_done) {
        if (!writer_collect(archive->writer, WRITER_CHECKPOINT, &report)) return false;
        archive->own_done = true;
        *archive->message = (PartReport){.status = report.status,
                                         .copy_seconds = report.copy_seconds,
                                         .write_seconds = report.write_seconds,
                                         .part = report.part};
        snprintf(archive->message->message, sizeof archive->message->message, "%.1000s", report.error.message);
        MPI_Isend(archive->message, (int)sizeof *archive->message, MPI_BYTE, archive->head, TAG_PART, archive->comm,
                  &archive->sending);
    }
    int sent;
    MPI_Test(&archive->sending, &sent, MPI_STATUS_IGNORE);
    return sent;
}

bool archive_poll(Archive *archive, WriterReport *report)
{
    if (archive->state == ARCHIVE_IDLE) return false;
    if (!(archive->leads ? poll_head(archive) : poll_part(archive))) return false;
    archive->state = ARCHIVE_IDLE;
    *report = archive->report;
    return archive->leads;
}

bool archive_wait(Archive *archive, WriterReport *report)
{
    while (archive_busy(archive)) {
        if (archive_poll(archive, report)) return true;
        if (archive_busy(archive)) usleep(IDLE_MICROSECONDS);
    }
    return false;
}
