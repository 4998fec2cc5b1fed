/* Whether the ring or the tree sums faster between these nodes, and whether the tree does so with longer messages. */
#include "dist/comm/bucket_pipeline.h"

#include <sched.h>
#include <stdio.h>

#include "core/base/clock.h"
#include "core/base/median.h"
#include "dist/comm/world.h"

enum { SIZES = 6, ROUNDS = 7, MESSAGE_ROUNDS = 3, STEP_OF_SIZES = 4, SMALLEST = 4096, LONG_SUM = 1 << 20 /* floats */ };
static const double CLEARLY = 0.95; /* of the time of what is taken otherwise */

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

typedef struct Way {
    bool by_tree, longer; /* longer: with the tree's long messages */
} Way;

/* Medians of `rounds` sums of both ways in turn, after a round that opens the connections. What is measured is the slowest
 * rank's, so all ranks of the communicator decide alike. */
static Status time_ways(Internode *between, const Way ways[2], int rounds, float *zeros, int64_t count,
                        double medians[2], Error *error)
{
    double times[2][ROUNDS];
    for (int round = -1; round < rounds; round++)
        for (int way = 0; way < 2; way++) {
            double seconds;
            tree_long_messages(&between->tree, ways[way].longer);
            Status status = time_sum(between, ways[way].by_tree, zeros, count, &seconds, error);
            if (status) return status;
            if (round >= 0) times[way][round] = seconds;
        }
    for (int way = 0; way < 2; way++) medians[way] = median_of(times[way], rounds);
    return STATUS_OK;
}

/* From how many floats on the ring is the faster way by a clear margin: both sum zeros of several sizes, to `largest`,
 * some times in turn. INT64_MAX: at none of them. `report` (room bytes): what was measured, for the log. */
static Status measure(Internode *between, bool longer, float *zeros, int64_t largest, int64_t *ring_from, char *report,
                      size_t room, Error *error)
{
    const Way ways[2] = {{false, longer}, {true, longer}};
    size_t used = 0;
    bool settled = false;
    *ring_from = INT64_MAX;
    report[0] = 0;
    for (int64_t count = largest, n = 0; n < SIZES && !settled && count >= SMALLEST; count /= STEP_OF_SIZES, n++) {
        double medians[2];
        Status status = time_ways(between, ways, ROUNDS, zeros, count, medians, error);
        if (status) return status;
        settled = medians[0] >= CLEARLY * medians[1];
        if (!settled) *ring_from = count;
        if (used < room)
            used += (size_t)snprintf(report + used, room - used, "%s%.0f KB ring %.2f ms, tree %.2f", n ? "; " : "",
                                     (double)count * 4 / 1024, 1e3 * medians[0], 1e3 * medians[1]);
    }
    return STATUS_OK;
}

/* Whether the tree of this rank's leaders is clearly faster with long messages, which all of its slots then take. */
static Status choose_messages(BucketPipeline *pipeline, int64_t largest, bool *longer, Error *error)
{
    static const Way WAYS[2] = {{true, false}, {true, true}};
    double medians[2] = {0};
    Status status = STATUS_OK;
    if (pipeline->is_leader && pipeline->between_size > 1 && !topology_within_node(pipeline->between))
        status = time_ways(&pipeline->slots[0].between, WAYS, MESSAGE_ROUNDS, pipeline->total,
                           largest < LONG_SUM ? largest : LONG_SUM, medians, error);
    status = world_agree(pipeline->topology.flat, status, error);
    *longer = medians[1] < CLEARLY * medians[0];
    for (int i = 0; i < PIPELINE_SLOTS && pipeline->is_leader; i++)
        tree_long_messages(&pipeline->slots[i].between.tree, *longer);
    return status;
}

/* AUTO: all ranks take the tree where any group of leaders found it good enough. Of two, ring and tree are the same sums
 * and nearly the same messages. */
Status bucket_pipeline_choose_way(BucketPipeline *pipeline, Error *error)
{
    if (pipeline->balanced) pipeline->kind = ALLREDUCE_TREE;
    pipeline->ring_from = pipeline->kind == ALLREDUCE_TREE ? INT64_MAX : 0;
    int64_t largest = (pipeline->buckets[0].end - pipeline->buckets[0].begin) / pipeline->leader_count;
    bool longer = false;
    Status status = STATUS_OK;
    if (pipeline->kind == ALLREDUCE_AUTO || pipeline->kind == ALLREDUCE_TREE)
        status = choose_messages(pipeline, largest, &longer, error);
    if (status || pipeline->kind != ALLREDUCE_AUTO || pipeline->between_size <= 2) return status;
    if (pipeline->is_leader)
        status = measure(&pipeline->slots[0].between, longer, pipeline->total, largest, &pipeline->ring_from,
                         pipeline->measured, sizeof pipeline->measured, error);
    status = world_agree(pipeline->topology.flat, status, error);
    if (status) return status;
    int code = MPI_Allreduce(MPI_IN_PLACE, &pipeline->ring_from, 1, MPI_INT64_T, MPI_MAX, pipeline->topology.flat);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "choosing between ring and tree", error);
}
