/* team_counts.h: how far all ranks are together, told to rank 0 while each works on its own share.
 *
 * Nobody waits for anybody: the others send their counts now and then, rank 0 looks what has come. MPI is called by
 * whichever thread calls these, so one thread at a time (MPI_THREAD_SERIALIZED) and no other MPI call meanwhile.
 *
 *     team_counts_create(&counts, &world, error);
 *     while (...) team_counts_update(&counts, mine, all);            // `all` is right on rank 0
 *     while (!team_counts_finish(&counts, mine, all)) show(all);     // on rank 0 until the others have come here, too
 *     team_counts_free(&counts);
 */
#ifndef DIST_COMM_TEAM_COUNTS_H
#define DIST_COMM_TEAM_COUNTS_H

#include <stdint.h>
#include "dist/comm/world.h"

enum { TEAM_COUNTS = 4 };

typedef struct TeamMessage {
    int64_t counts[TEAM_COUNTS];
    int64_t last; /* no more will come from that rank */
} TeamMessage;

typedef struct TeamCounts {
    const World *world;  /* not started: alone */
    TeamMessage *latest; /* (ranks), on rank 0 */
    TeamMessage message; /* being sent */
    MPI_Request request;
    bool sending, finished;
    double sent; /* when, by clock_seconds */
} TeamCounts;

Status team_counts_create(TeamCounts *counts, const World *world, Error *error);
void team_counts_free(TeamCounts *counts); /* accepts a zeroed one */
void team_counts_update(TeamCounts *counts, const int64_t mine[TEAM_COUNTS], int64_t all[TEAM_COUNTS]);

/* This rank's last word. True on the others, and on rank 0 when it has all of theirs; until then it waits a moment. */
bool team_counts_finish(TeamCounts *counts, const int64_t mine[TEAM_COUNTS], int64_t all[TEAM_COUNTS]);

#endif
