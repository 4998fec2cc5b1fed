#include "dist/comm/team_counts.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/memory.h"

enum { TAG_COUNTS = 77, WAIT_MICROSECONDS = 50000 };
static const double INTERVAL = 0.2; /* seconds between messages of a rank */

Status team_counts_create(TeamCounts *counts, const World *world, Error *error)
{
    *counts = (TeamCounts){.world = world};
    if (!world->started || world->rank != 0) return STATUS_OK;
    counts->latest = memory_alloc(world->size, sizeof *counts->latest, "the ranks' counts", error);
    return counts->latest ? STATUS_OK : STATUS_FAILED;
}

void team_counts_free(TeamCounts *counts)
{
    if (counts->sending) MPI_Wait(&counts->request, MPI_STATUS_IGNORE);
    free(counts->latest);
    *counts = (TeamCounts){0};
}

static void send(TeamCounts *counts, const int64_t mine[TEAM_COUNTS], bool last)
{
    int done = 1;
    if (counts->sending) {
        if (last)
            MPI_Wait(&counts->request, MPI_STATUS_IGNORE);
        else
            MPI_Test(&counts->request, &done, MPI_STATUS_IGNORE);
    }
    counts->sending = !done;
    if (!done) return; /* it is the older counts that are under way; there is time */
    counts->message.last = last;
    memcpy(counts->message.counts, mine, sizeof counts->message.counts);
    MPI_Isend(&counts->message, (int)sizeof counts->message, MPI_BYTE, 0, TAG_COUNTS, counts->world->comm,
              &counts->request);
    counts->sending = true;
    counts->sent = clock_seconds();
}

static void receive(TeamCounts *counts)
{
    for (;;) {
        int there;
        MPI_Status status;
        MPI_Iprobe(MPI_ANY_SOURCE, TAG_COUNTS, counts->world->comm, &there, &status);
        if (!there) return;
        MPI_Recv(&counts->latest[status.MPI_SOURCE], (int)sizeof *counts->latest, MPI_BYTE, status.MPI_SOURCE,
                 TAG_COUNTS, counts->world->comm, MPI_STATUS_IGNORE);
    }
}

/* Own counts and the others' latest. */
static void add_up(const TeamCounts *counts, const int64_t mine[TEAM_COUNTS], int64_t all[TEAM_COUNTS])
{
    memcpy(all, mine, TEAM_COUNTS * sizeof *all);
    for (int rank = 1; counts->latest && rank < counts->world->size; rank++)
        for (int i = 0; i < TEAM_COUNTS; i++) all[i] += counts->latest[rank].counts[i];
}

void team_counts_update(TeamCounts *counts, const int64_t mine[TEAM_COUNTS], int64_t all[TEAM_COUNTS])
{
    const World *world = counts->world;
    if (world->started && world->rank == 0 && clock_seconds() - counts->sent >= INTERVAL) {
        counts->sent = clock_seconds();
        receive(counts);
    }
    if (world->started && world->rank != 0 && clock_seconds() - counts->sent >= INTERVAL) send(counts, mine, false);
    add_up(counts, mine, all);
}

bool team_counts_finish(TeamCounts *counts, const int64_t mine[TEAM_COUNTS], int64_t all[TEAM_COUNTS])
{
    const World *world = counts->world;
    bool finished = true;
    if (world->started && world->rank != 0 && !counts->finished) send(counts, mine, true);
    counts->finished = true;
    if (counts->latest) {
        receive(counts);
        for (int rank = 1; rank < world->size; rank++) finished &= counts->latest[rank].last != 0;
        if (!finished) usleep(WAIT_MICROSECONDS);
    }
    add_up(counts, mine, all);
    return finished;
}
