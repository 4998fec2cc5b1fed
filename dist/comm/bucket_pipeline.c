#include "dist/comm/bucket_pipeline.h"

#include "core/base/clock.h"
#include "dist/comm/world.h"

enum { ADD_BLOCK = 1 << 16 /* floats added between two looks at the network */ };

/* ---- between nodes */

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

/* ---- one bucket */

/* The region of the bucket that this rank carries: an equal share, or with zero what its leaders' slices have of it. */
static RingPart region_of(const BucketPipeline *pipeline, RingPart bucket)
{
    RingPart nothing = {bucket.begin, bucket.begin};
    if (!pipeline->is_leader) return nothing;
    if (!pipeline->zero) return ring_split(bucket.begin, bucket.end, pipeline->leader_index, pipeline->leader_count);
    return common(bucket, pipeline->leader_slices);
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
        int code = MPI_Iallreduce(MPI_IN_PLACE, pipeline->grads + bucket.begin, (int)(bucket.end - bucket.begin),
                                  MPI_FLOAT, MPI_SUM, pipeline->topology.flat, &slot->request);
        return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "MPI_Iallreduce", error);
    }
    if (!pipeline->is_leader) return STATUS_OK;
    internode_start(&slot->between, slot->region.end - slot->region.begin < pipeline->ring_from,
                    pipeline->zero ? RING_REDUCE : RING_ALL, pipeline->total, pipeline->residual, slot->region,
                    pipeline->zero ? &pipeline->leader_slices : NULL);
    return STATUS_OK;
}

static Status start_bucket(BucketPipeline *pipeline, BucketSlot *slot, int bucket, Error *error)
{
    slot->bucket = bucket;
    slot->region = region_of(pipeline, pipeline->buckets[bucket]);
    slot->reduced = 0;
    if (!pipeline->shared) return enter_inter_node(pipeline, slot, error);
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
    if (!pipeline->shared) {
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
    } else if (pipeline->is_leader) {
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
        if (!shm_all_flags(shm, SHM_DONE, slot->bucket, pipeline->step, pipeline->leader_count, &missing))
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
    if (pipeline->shared)
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
        shm_all_flags(shm, SHM_DONE, bucket, pipeline->step, pipeline->leader_count, &missing);
        return translate(pipeline->topology.node, missing, pipeline->comm);
    case STAGE_INTER_NODE:
        if (pipeline->kind == ALLREDUCE_MPI) return -1;
        return translate(pipeline->between, internode_neighbour(&slot->between), pipeline->comm);
    default:
        return -1;
    }
}
