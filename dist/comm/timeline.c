#include "dist/comm/timeline.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/base/file.h"
#include "core/base/clock.h"
#include "dist/comm/world.h"

enum { TAG_TEXT = 11 };

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
    Timeline *timeline = calloc(1, sizeof *timeline);
    if (!timeline) return error_set(error, STATUS_FAILED, "no memory for a timeline");
    timeline->room = events_per_track;
    for (int t = 0; t < TIMELINE_TRACKS; t++) {
        timeline->tracks[t].events = calloc((size_t)events_per_track, sizeof(Event));
        if (timeline->tracks[t].events) continue;
        timeline_free(timeline);
        return error_set(error, STATUS_FAILED, "no memory for a timeline of %lld events", (long long)events_per_track);
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
    static const char *const NAMES[TIMELINE_TRACKS] = {"compute", "communication, lane 0", "communication, lane 1"};
    char host[MPI_MAX_PROCESSOR_NAME];
    int length;
    MPI_Get_processor_name(host, &length);
    fprintf(out, ",\n{\"ph\": \"M\", \"name\": \"process_name\", \"pid\": %d, \"args\": {\"name\": \"rank %d on %s\"}}",
            rank, rank, host);
    for (int t = 0; t < TIMELINE_TRACKS; t++) {
        const Track *track = &timeline->tracks[t];
        fprintf(out,
                ",\n{\"ph\": \"M\", \"name\": \"thread_name\", \"pid\": %d, \"tid\": %d, \"args\": {\"name\": \"%s\", "
                "\"dropped\": %lld}}",
                rank, t, NAMES[t], (long long)track->dropped);
        for (int64_t i = 0; i < track->count; i++) {
            const Event *event = &track->events[i];
            fprintf(out,
                    ",\n{\"ph\": \"X\", \"name\": \"%s\", \"pid\": %d, \"tid\": %d, \"ts\": %.3f, \"dur\": %.3f, "
                    "\"args\": {\"number\": %lld}}",
                    event->name, rank, t, (event->begin + shift) * 1e6, (event->end - event->begin) * 1e6,
                    (long long)event->number);
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
    if (!out) return error_set(error, STATUS_FAILED, "no memory for a timeline's text");
    print_events(out, timeline, rank, first - here);
    if (fclose(out) != 0) return error_set(error, STATUS_FAILED, "no memory for a timeline's text");
    return STATUS_OK;
}

/* Rank 0: its own text, then everybody's in turn. A failure to write does not leave the others waiting. */
static Status collect(MPI_Comm comm, const char *path, const char *own, size_t own_size, Error *error)
{
    static const char HEAD[] =
        "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n"
        "{\"ph\": \"M\", \"name\": \"process_labels\", \"pid\": 0, \"args\": {\"labels\": \"t2t\"}}";
    static const char TAIL[] = "\n]}\n";
    AtomicFile file;
    Status status = atomic_file_open(&file, path, error);
    if (status == STATUS_OK) status = atomic_file_write(&file, HEAD, sizeof HEAD - 1, error);
    if (status == STATUS_OK) status = atomic_file_write(&file, own, own_size, error);
    int ranks;
    MPI_Comm_size(comm, &ranks);
    for (int from = 1; from < ranks; from++) {
        MPI_Status message;
        int size;
        MPI_Probe(from, TAG_TEXT, comm, &message);
        MPI_Get_count(&message, MPI_CHAR, &size);
        char *text = malloc((size_t)size + 1);
        if (!text) {
            status = error_set(error, STATUS_FAILED, "no memory for the timeline of rank %d", from);
            break;
        }
        MPI_Recv(text, size, MPI_CHAR, from, TAG_TEXT, comm, MPI_STATUS_IGNORE);
        if (status == STATUS_OK) status = atomic_file_write(&file, text, (size_t)size, error);
        free(text);
    }
    if (status == STATUS_OK) status = atomic_file_write(&file, TAIL, sizeof TAIL - 1, error);
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
        status = collect(comm, path, text, status == STATUS_OK ? size : 0, error);
    else
        MPI_Send(text, status == STATUS_OK ? (int)size : 0, MPI_CHAR, 0, TAG_TEXT, comm);
    free(text);
    return status;
}
