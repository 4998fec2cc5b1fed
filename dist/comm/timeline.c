#include "dist/comm/timeline.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/file.h"
#include "core/base/clock.h"
#include "core/base/memory.h"
#include "dist/comm/world.h"

enum { TAG_TEXT = 11, PIECE = 1 << 16 /* bytes of a text on the way */ };

typedef struct Event {
    const char *name;
    int64_t number;
    double begin, end;
} Event;

typedef struct Track {
    Event *events;
    int64_t count, dropped;
} Track;

struct Timeline {
    int64_t room; /* events per track */
    Track tracks[TIMELINE_TRACKS];
};

Status timeline_create(Timeline **out, int64_t events_per_track, Error *error)
{
    *out = NULL;
    Timeline *timeline = memory_alloc(1, sizeof *timeline, "a timeline", error);
    if (!timeline) return STATUS_FAILED;
    timeline->room = events_per_track;
    for (int t = 0; t < TIMELINE_TRACKS; t++) {
        timeline->tracks[t].events = memory_alloc(events_per_track, sizeof(Event), "a timeline", error);
        if (timeline->tracks[t].events) continue;
        timeline_free(timeline);
        return STATUS_FAILED;
    }
    *out = timeline;
    return STATUS_OK;
}

void timeline_free(Timeline *timeline)
{
    if (!timeline) return;
    for (int t = 0; t < TIMELINE_TRACKS; t++) free(timeline->tracks[t].events);
    free(timeline);
}

void timeline_add(Timeline *timeline, TimelineTrack which, const char *name, int64_t number, double begin, double end)
{
    if (!timeline) return;
    Track *track = &timeline->tracks[which];
    if (track->count == timeline->room)
        track->dropped++;
    else
        track->events[track->count++] = (Event){name, number, begin, end};
}

/* This rank's events as JSON objects, each with a comma before it; `shift` seconds bring its clock to rank 0's. */
static void print_events(FILE *out, const Timeline *timeline, int rank, double shift)
{
    static const char *const NAMES[TIMELINE_TRACKS] = {"compute", "communication, slot 0", "communication, slot 1"};
    char host[MPI_MAX_PROCESSOR_NAME];
    int length;
    MPI_Get_processor_name(host, &length);
    fprintf(out, ",\n{\"ph\": \"M\", \"name\": \"process_name\", \"pid\": %d, \"args\": {\"name\": \"rank %d on %s\"}}",
            rank, rank, host);
    for (int t = 0; t < TIMELINE_TRACKS; t++) {
        const Track *track = &timeline->tracks[t];
        fprintf(out,
                ",\n{\"ph\": \"M\", \"name\": \"thread_name\", \"pid\": %d, \"tid\": %d, \"args\": {\"name\": \"%s\", "
                "\"dropped\": %" PRId64 "}}",
                rank, t, NAMES[t], track->dropped);
        for (int64_t i = 0; i < track->count; i++) {
            const Event *event = &track->events[i];
            fprintf(out,
                    ",\n{\"ph\": \"X\", \"name\": \"%s\", \"pid\": %d, \"tid\": %d, \"ts\": %.3f, \"dur\": %.3f, "
                    "\"args\": {\"number\": %" PRId64 "}}",
                    event->name, rank, t, (event->begin + shift) * 1e6, (event->end - event->begin) * 1e6,
                    event->number);
        }
    }
}

static Status render(const Timeline *timeline, MPI_Comm comm, char **text, size_t *size, Error *error)
{
    int rank;
    MPI_Comm_rank(comm, &rank);
    MPI_Barrier(comm);
    double here = clock_seconds(), first = here;
    MPI_Bcast(&first, 1, MPI_DOUBLE, 0, comm);
    FILE *out = open_memstream(text, size);
    if (!out) return memory_failed("a timeline's text", error);
    print_events(out, timeline, rank, first - here);
    if (fclose(out) != 0) return memory_failed("a timeline's text", error);
    return STATUS_OK;
}

/* Takes a rank's text, piece by piece into memory that is there already: whatever fails, the rank's send ends. */
static Status pass_on(MPI_Comm comm, int from, char *piece, AtomicFile *file, Status status, Error *error)
{
    int64_t left = 0;
    MPI_Recv(&left, 1, MPI_INT64_T, from, TAG_TEXT, comm, MPI_STATUS_IGNORE);
    while (left > 0) {
        const int size = left < PIECE ? (int)left : PIECE;
        MPI_Recv(piece, size, MPI_CHAR, from, TAG_TEXT, comm, MPI_STATUS_IGNORE);
        if (!status) status = atomic_file_write(file, piece, (size_t)size, error);
        left -= size;
    }
    return status;
}

static void send_text(MPI_Comm comm, const char *text, int64_t size)
{
    MPI_Send(&size, 1, MPI_INT64_T, 0, TAG_TEXT, comm);
    for (int64_t at = 0; at < size; at += PIECE)
        MPI_Send(text + at, size - at < PIECE ? (int)(size - at) : PIECE, MPI_CHAR, 0, TAG_TEXT, comm);
}

/* Rank 0: its own text, then everybody's in turn. A failure to write does not leave the others waiting. */
static Status collect(MPI_Comm comm, const char *path, const char *own, size_t own_size, Status status, Error *error)
{
    static const char HEAD[] =
        "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n"
        "{\"ph\": \"M\", \"name\": \"process_labels\", \"pid\": 0, \"args\": {\"labels\": \"t2t\"}}";
    static const char TAIL[] = "\n]}\n";
    AtomicFile file = {.fd = -1};
    if (!status) status = atomic_file_open(&file, path, error);
    if (!status) status = atomic_file_write(&file, HEAD, sizeof HEAD - 1, error);
    if (!status) status = atomic_file_write(&file, own, own_size, error);
    int ranks;
    char piece[PIECE];
    MPI_Comm_size(comm, &ranks);
    for (int from = 1; from < ranks; from++) status = pass_on(comm, from, piece, &file, status, error);
    if (!status) status = atomic_file_write(&file, TAIL, sizeof TAIL - 1, error);
    return atomic_file_finish(&file, status, error);
}

Status timeline_write(const Timeline *timeline, MPI_Comm comm, const char *path, Error *error)
{
    int rank;
    MPI_Comm_rank(comm, &rank);
    char *text = NULL;
    size_t size = 0;
    Status status = render(timeline, comm, &text, &size, error);
    if (rank == 0)
        status = collect(comm, path, text, size, status, error);
    else
        send_text(comm, text, !status ? (int64_t)size : 0);
    free(text);
    return status;
}
