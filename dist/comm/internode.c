#include "dist/comm/internode.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/median.h"
#include "core/base/memory.h"
#include "dist/comm/world.h"

/* ---- life */

static const char PURPOSE[] = "the parts of the ranks";

Status internode_create(Internode *between, MPI_Comm comm, int tag, WireType wire, Error *error)
{
    *between = (Internode){0};
    Status status = ring_create(&between->ring, comm, 4 * tag, wire, error);
    Status planted = tree_create(&between->tree, comm, 2 * tag + 1, wire, error); /* collective: also after a failure */
    int ranks = between->ring.size;
    between->parts = memory_alloc(ranks, sizeof *between->parts, PURPOSE, error);
    between->slice_ends = memory_alloc(ranks, sizeof *between->slice_ends, PURPOSE, error);
    between->bounds = memory_alloc(tree_places(ranks) + 1, sizeof *between->bounds, PURPOSE, error);
    if (!between->parts || !between->slice_ends || !between->bounds) return STATUS_FAILED;
    return status ? status : planted;
}

void internode_free(Internode *between)
{
    ring_free(&between->ring);
    tree_free(&between->tree);
    free(between->parts);
    free(between->slice_ends);
    free(between->bounds);
    *between = (Internode){0};
}

/* ---- a sum */

static RingPart common(RingPart a, RingPart b)
{
    int64_t begin = a.begin > b.begin ? a.begin : b.begin, end = a.end < b.end ? a.end : b.end;
    return begin < end ? (RingPart){begin, end} : (RingPart){a.begin, a.begin};
}

static void start_tree(Internode *between, RingPhases phases, float *vector, float *residual, RingPart region,
                       const RingPart *slices)
{
    int ranks = between->tree.size;
    for (int s = 0; s < ranks && slices; s++)
        between->slice_ends[s] = ring_split(slices->begin, slices->end, s, ranks).end;
    if (slices)
        tree_split_slices(ranks, region, between->slice_ends, between->bounds);
    else
        tree_split(ranks, region.begin, region.end, between->bounds);
    tree_start(&between->tree, phases, vector, residual, between->bounds);
}

static void start_ring(Internode *between, RingPhases phases, float *vector, float *residual, RingPart region,
                       const RingPart *slices)
{
    int ranks = between->ring.size;
    for (int rank = 0; rank < ranks; rank++)
        between->parts[rank] =
            slices ? common(region, ring_split(slices->begin, slices->end, tree_slice(ranks, rank), ranks))
                   : ring_split(region.begin, region.end, rank, ranks);
    ring_start(&between->ring, phases, vector, residual, between->parts);
}

void internode_start(Internode *between, bool by_tree, RingPhases phases, float *vector, float *residual,
                     RingPart region, const RingPart *slices)
{
    between->by_tree = by_tree;
    (by_tree ? start_tree : start_ring)(between, phases, vector, residual, region, slices);
}

void internode_gather(Internode *between, bool by_tree, float *vector, const RingPart *slices)
{
    int ranks = between->ring.size;
    between->by_tree = by_tree;
    if (!by_tree) {
        ring_start(&between->ring, RING_GATHER, vector, NULL, slices);
        return;
    }
    RingPart all = slices[0];
    for (int rank = 0; rank < ranks; rank++) {
        between->slice_ends[tree_slice(ranks, rank)] = slices[rank].end;
        if (slices[rank].begin < all.begin) all.begin = slices[rank].begin;
        if (slices[rank].end > all.end) all.end = slices[rank].end;
    }
    tree_split_slices(ranks, all, between->slice_ends, between->bounds);
    tree_start(&between->tree, RING_GATHER, vector, NULL, between->bounds);
}

Status internode_progress(Internode *between, bool *moved, Error *error)
{
    return between->by_tree ? tree_progress(&between->tree, moved, error) : ring_progress(&between->ring, moved, error);
}

bool internode_done(const Internode *between)
{
    return between->by_tree ? tree_done(&between->tree) : ring_done(&between->ring);
}

int internode_neighbour(const Internode *between)
{
    return between->by_tree ? tree_neighbour(&between->tree) : ring_neighbour(&between->ring);
}

/* ---- which way is faster */

enum { SIZES = 6, ROUNDS = 7, STEP_OF_SIZES = 4, SMALLEST = 4096 /* floats */ };
static const double CLEARLY = 0.95; /* of the tree's time */

/* Seconds of the slowest rank. */
static Status time_sum(Internode *between, bool by_tree, float *zeros, int64_t count, double *seconds, Error *error)
{
    MPI_Comm comm = between->ring.window.comm;
    int code = MPI_Barrier(comm);
    double begin = clock_seconds();
    internode_start(between, by_tree, RING_ALL, zeros, NULL, (RingPart){0, count}, NULL);
    Status status = STATUS_OK;
    while (!status && !internode_done(between)) {
        bool moved = false;
        status = internode_progress(between, &moved, error);
        if (!moved) sched_yield();
    }
    *seconds = clock_seconds() - begin;
    if (code == MPI_SUCCESS && !status) code = MPI_Allreduce(MPI_IN_PLACE, seconds, 1, MPI_DOUBLE, MPI_MAX, comm);
    return code == MPI_SUCCESS ? status : world_mpi_failed(code, "measuring the network", error);
}

/* Medians of both, after a round that opens the connections. */
static Status time_size(Internode *between, float *zeros, int64_t count, double medians[2], Error *error)
{
    double times[2][ROUNDS];
    for (int round = -1; round < ROUNDS; round++)
        for (int way = 0; way < 2; way++) {
            double seconds;
            Status status = time_sum(between, way == 1, zeros, count, &seconds, error);
            if (status) return status;
            if (round >= 0) times[way][round] = seconds;
        }
    for (int way = 0; way < 2; way++) medians[way] = median_of(times[way], ROUNDS);
    return STATUS_OK;
}

Status internode_measure(Internode *between, float *zeros, int64_t largest, int64_t *ring_from, char *report,
                         size_t room, Error *error)
{
    size_t used = 0;
    bool settled = false;
    *ring_from = INT64_MAX;
    report[0] = 0;
    for (int64_t count = largest, n = 0; n < SIZES && !settled && count >= SMALLEST; count /= STEP_OF_SIZES, n++) {
        double medians[2];
        Status status = time_size(between, zeros, count, medians, error);
        if (status) return status;
        settled = medians[0] >= CLEARLY * medians[1];
        if (!settled) *ring_from = count;
        if (used < room)
            used += (size_t)snprintf(report + used, room - used, "%s%.0f KB ring %.2f ms, tree %.2f", n ? "; " : "",
                                     (double)count * 4 / 1024, 1e3 * medians[0], 1e3 * medians[1]);
    }
    return STATUS_OK;
}
