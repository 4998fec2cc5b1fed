#include "dist/comm/bucket_pipeline.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/memory.h"
#include "dist/comm/world.h"

enum { MIN_BUCKET = 1 << 16, ADD_BLOCK = 1 << 16 /* floats added between two looks at the network */ };

/* ---- creation */

/* Each bucket takes at most half of what is left, so that the last ones are small: they are ready when backward ends,
 * and nothing hides them. A bucket_mb of the whole vector or more makes one bucket. */
int64_t bucket_next(int64_t count, int64_t left, double bucket_mb)
{
    double floats = bucket_mb * (1 << 20) / sizeof(float);
    bool whole = floats >= (double)count;
    int64_t largest = whole ? count : (int64_t)fmax(floats, 16) / 16 * 16;
    int64_t smallest = whole || largest < MIN_BUCKET ? largest : MIN_BUCKET;
    int64_t size = (left / 2 + 15) / 16 * 16;
    size = size > largest ? largest : size < smallest ? smallest : size;
    return left > size ? (left - size) / 16 * 16 : 0;
}

static Status cut_buckets(BucketPipeline *pipeline, double bucket_mb, Error *error)
{
    for (int pass = 0; pass < 2; pass++) { /* counts, then fills */
        int n = 0;
        for (int64_t left = pipeline->count; left > 0; n++) {
            int64_t begin = bucket_next(pipeline->count, left, bucket_mb);
            if (pass == 1) pipeline->buckets[n] = (RingPart){begin, left};
            left = begin;
        }
        pipeline->bucket_count = n;
        if (pass == 0) pipeline->buckets = memory_alloc(n, sizeof *pipeline->buckets, "a table of buckets", error);
        if (!pipeline->buckets) return STATUS_FAILED;
    }
    return STATUS_OK;
}

static bool is_leader(const BucketPipeline *pipeline)
{
    return !pipeline->shared || pipeline->topology.local_rank < pipeline->topology.leaders;
}

static int leader_count(const BucketPipeline *pipeline)
{
    return pipeline->shared ? pipeline->topology.leaders : 1;
}

/* Which leader's region is this rank's. The order is that of a tree over all ranks, whose slices then lie as a tree's do. */
static int leader_index(const BucketPipeline *pipeline)
{
    return pipeline->shared ? tree_slice(pipeline->topology.leaders, pipeline->topology.local_rank) : 0;
}

/* Those among whom a region is summed, and this rank's number among them. */
static MPI_Comm between_comm(const BucketPipeline *pipeline)
{
    return pipeline->shared ? pipeline->topology.across : pipeline->topology.flat;
}

static int between_size(const BucketPipeline *pipeline)
{
    return pipeline->shared ? pipeline->topology.node_count : pipeline->topology.size;
}

static int between_rank(const BucketPipeline *pipeline)
{
    return pipeline->shared ? pipeline->topology.node_index : pipeline->topology.rank;
}

/* All that this rank's leaders, one of each node, own slices of. */
static RingPart leader_slices(const BucketPipeline *pipeline)
{
    int64_t ranks = between_size(pipeline), slices = leader_count(pipeline) * ranks;
    int64_t first = leader_index(pipeline) * ranks;
    return (RingPart){ring_split(0, pipeline->count, first, slices).begin,
                      ring_split(0, pipeline->count, first + ranks - 1, slices).end};
}

/* The slice of each rank of `flat`: slices are numbered leader by leader, so that those that one leader of each node
 * sums lie side by side; ranks that do not carry own nothing. Collective. */
static Status share_slices(BucketPipeline *pipeline, Error *error)
{
    const Topology *topology = &pipeline->topology;
    int ranks = between_size(pipeline);
    RingPart mine = {0, 0}, all = leader_slices(pipeline);
    if (is_leader(pipeline)) mine = ring_split(all.begin, all.end, tree_slice(ranks, between_rank(pipeline)), ranks);
    int code = MPI_Allgather(&mine, sizeof mine, MPI_BYTE, pipeline->slices, sizeof mine, MPI_BYTE, topology->flat);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "exchanging slices", error);
    pipeline->tree_slices = true;
    for (int rank = 0; rank < topology->size; rank++) {
        RingPart usual = ring_split(0, pipeline->count, tree_slice(topology->size, rank), topology->size);
        RingPart found = pipeline->slices[rank];
        if (found.begin != usual.begin || found.end != usual.end) pipeline->tree_slices = false;
    }
    return STATUS_OK;
}

static Status create_grads(BucketPipeline *pipeline, Error *error)
{
    if (pipeline->shared)
        return shm_create(&pipeline->shm, pipeline->topology.node, pipeline->count, pipeline->bucket_count, error);
    arena_floats(&pipeline->arena, (size_t)pipeline->count);
    Status status = arena_allocate(&pipeline->arena, error);
    if (status) return error_add(error, "this was for a gradient");
    pipeline->own_grads = arena_floats(&pipeline->arena, (size_t)pipeline->count);
    memset(pipeline->own_grads, 0, (size_t)pipeline->count * sizeof(float)); /* no page faults later */
    return STATUS_OK;
}

/* Whether sums within nodes are subtrees of the tree over all ranks. */
static bool nodes_are_subtrees(const Topology *topology)
{
    int ranks = topology->leaders;
    return ranks * topology->node_count == topology->size && (ranks & (ranks - 1)) == 0;
}

/* AUTO and TREE: shared memory where ranks share nodes, unless some node cannot give it. Collective: all ranks choose
 * the same, and fail together. */
static Status choose_memory(BucketPipeline *pipeline, Error *error)
{
    const Topology *topology = &pipeline->topology;
    bool may = pipeline->kind == ALLREDUCE_AUTO || pipeline->kind == ALLREDUCE_TREE;
    pipeline->shared = pipeline->kind == ALLREDUCE_HIERARCHICAL;
    if (pipeline->balanced && !nodes_are_subtrees(topology)) may = false;
    if (may && topology->node_count < topology->size) {
        Error refused = {0};
        pipeline->shared = true;
        if (world_agree(topology->flat, create_grads(pipeline, &refused), &refused) == STATUS_OK) return STATUS_OK;
        shm_free(&pipeline->shm);
        pipeline->shared = false;
    }
    return world_agree(topology->flat, create_grads(pipeline, error), error);
}

/* A rank that lacks memory still does its part of what is collective, so that nobody waits for it; then all agree. */
static Status create_slots(BucketPipeline *pipeline, WireType wire, Error *error)
{
    Status status = STATUS_OK, created;
    for (int i = 0; i < PIPELINE_SLOTS; i++) {
        if (pipeline->kind == ALLREDUCE_MPI || !is_leader(pipeline)) continue;
        created = internode_create(&pipeline->slots[i].between, between_comm(pipeline), i, wire, error);
        if (created) status = created;
    }
    if (wire != WIRE_FP32 && is_leader(pipeline)) {
        pipeline->residual = memory_alloc(pipeline->count, sizeof(float), "the error feedback", error);
        if (!pipeline->residual) status = STATUS_FAILED;
    }
    if (pipeline->zero) {
        created = internode_create(&pipeline->gather, pipeline->topology.flat, PIPELINE_SLOTS, WIRE_FP32, error);
        if (created) status = created;
    }
    return world_agree(pipeline->topology.flat, status, error);
}

static float *total_of(const BucketPipeline *pipeline)
{
    return pipeline->own_grads ? pipeline->own_grads : pipeline->shm.total;
}

/* AUTO: all ranks take the tree where any group of leaders found it good enough. Of two, ring and tree are the same sums
 * and nearly the same messages. */
static Status choose_way(BucketPipeline *pipeline, Error *error)
{
    if (pipeline->balanced) pipeline->kind = ALLREDUCE_TREE;
    pipeline->ring_from = pipeline->kind == ALLREDUCE_TREE ? INT64_MAX : 0;
    if (pipeline->kind != ALLREDUCE_AUTO || between_size(pipeline) <= 2) return STATUS_OK;
    int64_t largest = (pipeline->buckets[0].end - pipeline->buckets[0].begin) / leader_count(pipeline);
    Status status = STATUS_OK;
    if (is_leader(pipeline))
        status = internode_measure(&pipeline->slots[0].between, total_of(pipeline), largest, &pipeline->ring_from,
                                   pipeline->measured, sizeof pipeline->measured, error);
    status = world_agree(pipeline->topology.flat, status, error);
    if (status) return status;
    int code = MPI_Allreduce(MPI_IN_PLACE, &pipeline->ring_from, 1, MPI_INT64_T, MPI_MAX, pipeline->topology.flat);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "choosing between ring and tree", error);
}

static Status allocate_tables(BucketPipeline *pipeline, double bucket_mb, Error *error)
{
    int ranks = pipeline->topology.size;
    pipeline->slices = memory_alloc(ranks, sizeof *pipeline->slices, "the ranks' slices", error);
    if (!pipeline->slices) return STATUS_FAILED;
    return cut_buckets(pipeline, bucket_mb, error);
}

Status bucket_pipeline_create(BucketPipeline *pipeline, const BucketPipelineConfig *config, int64_t count, Error *error)
{
    *pipeline = (BucketPipeline){.comm = config->comm,
                                 .timeline = config->timeline,
                                 .count = count,
                                 .kind = config->kind,
                                 .zero = config->zero,
                                 .balanced = config->balanced};
    if (config->kind == ALLREDUCE_MPI && config->wire != WIRE_FP32)
        return error_set(error, STATUS_USAGE,
                         "wire: bf16 and fp16 need allreduce: ring, tree or hierarchical; MPI's own sums are fp32");
    Status status = topology_create(&pipeline->topology, config->comm, config->ranks_per_node, error);
    if (status) return status;
    status = world_agree(pipeline->topology.flat, allocate_tables(pipeline, config->bucket_mb, error), error);
    if (!status) status = choose_memory(pipeline, error);
    if (!status) status = share_slices(pipeline, error);
    if (!status) status = create_slots(pipeline, config->wire, error);
    if (!status) status = choose_way(pipeline, error);
    if (status) bucket_pipeline_free(pipeline);
    return status;
}

void bucket_pipeline_free(BucketPipeline *pipeline)
{
    for (int i = 0; i < PIPELINE_SLOTS; i++) internode_free(&pipeline->slots[i].between);
    internode_free(&pipeline->gather);
    shm_free(&pipeline->shm);
    arena_free(&pipeline->arena);
    free(pipeline->residual);
    free(pipeline->slices);
    free(pipeline->buckets);
    topology_free(&pipeline->topology);
    *pipeline = (BucketPipeline){0};
}

float *bucket_pipeline_grads(BucketPipeline *pipeline)
{
    return pipeline->own_grads ? pipeline->own_grads : pipeline->shm.grads[pipeline->shm.rank];
}

const float *bucket_pipeline_total(const BucketPipeline *pipeline)
{
    return total_of(pipeline);
}

/* ---- one bucket */

/* The region of the bucket that this rank carries: an equal share, or with zero what its leaders' slices have of it. */
static RingPart region_of(const BucketPipeline *pipeline, RingPart bucket)
{
    RingPart nothing = {bucket.begin, bucket.begin};
    if (!is_leader(pipeline)) return nothing;
    if (!pipeline->zero) return ring_split(bucket.begin, bucket.end, leader_index(pipeline), leader_count(pipeline));
    RingPart slices = leader_slices(pipeline);
    int64_t begin = slices.begin > bucket.begin ? slices.begin : bucket.begin;
    int64_t end = slices.end < bucket.end ? slices.end : bucket.end;
    return begin < end ? (RingPart){begin, end} : nothing;
}

static void enter(BucketPipeline *pipeline, BucketSlot *slot, Stage stage)
{
    static const char *const NAMES[] = {[STAGE_WAIT_LOCAL] = "wait local",
                                        [STAGE_LOCAL_REDUCE] = "local reduce",
                                        [STAGE_INTER_NODE] = "inter-node",
                                        [STAGE_LOCAL_SYNC] = "local sync"};
    if (pipeline->timeline) {
        double time = clock_seconds();
        if (slot->stage != STAGE_FREE)
            timeline_add(pipeline->timeline, TIMELINE_SLOT0 + (TimelineTrack)(slot - pipeline->slots),
                         NAMES[slot->stage], slot->bucket, slot->entered, time);
        slot->entered = time;
    }
    slot->stage = stage;
}

static Status enter_inter_node(BucketPipeline *pipeline, BucketSlot *slot, Error *error)
{
    enter(pipeline, slot, STAGE_INTER_NODE);
    if (pipeline->kind == ALLREDUCE_MPI) {
        RingPart bucket = pipeline->buckets[slot->bucket];
        int code = MPI_Iallreduce(MPI_IN_PLACE, pipeline->own_grads + bucket.begin, (int)(bucket.end - bucket.begin),
                                  MPI_FLOAT, MPI_SUM, pipeline->topology.flat, &slot->request);
        return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "MPI_Iallreduce", error);
    }
    if (!is_leader(pipeline)) return STATUS_OK;
    RingPart slices = leader_slices(pipeline);
    internode_start(&slot->between, slot->region.end - slot->region.begin < pipeline->ring_from,
                    pipeline->zero ? RING_REDUCE : RING_ALL, total_of(pipeline), pipeline->residual, slot->region,
                    pipeline->zero ? &slices : NULL);
    return STATUS_OK;
}

static Status start_bucket(BucketPipeline *pipeline, BucketSlot *slot, int bucket, Error *error)
{
    slot->bucket = bucket;
    slot->region = region_of(pipeline, pipeline->buckets[bucket]);
    slot->reduced = 0;
    if (pipeline->own_grads) return enter_inter_node(pipeline, slot, error);
    enter(pipeline, slot, STAGE_WAIT_LOCAL);
    return STATUS_OK;
}

static void reduce_block(BucketPipeline *pipeline, BucketSlot *slot)
{
    int64_t begin = slot->region.begin + slot->reduced, end = begin + ADD_BLOCK;
    if (end > slot->region.end) end = slot->region.end;
    shm_sum(&pipeline->shm, begin, end);
    slot->reduced = end - slot->region.begin;
}

static void leave_inter_node(BucketPipeline *pipeline, BucketSlot *slot)
{
    if (pipeline->own_grads) {
        enter(pipeline, slot, STAGE_FREE);
        pipeline->finished++;
        return;
    }
    shm_set_flag(&pipeline->shm, SHM_DONE, slot->bucket, pipeline->step);
    enter(pipeline, slot, STAGE_LOCAL_SYNC);
}

static Status inter_node_stage(BucketPipeline *pipeline, BucketSlot *slot, bool *moved, Error *error)
{
    int over = 1;
    if (pipeline->kind == ALLREDUCE_MPI) {
        int code = MPI_Test(&slot->request, &over, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS) return world_mpi_failed(code, "MPI_Iallreduce", error);
    } else if (is_leader(pipeline)) {
        Status status = internode_progress(&slot->between, moved, error);
        if (status) return status;
        over = internode_done(&slot->between);
    }
    if (!over) return STATUS_OK;
    leave_inter_node(pipeline, slot);
    *moved = true;
    return STATUS_OK;
}

static Status slot_progress(BucketPipeline *pipeline, BucketSlot *slot, bool *moved, Error *error)
{
    const ShmWindow *shm = &pipeline->shm;
    int missing;
    switch (slot->stage) {
    case STAGE_FREE:
        return STATUS_OK;
    case STAGE_WAIT_LOCAL:
        if (!shm_all_flags(shm, SHM_READY, slot->bucket, pipeline->step, shm->size, &missing)) return STATUS_OK;
        enter(pipeline, slot, STAGE_LOCAL_REDUCE);
        *moved = true;
        return STATUS_OK;
    case STAGE_LOCAL_REDUCE:
        reduce_block(pipeline, slot);
        *moved = true;
        return slot->region.begin + slot->reduced == slot->region.end ? enter_inter_node(pipeline, slot, error)
                                                                      : STATUS_OK;
    case STAGE_INTER_NODE:
        return inter_node_stage(pipeline, slot, moved, error);
    case STAGE_LOCAL_SYNC:
        if (!shm_all_flags(shm, SHM_DONE, slot->bucket, pipeline->step, leader_count(pipeline), &missing))
            return STATUS_OK;
        enter(pipeline, slot, STAGE_FREE);
        pipeline->finished++;
        *moved = true;
        return STATUS_OK;
    }
    return STATUS_OK;
}

/* ---- one step */

void bucket_pipeline_begin(BucketPipeline *pipeline)
{
    pipeline->step++;
    pipeline->announced = pipeline->started = pipeline->finished = 0;
}

bool bucket_pipeline_done(const BucketPipeline *pipeline)
{
    return pipeline->finished == pipeline->bucket_count;
}

Status bucket_pipeline_progress(BucketPipeline *pipeline, int ready, bool *moved, Error *error)
{
    if (!pipeline->own_grads)
        for (; pipeline->announced < ready; pipeline->announced++)
            shm_set_flag(&pipeline->shm, SHM_READY, pipeline->announced, pipeline->step);
    Status status = STATUS_OK;
    while (!status && pipeline->started < ready) {
        BucketSlot *slot = &pipeline->slots[pipeline->started % PIPELINE_SLOTS];
        if (slot->stage != STAGE_FREE) break;
        status = start_bucket(pipeline, slot, pipeline->started++, error);
        *moved = true;
    }
    for (int i = 0; i < PIPELINE_SLOTS && !status; i++)
        status = slot_progress(pipeline, &pipeline->slots[i], moved, error);
    return status;
}

/* ---- for the watchdog */

int bucket_pipeline_oldest(const BucketPipeline *pipeline)
{
    int oldest = -1;
    for (int i = 0; i < PIPELINE_SLOTS; i++) {
        const BucketSlot *slot = &pipeline->slots[i];
        if (slot->stage != STAGE_FREE && (oldest < 0 || slot->bucket < oldest)) oldest = slot->bucket;
    }
    return oldest;
}

static int translate(MPI_Comm from, int rank, MPI_Comm to)
{
    MPI_Group from_group, to_group;
    int translated;
    MPI_Comm_group(from, &from_group);
    MPI_Comm_group(to, &to_group);
    MPI_Group_translate_ranks(from_group, 1, &rank, to_group, &translated);
    MPI_Group_free(&from_group);
    MPI_Group_free(&to_group);
    return translated;
}

int bucket_pipeline_waits_for(const BucketPipeline *pipeline)
{
    int bucket = bucket_pipeline_oldest(pipeline), missing = 0;
    if (bucket < 0) return -1;
    const BucketSlot *slot = &pipeline->slots[bucket % PIPELINE_SLOTS];
    const ShmWindow *shm = &pipeline->shm;
    switch (slot->stage) {
    case STAGE_WAIT_LOCAL:
        shm_all_flags(shm, SHM_READY, bucket, pipeline->step, shm->size, &missing);
        return translate(pipeline->topology.node, missing, pipeline->comm);
    case STAGE_LOCAL_SYNC:
        shm_all_flags(shm, SHM_DONE, bucket, pipeline->step, leader_count(pipeline), &missing);
        return translate(pipeline->topology.node, missing, pipeline->comm);
    case STAGE_INTER_NODE:
        if (pipeline->kind == ALLREDUCE_MPI) return -1;
        return translate(between_comm(pipeline), internode_neighbour(&slot->between), pipeline->comm);
    default:
        return -1;
    }
}
