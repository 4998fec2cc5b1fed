#include "dist/comm/bucket_pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "dist/comm/world.h"

enum { MIN_BUCKET = 1 << 16, ADD_BLOCK = 1 << 16 /* floats added between two looks at the network */ };

/* ---- creation */

/* Each bucket takes at most half of what is left, so that the last ones are small: they are ready when backward ends,
 * and nothing hides them. A bucket_mb of the whole vector or more makes one bucket. */
static Status cut_buckets(Exchange *exchange, double bucket_mb, Error *error)
{
    double floats = bucket_mb * (1 << 20) / sizeof(float);
    bool whole = floats >= (double)exchange->count;
    int64_t largest = whole ? exchange->count : (int64_t)fmax(floats, 16) / 16 * 16;
    int64_t smallest = whole || largest < MIN_BUCKET ? largest : MIN_BUCKET;
    for (int pass = 0; pass < 2; pass++) { /* counts, then fills */
        int n = 0;
        for (int64_t left = exchange->count; left > 0; n++) {
            int64_t size = (left / 2 + 15) / 16 * 16;
            size = size > largest ? largest : size < smallest ? smallest : size;
            int64_t begin = left > size ? (left - size) / 16 * 16 : 0;
            if (pass == 1) exchange->buckets[n] = (RingPart){begin, left};
            left = begin;
        }
        exchange->bucket_count = n;
        if (pass == 0) exchange->buckets = calloc((size_t)n + 1, sizeof *exchange->buckets);
        if (!exchange->buckets) return error_set(error, STATUS_FAILED, "no memory for a table of %d buckets", n);
    }
    return STATUS_OK;
}

static bool carries(const Exchange *exchange)
{
    return exchange->kind != ALLREDUCE_HIERARCHICAL || exchange->topology.local_rank < exchange->topology.carriers;
}

/* Carriers of a node, and ranks in each one's ring. */
static int carrier_count(const Exchange *exchange)
{
    return exchange->kind == ALLREDUCE_HIERARCHICAL ? exchange->topology.carriers : 1;
}

static int carrier_index(const Exchange *exchange)
{
    return exchange->kind == ALLREDUCE_HIERARCHICAL ? exchange->topology.local_rank : 0;
}

static int ring_size(const Exchange *exchange)
{
    return exchange->kind == ALLREDUCE_HIERARCHICAL ? exchange->topology.node_count : exchange->topology.size;
}

/* The slice of a rank of `flat`: slices are numbered carrier by carrier, so that those of one carrier's ring lie side
 * by side; ranks that do not carry own nothing. Collective. */
static Status share_slices(Exchange *exchange, Error *error)
{
    const Topology *topology = &exchange->topology;
    bool flat = exchange->kind != ALLREDUCE_HIERARCHICAL;
    int place = flat ? topology->rank : topology->node_index;
    int64_t slice = carrier_index(exchange) * (int64_t)ring_size(exchange) + place;
    int64_t slices = carrier_count(exchange) * (int64_t)ring_size(exchange);
    RingPart mine = carries(exchange) ? ring_split(0, exchange->count, slice, slices) : (RingPart){0, 0};
    int code = MPI_Allgather(&mine, sizeof mine, MPI_BYTE, exchange->slices, sizeof mine, MPI_BYTE, topology->flat);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "exchanging slices", error);
}

static Status create_grads(Exchange *exchange, Error *error)
{
    if (exchange->kind == ALLREDUCE_HIERARCHICAL)
        return node_create(&exchange->node, exchange->topology.node, exchange->count, exchange->bucket_count, error);
    arena_floats(&exchange->arena, (size_t)exchange->count);
    Status status = arena_allocate(&exchange->arena, error);
    if (status != STATUS_OK) return error_add(error, "this was for a gradient");
    exchange->own_grads = arena_floats(&exchange->arena, (size_t)exchange->count);
    memset(exchange->own_grads, 0, (size_t)exchange->count * sizeof(float)); /* no page faults later */
    return STATUS_OK;
}

/* AUTO: shared memory where ranks share nodes, unless some node cannot give it. Collective: all ranks choose the same,
 * and fail together. */
static Status choose_kind(Exchange *exchange, AllreduceKind kind, Error *error)
{
    const Topology *topology = &exchange->topology;
    exchange->kind = kind;
    if (kind == ALLREDUCE_AUTO && topology->node_count < topology->size) {
        Error refused = {0};
        exchange->kind = ALLREDUCE_HIERARCHICAL;
        if (world_agree(topology->flat, create_grads(exchange, &refused), &refused) == STATUS_OK) return STATUS_OK;
        node_free(&exchange->node);
    }
    if (kind == ALLREDUCE_AUTO) exchange->kind = ALLREDUCE_RING;
    return world_agree(topology->flat, create_grads(exchange, error), error);
}

/* A rank that lacks memory still does its part of what is collective, so that nobody waits for it; then all agree. */
static Status create_lanes(Exchange *exchange, WireType wire, Error *error)
{
    MPI_Comm comm = exchange->kind == ALLREDUCE_HIERARCHICAL ? exchange->topology.across : exchange->topology.flat;
    Status status = STATUS_OK, created;
    for (int i = 0; i < EXCHANGE_LANES; i++) {
        Lane *lane = &exchange->lanes[i];
        lane->parts = calloc((size_t)ring_size(exchange), sizeof *lane->parts);
        if (!lane->parts) status = error_set(error, STATUS_FAILED, "no memory for %d parts", ring_size(exchange));
        if (exchange->kind == ALLREDUCE_MPI || !carries(exchange)) continue;
        created = ring_create(&lane->ring, comm, i, wire, error);
        if (created != STATUS_OK) status = created;
    }
    if (wire != WIRE_FP32 && carries(exchange)) {
        exchange->residual = calloc((size_t)exchange->count + 1, sizeof(float));
        if (!exchange->residual)
            status = error_set(error, STATUS_FAILED, "no memory for the error feedback of %lld floats",
                               (long long)exchange->count);
    }
    if (exchange->zero) {
        created = ring_create(&exchange->gather, exchange->topology.flat, EXCHANGE_LANES, WIRE_FP32, error);
        if (created != STATUS_OK) status = created;
    }
    return world_agree(exchange->topology.flat, status, error);
}

static Status allocate_tables(Exchange *exchange, double bucket_mb, Error *error)
{
    int ranks = exchange->topology.size;
    exchange->slices = calloc((size_t)ranks, sizeof *exchange->slices);
    if (!exchange->slices) return error_set(error, STATUS_FAILED, "no memory for %d slices", ranks);
    return cut_buckets(exchange, bucket_mb, error);
}

Status exchange_create(Exchange *exchange, const ReducerConfig *config, int64_t count, Error *error)
{
    *exchange = (Exchange){.comm = config->comm, .timeline = config->timeline, .count = count, .zero = config->zero};
    if (config->kind == ALLREDUCE_MPI && config->wire != WIRE_FP32)
        return error_set(error, STATUS_USAGE,
                         "wire: bf16 and fp16 need allreduce: ring or hierarchical; MPI's own sums are fp32");
    Status status = topology_create(&exchange->topology, config->comm, config->ranks_per_node, error);
    if (status != STATUS_OK) return status;
    status = world_agree(exchange->topology.flat, allocate_tables(exchange, config->bucket_mb, error), error);
    if (status == STATUS_OK) status = choose_kind(exchange, config->kind, error);
    if (status == STATUS_OK) status = share_slices(exchange, error);
    if (status == STATUS_OK) status = create_lanes(exchange, config->wire, error);
    if (status != STATUS_OK) exchange_free(exchange);
    return status;
}

void exchange_free(Exchange *exchange)
{
    for (int i = 0; i < EXCHANGE_LANES; i++) {
        free(exchange->lanes[i].parts);
        ring_free(&exchange->lanes[i].ring);
    }
    ring_free(&exchange->gather);
    node_free(&exchange->node);
    arena_free(&exchange->arena);
    free(exchange->residual);
    free(exchange->slices);
    free(exchange->buckets);
    topology_free(&exchange->topology);
    *exchange = (Exchange){0};
}

float *exchange_grads(Exchange *exchange)
{
    return exchange->own_grads ? exchange->own_grads : exchange->node.grads[exchange->node.rank];
}

static float *total_of(const Exchange *exchange)
{
    return exchange->own_grads ? exchange->own_grads : exchange->node.total;
}

const float *exchange_total(const Exchange *exchange)
{
    return total_of(exchange);
}

/* ---- one bucket */

static RingPart intersect(RingPart a, RingPart b)
{
    int64_t begin = a.begin > b.begin ? a.begin : b.begin, end = a.end < b.end ? a.end : b.end;
    return begin < end ? (RingPart){begin, end} : (RingPart){a.begin, a.begin};
}

/* The region of the bucket that this rank carries, and its parts in the ring: equal shares, or with zero what their
 * owners' slices have of the bucket. */
static void plan(Exchange *exchange, Lane *lane)
{
    RingPart bucket = exchange->buckets[lane->bucket];
    int carriers = carrier_count(exchange), carrier = carrier_index(exchange), parts = ring_size(exchange);
    lane->region = (RingPart){bucket.begin, bucket.begin};
    if (!carries(exchange)) return;
    if (exchange->zero) {
        int64_t first = (int64_t)carrier * parts, slices = (int64_t)carriers * parts;
        RingPart all = {ring_split(0, exchange->count, first, slices).begin,
                        ring_split(0, exchange->count, first + parts - 1, slices).end};
        lane->region = intersect(bucket, all);
        for (int p = 0; p < parts; p++)
            lane->parts[p] = intersect(bucket, ring_split(0, exchange->count, first + p, slices));
    } else {
        lane->region = ring_split(bucket.begin, bucket.end, carrier, carriers);
        for (int p = 0; p < parts; p++) lane->parts[p] = ring_split(lane->region.begin, lane->region.end, p, parts);
    }
}

static void enter(Exchange *exchange, Lane *lane, Stage stage)
{
    static const char *const NAMES[] = {
        [STAGE_ARRIVE] = "arrive", [STAGE_ADD] = "add", [STAGE_RING] = "ring", [STAGE_SHARE] = "share"};
    if (exchange->timeline) {
        double time = clock_seconds();
        if (lane->stage != STAGE_FREE)
            timeline_add(exchange->timeline, TIMELINE_LANE0 + (TimelineTrack)(lane - exchange->lanes),
                         NAMES[lane->stage], lane->bucket, lane->entered, time);
        lane->entered = time;
    }
    lane->stage = stage;
}

static Status enter_ring(Exchange *exchange, Lane *lane, Error *error)
{
    enter(exchange, lane, STAGE_RING);
    if (exchange->kind == ALLREDUCE_MPI) {
        RingPart bucket = exchange->buckets[lane->bucket];
        int code = MPI_Iallreduce(MPI_IN_PLACE, exchange->own_grads + bucket.begin, (int)(bucket.end - bucket.begin),
                                  MPI_FLOAT, MPI_SUM, exchange->topology.flat, &lane->request);
        return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "MPI_Iallreduce", error);
    }
    if (carries(exchange))
        ring_start(&lane->ring, exchange->zero ? RING_REDUCE : RING_ALL, total_of(exchange), exchange->residual,
                   lane->parts);
    return STATUS_OK;
}

static Status start_bucket(Exchange *exchange, Lane *lane, int bucket, Error *error)
{
    lane->bucket = bucket;
    plan(exchange, lane);
    lane->added = 0;
    if (exchange->own_grads) return enter_ring(exchange, lane, error);
    enter(exchange, lane, STAGE_ARRIVE);
    return STATUS_OK;
}

static void add_block(Exchange *exchange, Lane *lane)
{
    int64_t begin = lane->region.begin + lane->added, end = begin + ADD_BLOCK;
    if (end > lane->region.end) end = lane->region.end;
    node_sum(&exchange->node, begin, end);
    lane->added = end - lane->region.begin;
}

static void leave_ring(Exchange *exchange, Lane *lane)
{
    if (exchange->own_grads) {
        enter(exchange, lane, STAGE_FREE);
        exchange->finished++;
        return;
    }
    node_mark(&exchange->node, NODE_DONE, lane->bucket, exchange->step);
    enter(exchange, lane, STAGE_SHARE);
}

static Status ring_stage(Exchange *exchange, Lane *lane, bool *moved, Error *error)
{
    int over = 1;
    if (exchange->kind == ALLREDUCE_MPI) {
        int code = MPI_Test(&lane->request, &over, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS) return world_mpi_failed(code, "MPI_Iallreduce", error);
    } else if (carries(exchange)) {
        Status status = ring_progress(&lane->ring, moved, error);
        if (status != STATUS_OK) return status;
        over = ring_done(&lane->ring);
    }
    if (!over) return STATUS_OK;
    leave_ring(exchange, lane);
    *moved = true;
    return STATUS_OK;
}

static Status lane_progress(Exchange *exchange, Lane *lane, bool *moved, Error *error)
{
    const Node *node = &exchange->node;
    int missing;
    switch (lane->stage) {
    case STAGE_FREE:
        return STATUS_OK;
    case STAGE_ARRIVE:
        if (!node_all(node, NODE_READY, lane->bucket, exchange->step, node->size, &missing)) return STATUS_OK;
        enter(exchange, lane, STAGE_ADD);
        *moved = true;
        return STATUS_OK;
    case STAGE_ADD:
        add_block(exchange, lane);
        *moved = true;
        return lane->region.begin + lane->added == lane->region.end ? enter_ring(exchange, lane, error) : STATUS_OK;
    case STAGE_RING:
        return ring_stage(exchange, lane, moved, error);
    case STAGE_SHARE:
        if (!node_all(node, NODE_DONE, lane->bucket, exchange->step, carrier_count(exchange), &missing))
            return STATUS_OK;
        enter(exchange, lane, STAGE_FREE);
        exchange->finished++;
        *moved = true;
        return STATUS_OK;
    }
    return STATUS_OK;
}

/* ---- one step */

void exchange_begin(Exchange *exchange)
{
    exchange->step++;
    exchange->announced = exchange->started = exchange->finished = 0;
}

bool exchange_done(const Exchange *exchange)
{
    return exchange->finished == exchange->bucket_count;
}

Status exchange_progress(Exchange *exchange, int ready, bool *moved, Error *error)
{
    if (!exchange->own_grads)
        for (; exchange->announced < ready; exchange->announced++)
            node_mark(&exchange->node, NODE_READY, exchange->announced, exchange->step);
    Status status = STATUS_OK;
    while (status == STATUS_OK && exchange->started < ready) {
        Lane *lane = &exchange->lanes[exchange->started % EXCHANGE_LANES];
        if (lane->stage != STAGE_FREE) break;
        status = start_bucket(exchange, lane, exchange->started++, error);
        *moved = true;
    }
    for (int i = 0; i < EXCHANGE_LANES && status == STATUS_OK; i++)
        status = lane_progress(exchange, &exchange->lanes[i], moved, error);
    return status;
}

/* ---- for the watchdog */

int exchange_oldest(const Exchange *exchange)
{
    int oldest = -1;
    for (int i = 0; i < EXCHANGE_LANES; i++) {
        const Lane *lane = &exchange->lanes[i];
        if (lane->stage != STAGE_FREE && (oldest < 0 || lane->bucket < oldest)) oldest = lane->bucket;
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

int exchange_waits_for(const Exchange *exchange)
{
    int bucket = exchange_oldest(exchange), missing = 0;
    if (bucket < 0) return -1;
    const Lane *lane = &exchange->lanes[bucket % EXCHANGE_LANES];
    const Node *node = &exchange->node;
    switch (lane->stage) {
    case STAGE_ARRIVE:
        node_all(node, NODE_READY, bucket, exchange->step, node->size, &missing);
        return translate(exchange->topology.node, missing, exchange->comm);
    case STAGE_SHARE:
        node_all(node, NODE_DONE, bucket, exchange->step, carrier_count(exchange), &missing);
        return translate(exchange->topology.node, missing, exchange->comm);
    case STAGE_RING:
        if (exchange->kind == ALLREDUCE_MPI) return -1;
        return translate(lane->ring.comm, ring_neighbour(&lane->ring), exchange->comm);
    default:
        return -1;
    }
}
