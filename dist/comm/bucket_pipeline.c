#include "dist/comm/bucket_pipeline.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "dist/comm/world.h"

enum { MIN_BUCKET = 1 << 16, ADD_BLOCK = 1 << 16 /* floats added between two looks at the network */ };

/* ---- creation */

/* Each bucket takes at most half of what is left, so that the last ones are small: they are ready when backward ends,
 * and nothing hides them. A bucket_mb of the whole vector or more makes one bucket. */
static Status cut_buckets(BucketPipeline *pipeline, double bucket_mb, Error *error)
{
    double floats = bucket_mb * (1 << 20) / sizeof(float);
    bool whole = floats >= (double)pipeline->count;
    int64_t largest = whole ? pipeline->count : (int64_t)fmax(floats, 16) / 16 * 16;
    int64_t smallest = whole || largest < MIN_BUCKET ? largest : MIN_BUCKET;
    for (int pass = 0; pass < 2; pass++) { /* counts, then fills */
        int n = 0;
        for (int64_t left = pipeline->count; left > 0; n++) {
            int64_t size = (left / 2 + 15) / 16 * 16;
            size = size > largest ? largest : size < smallest ? smallest : size;
            int64_t begin = left > size ? (left - size) / 16 * 16 : 0;
            if (pass == 1) pipeline->buckets[n] = (RingPart){begin, left};
            left = begin;
        }
        pipeline->bucket_count = n;
        if (pass == 0) pipeline->buckets = calloc((size_t)n + 1, sizeof *pipeline->buckets);
        if (!pipeline->buckets) return error_set(error, STATUS_FAILED, "no memory for a table of %d buckets", n);
    }
    return STATUS_OK;
}

static bool is_leader(const BucketPipeline *pipeline)
{
    return pipeline->kind != ALLREDUCE_HIERARCHICAL || pipeline->topology.local_rank < pipeline->topology.leaders;
}

/* Leaders of a node, and ranks in each one's ring. */
static int leader_count(const BucketPipeline *pipeline)
{
    return pipeline->kind == ALLREDUCE_HIERARCHICAL ? pipeline->topology.leaders : 1;
}

static int leader_index(const BucketPipeline *pipeline)
{
    return pipeline->kind == ALLREDUCE_HIERARCHICAL ? pipeline->topology.local_rank : 0;
}

static int ring_size(const BucketPipeline *pipeline)
{
    return pipeline->kind == ALLREDUCE_HIERARCHICAL ? pipeline->topology.node_count : pipeline->topology.size;
}

/* The slice of a rank of `flat`: slices are numbered leader by leader, so that those of one leader's ring lie side
 * by side; ranks that do not carry own nothing. Collective. */
static Status share_slices(BucketPipeline *pipeline, Error *error)
{
    const Topology *topology = &pipeline->topology;
    bool flat = pipeline->kind != ALLREDUCE_HIERARCHICAL;
    int place = flat ? topology->rank : topology->node_index;
    int64_t slice = leader_index(pipeline) * (int64_t)ring_size(pipeline) + place;
    int64_t slices = leader_count(pipeline) * (int64_t)ring_size(pipeline);
    RingPart mine = is_leader(pipeline) ? ring_split(0, pipeline->count, slice, slices) : (RingPart){0, 0};
    int code = MPI_Allgather(&mine, sizeof mine, MPI_BYTE, pipeline->slices, sizeof mine, MPI_BYTE, topology->flat);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "exchanging slices", error);
}

static Status create_grads(BucketPipeline *pipeline, Error *error)
{
    if (pipeline->kind == ALLREDUCE_HIERARCHICAL)
        return shm_create(&pipeline->shm, pipeline->topology.node, pipeline->count, pipeline->bucket_count, error);
    arena_floats(&pipeline->arena, (size_t)pipeline->count);
    Status status = arena_allocate(&pipeline->arena, error);
    if (status) return error_add(error, "this was for a gradient");
    pipeline->own_grads = arena_floats(&pipeline->arena, (size_t)pipeline->count);
    memset(pipeline->own_grads, 0, (size_t)pipeline->count * sizeof(float)); /* no page faults later */
    return STATUS_OK;
}

/* AUTO: shared memory where ranks share nodes, unless some node cannot give it. Collective: all ranks choose the same,
 * and fail together. */
static Status choose_kind(BucketPipeline *pipeline, AllreduceKind kind, Error *error)
{
    const Topology *topology = &pipeline->topology;
    pipeline->kind = kind;
    if (kind == ALLREDUCE_AUTO && topology->node_count < topology->size) {
        Error refused = {0};
        pipeline->kind = ALLREDUCE_HIERARCHICAL;
        if (world_agree(topology->flat, create_grads(pipeline, &refused), &refused) == STATUS_OK) return STATUS_OK;
        shm_free(&pipeline->shm);
    }
    if (kind == ALLREDUCE_AUTO) pipeline->kind = ALLREDUCE_RING;
    return world_agree(topology->flat, create_grads(pipeline, error), error);
}

/* A rank that lacks memory still does its part of what is collective, so that nobody waits for it; then all agree. */
static Status create_slots(BucketPipeline *pipeline, WireType wire, Error *error)
{
    MPI_Comm comm = pipeline->kind == ALLREDUCE_HIERARCHICAL ? pipeline->topology.across : pipeline->topology.flat;
    Status status = STATUS_OK, created;
    for (int i = 0; i < PIPELINE_SLOTS; i++) {
        BucketSlot *slot = &pipeline->slots[i];
        slot->parts = calloc((size_t)ring_size(pipeline), sizeof *slot->parts);
        if (!slot->parts) status = error_set(error, STATUS_FAILED, "no memory for %d parts", ring_size(pipeline));
        if (pipeline->kind == ALLREDUCE_MPI || !is_leader(pipeline)) continue;
        created = ring_create(&slot->ring, comm, i, wire, error);
        if (created) status = created;
    }
    if (wire != WIRE_FP32 && is_leader(pipeline)) {
        pipeline->residual = calloc((size_t)pipeline->count + 1, sizeof(float));
        if (!pipeline->residual)
            status = error_set(error, STATUS_FAILED, "no memory for the error feedback of %" PRId64 " floats",
                               pipeline->count);
    }
    if (pipeline->zero) {
        created = ring_create(&pipeline->gather, pipeline->topology.flat, PIPELINE_SLOTS, WIRE_FP32, error);
        if (created) status = created;
    }
    return world_agree(pipeline->topology.flat, status, error);
}

static Status allocate_tables(BucketPipeline *pipeline, double bucket_mb, Error *error)
{
    int ranks = pipeline->topology.size;
    pipeline->slices = calloc((size_t)ranks, sizeof *pipeline->slices);
    if (!pipeline->slices) return error_set(error, STATUS_FAILED, "no memory for %d slices", ranks);
    return cut_buckets(pipeline, bucket_mb, error);
}

Status bucket_pipeline_create(BucketPipeline *pipeline, const BucketPipelineConfig *config, int64_t count, Error *error)
{
    *pipeline =
        (BucketPipeline){.comm = config->comm, .timeline = config->timeline, .count = count, .zero = config->zero};
    if (config->kind == ALLREDUCE_MPI && config->wire != WIRE_FP32)
        return error_set(error, STATUS_USAGE,
                         "wire: bf16 and fp16 need allreduce: ring or hierarchical; MPI's own sums are fp32");
    Status status = topology_create(&pipeline->topology, config->comm, config->ranks_per_node, error);
    if (status) return status;
    status = world_agree(pipeline->topology.flat, allocate_tables(pipeline, config->bucket_mb, error), error);
    if (!status) status = choose_kind(pipeline, config->kind, error);
    if (!status) status = share_slices(pipeline, error);
    if (!status) status = create_slots(pipeline, config->wire, error);
    if (status) bucket_pipeline_free(pipeline);
    return status;
}

void bucket_pipeline_free(BucketPipeline *pipeline)
{
    for (int i = 0; i < PIPELINE_SLOTS; i++) {
        free(pipeline->slots[i].parts);
        ring_free(&pipeline->slots[i].ring);
    }
    ring_free(&pipeline->gather);
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

static float *total_of(const BucketPipeline *pipeline)
{
    return pipeline->own_grads ? pipeline->own_grads : pipeline->shm.total;
}

const float *bucket_pipeline_total(const BucketPipeline *pipeline)
{
    return total_of(pipeline);
}

/* ---- one bucket */

static RingPart intersect(RingPart a, RingPart b)
{
    int64_t begin = a.begin > b.begin ? a.begin : b.begin, end = a.end < b.end ? a.end : b.end;
    return begin < end ? (RingPart){begin, end} : (RingPart){a.begin, a.begin};
}

/* The region of the bucket that this rank carries, and its parts in the ring: equal shares, or with zero what their
 * owners' slices have of the bucket. */
static void plan(BucketPipeline *pipeline, BucketSlot *slot)
{
    RingPart bucket = pipeline->buckets[slot->bucket];
    int leaders = leader_count(pipeline), leader = leader_index(pipeline), parts = ring_size(pipeline);
    slot->region = (RingPart){bucket.begin, bucket.begin};
    if (!is_leader(pipeline)) return;
    if (pipeline->zero) {
        int64_t first = (int64_t)leader * parts, slices = (int64_t)leaders * parts;
        RingPart all = {ring_split(0, pipeline->count, first, slices).begin,
                        ring_split(0, pipeline->count, first + parts - 1, slices).end};
        slot->region = intersect(bucket, all);
        for (int p = 0; p < parts; p++)
            slot->parts[p] = intersect(bucket, ring_split(0, pipeline->count, first + p, slices));
    } else {
        slot->region = ring_split(bucket.begin, bucket.end, leader, leaders);
        for (int p = 0; p < parts; p++) slot->parts[p] = ring_split(slot->region.begin, slot->region.end, p, parts);
    }
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
    if (is_leader(pipeline))
        ring_start(&slot->ring, pipeline->zero ? RING_REDUCE : RING_ALL, total_of(pipeline), pipeline->residual,
                   slot->parts);
    return STATUS_OK;
}

static Status start_bucket(BucketPipeline *pipeline, BucketSlot *slot, int bucket, Error *error)
{
    slot->bucket = bucket;
    plan(pipeline, slot);
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
        Status status = ring_progress(&slot->ring, moved, error);
        if (status) return status;
        over = ring_done(&slot->ring);
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
        return translate(slot->ring.comm, ring_neighbour(&slot->ring), pipeline->comm);
    default:
        return -1;
    }
}
