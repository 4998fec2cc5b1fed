/* timeline.h: what each rank did when, for the eye: Chrome's trace format (chrome://tracing, ui.perfetto.dev).
 *
 *     timeline_create(&timeline, 100000, error);
 *     double begin = clock_seconds();
 *     model_backward(...);
 *     timeline_add(timeline, TIMELINE_COMPUTE, "backward", step, begin, clock_seconds());
 *     ...
 *     timeline_write(timeline, MPI_COMM_WORLD, "trace.json", error);     // one file, a process per rank
 *
 * Adding is a store into memory laid out beforehand; without a timeline (NULL) it is nothing.
 */
#ifndef DIST_COMM_TIMELINE_H
#define DIST_COMM_TIMELINE_H

#include <mpi.h>
#include <stdint.h>
#include "core/base/status.h"

/* One thread writes to a track at a time. */
typedef enum TimelineTrack {
    TIMELINE_COMPUTE, /* the main thread: forward, backward, update, wait */
    TIMELINE_SLOT0,   /* the reducer's buckets */
    TIMELINE_SLOT1,
    TIMELINE_TRACKS
} TimelineTrack;

typedef struct Timeline Timeline;

Status timeline_create(Timeline **timeline, int64_t events_per_track, Error *error);
void timeline_free(Timeline *timeline); /* accepts NULL */

/* `name` is a literal; `number` tells the step or bucket. Events beyond a track's room are dropped, and counted in the
 * file. */
void timeline_add(Timeline *timeline, TimelineTrack track, const char *name, int64_t number, double begin, double end);

/* Collective, from the main thread between steps; rank 0 writes all ranks' events. Clocks of different nodes are
 * brought together at a barrier, to some tens of microseconds. */
Status timeline_write(const Timeline *timeline, MPI_Comm comm, const char *path, Error *error);

#endif
