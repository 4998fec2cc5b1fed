/* Making a bucket pipeline: buckets, memory, who sums what with whom, and which way. */
#include "dist/comm/bucket_pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "dist/comm/world.h"

enum { MIN_BUCKET = 1 << 16 };

/* ---- ring and tree of a slot */

static const char PURPOSE[] = "the parts of the ranks";

static Status internode_create(Internode *between, MPI_Comm comm, int tag, WireType wire, Error *error)
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

static void internode_free(Internode *between)
{
    ring_free(&between->ring);
    tree_free(&between->tree);
    free(between->parts);
    free(between->slice_ends);
    free(between->bounds);
    *between = (Internode){0};
}

/* ---- buckets, memory, slices */

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

/* Who sums what with whom, once it is known whether ranks of a node share memory. */
static void find_place(BucketPipeline *pipeline)
{
    const Topology *topology = &pipeline->topology;
    pipeline->is_leader = !pipeline->shared || topology->local_rank < topology->leaders;
    pipeline->leader_count = pipeline->shared ? topology->leaders : 1;
    pipeline->leader_index = pipeline->shared ? tree_slice(topology->leaders, topology->local_rank) : 0;
    pipeline->between = pipeline->shared ? topology->across : topology->flat;
    pipeline->between_size = pipeline->shared ? topology->node_count : topology->size;
    pipeline->between_rank = pipeline->shared ? topology->node_index : topology->rank;
    const int64_t ranks = pipeline->between_size, slices = pipeline->leader_count * ranks;
    const int64_t first = pipeline->leader_index * ranks;
    pipeline->leader_slices = (RingPart){ring_split(0, pipeline->count, first, slices).begin,
                                         ring_split(0, pipeline->count, first + ranks - 1, slices).end};
}

/* The slice of each rank of `flat`: slices are numbered leader by leader, so that those that one leader of each node
 * sums lie side by side; ranks that do not carry own nothing. Collective. */
static Status share_slices(BucketPipeline *pipeline, Error *error)
{
    const Topology *topology = &pipeline->topology;
    const int ranks = pipeline->between_size;
    const RingPart all = pipeline->leader_slices;
    RingPart mine = {0, 0};
    if (pipeline->is_leader) mine = ring_split(all.begin, all.end, tree_slice(ranks, pipeline->between_rank), ranks);
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
    if (pipeline->shared) {
        ShmWindow *shm = &pipeline->shm;
        Status status = shm_create(shm, pipeline->topology.node, pipeline->count, pipeline->bucket_count, error);
        if (status) return status;
        pipeline->grads = shm->grads[shm->rank];
        pipeline->total = shm->total;
        return STATUS_OK;
    }
    arena_floats(&pipeline->arena, (size_t)pipeline->count);
    Status status = arena_allocate(&pipeline->arena, error);
    if (status) return error_add(error, "this was for a gradient");
    pipeline->grads = pipeline->total = arena_floats(&pipeline->arena, (size_t)pipeline->count);
    memset(pipeline->grads, 0, (size_t)pipeline->count * sizeof(float)); /* no page faults later */
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
        if (pipeline->kind == ALLREDUCE_MPI || !pipeline->is_leader) continue;
        created = internode_create(&pipeline->slots[i].between, pipeline->between, i, wire, error);
        if (created) status = created;
    }
    if (wire != WIRE_FP32 && pipeline->is_leader) {
        pipeline->residual = memory_alloc(pipeline->count, sizeof(float), "the error feedback", error);
        if (!pipeline->residual) status = STATUS_FAILED;
    }
    if (pipeline->zero) {
        created = internode_create(&pipeline->gather, pipeline->topology.flat, PIPELINE_SLOTS, WIRE_FP32, error);
        if (created) status = created;
    }
    return world_agree(pipeline->topology.flat, status, error);
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
    if (!status) find_place(pipeline);
    if (!status) status = share_slices(pipeline, error);
    if (!status) status = create_slots(pipeline, config->wire, error);
    if (!status) status = bucket_pipeline_choose_way(pipeline, error);
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
