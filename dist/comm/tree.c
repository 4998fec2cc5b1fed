#include "dist/comm/tree.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "dist/comm/topology.h"
#include "dist/comm/world.h"

/* As in ring.c: messages that tcp sends at once between nodes, few and large ones within a node, where each is a system
 * call that copies. */
enum {
    LEAST_CHUNK = 2048,
    LINK_CHUNK = 15360,
    LINK_ROOM = RING_WINDOW * LINK_CHUNK,
    LINK_DOUBLING = 8192,
    COPY_CHUNK = 1 << 17,
    COPY_ROOM = 4 * COPY_CHUNK,
    COPY_DOUBLING = 2048
};

/* ---- life */

Status tree_create(Tree *tree, MPI_Comm comm, int tag, WireType wire, Error *error)
{
    *tree = (Tree){.comm = comm, .tag = 2 * tag, .wire = wire};
    MPI_Comm_rank(comm, &tree->rank);
    MPI_Comm_size(comm, &tree->size);
    tree->local = topology_within_node(comm);
    tree->max_chunk = tree->local ? COPY_CHUNK : LINK_CHUNK;
    tree->room = tree->local ? COPY_ROOM : LINK_ROOM;
    tree->doubling = tree->local ? COPY_DOUBLING : LINK_DOUBLING;
    TreeShape shape = tree_shape(tree->size);
    tree->lane_count = shape.lanes > 1 && tree->rank >= 2 * shape.pairs ? 2 : 1;
    size_t bytes = (size_t)tree->room * sizeof(float);
    for (int i = 0; i < tree->lane_count; i++) {
        TreeLane *lane = &tree->lanes[i];
        lane->index = tree->lane_count > 1 ? i : shape.lanes > 1 ? tree->rank % TREE_LANES : 0;
        for (int r = 0; r < 2 * RING_WINDOW; r++) lane->requests[r] = MPI_REQUEST_NULL;
        lane->memory = memory_alloc_aligned(64, (int64_t)bytes, 1, "a tree's buffers", error);
        if (!lane->memory) return STATUS_FAILED;
        memset(lane->memory, 0, bytes); /* no page faults later */
    }
    return STATUS_OK;
}

void tree_free(Tree *tree)
{
    for (int i = 0; i < TREE_LANES; i++) free(tree->lanes[i].memory);
    *tree = (Tree){0};
}

/* ---- the steps of a sum */

static int64_t length(RingPart part)
{
    return part.end - part.begin;
}

static void add_step(TreeLane *lane, TreeAction action, int partner, int tag, RingPart sent, RingPart received)
{
    lane->steps[lane->step_count++] = (TreeStep){action, partner, tag, sent, received, 0};
}

/* Halving, and the same steps backwards. */
static void plan_halving(TreeLane *lane, TreeShape shape, int tag, int participant, RingPhases phases,
                         const int64_t *bounds)
{
    RingPart kept[TREE_STEPS], left[TREE_STEPS];
    int which = lane->index, low = which * shape.participants, high = low + shape.participants;
    for (int k = 0; k < shape.log; k++) {
        int middle = (low + high) / 2;
        RingPart first = {bounds[low], bounds[middle]}, second = {bounds[middle], bounds[high]};
        bool upper = participant >> k & 1;
        kept[k] = upper ? second : first;
        left[k] = upper ? first : second;
        if (upper)
            low = middle;
        else
            high = middle;
        if (phases & RING_REDUCE)
            add_step(lane, TREE_ADD, tree_rank(shape, which, participant ^ 1 << k), tag, left[k], kept[k]);
    }
    lane->first_store = lane->step_count;
    for (int k = shape.log - 1; k >= 0 && phases & RING_GATHER; k--)
        add_step(lane, TREE_STORE, tree_rank(shape, which, participant ^ 1 << k), tag, kept[k], left[k]);
}

static void plan_lane(Tree *tree, TreeLane *lane, RingPhases phases, const int64_t *bounds)
{
    TreeShape shape = tree_shape(tree->size);
    int which = lane->index, participant = tree_participant(shape, tree->rank);
    int tag = tree->tag + which; /* a pair's own messages have the first lane's */
    bool paired = participant < shape.pairs;
    RingPart halves[TREE_LANES] = {{bounds[0], bounds[shape.participants]}};
    if (shape.lanes > 1) halves[1] = (RingPart){bounds[shape.participants], bounds[2 * shape.participants]};
    RingPart mine = halves[which], other = halves[1 - which];

    lane->step_count = 0;
    if (paired && phases & RING_REDUCE) add_step(lane, TREE_ADD, tree->rank ^ 1, tree->tag, other, mine);
    bool whole = phases & RING_REDUCE && tree->wire == WIRE_FP32 && length(mine) <= tree->doubling;
    if (whole) {
        for (int k = 0; k < shape.log; k++)
            add_step(lane, TREE_EXCHANGE, tree_rank(shape, which, participant ^ 1 << k), tag, mine, mine);
        lane->first_store = lane->step_count;
    } else {
        plan_halving(lane, shape, tag, participant, phases, bounds);
    }
    if (paired && phases & RING_GATHER) add_step(lane, TREE_STORE, tree->rank ^ 1, tree->tag, mine, other);
}

static RingPart part_of(const TreeStep *step, bool sending)
{
    return sending ? step->sent : step->received;
}

/* On to the first step that has something left. */
static void settle(const TreeLane *lane, TreeCursor *cursor, bool sending)
{
    while (cursor->step < lane->step_count && cursor->at >= length(part_of(&lane->steps[cursor->step], sending)))
        *cursor = (TreeCursor){cursor->step + 1, 0, cursor->messages};
}

static void advance(const Tree *tree, const TreeLane *lane, TreeCursor *cursor, bool sending)
{
    cursor->messages++;
    cursor->at += tree->chunk;
    settle(lane, cursor, sending);
}

static RingPart piece_at(const Tree *tree, const TreeLane *lane, const TreeCursor *cursor, bool sending)
{
    RingPart part = part_of(&lane->steps[cursor->step], sending);
    int64_t begin = part.begin + cursor->at, end = begin + tree->chunk;
    return (RingPart){begin, end < part.end ? end : part.end};
}

void tree_start(Tree *tree, RingPhases phases, float *vector, float *residual, const int64_t *bounds)
{
    int places = tree_places(tree->size);
    int64_t longest = (bounds[places] - bounds[0] + 1) / 2;
    /* Four messages or more keep receiving, adding and sending busy at once, where a link does the carrying. */
    int64_t chunk = tree->local || 2 * longest <= tree->doubling ? 2 * longest : longest / 4;
    chunk = chunk < LEAST_CHUNK ? LEAST_CHUNK : (chunk + 15) / 16 * 16;
    tree->chunk = chunk < tree->max_chunk ? chunk : tree->max_chunk;
    tree->window = tree->room / tree->chunk < RING_WINDOW ? (int)(tree->room / tree->chunk) : RING_WINDOW;
    tree->vector = vector;
    tree->residual = residual;
    for (int i = 0; i < tree->lane_count; i++) {
        TreeLane *lane = &tree->lanes[i];
        plan_lane(tree, lane, phases, bounds);
        int64_t messages = 0;
        for (int s = 0; s < lane->step_count; s++) {
            messages += (length(lane->steps[s].sent) + tree->chunk - 1) / tree->chunk;
            lane->steps[s].messages = messages;
        }
        lane->posted = lane->taken = lane->sent = (TreeCursor){0};
        lane->flushed = 0;
        settle(lane, &lane->posted, false);
        settle(lane, &lane->taken, false);
        settle(lane, &lane->sent, true);
    }
}

static bool lane_done(const TreeLane *lane)
{
    return lane->taken.step == lane->step_count && lane->sent.step == lane->step_count &&
           lane->flushed == lane->sent.messages;
}

bool tree_done(const Tree *tree)
{
    for (int i = 0; i < tree->lane_count; i++)
        if (!lane_done(&tree->lanes[i])) return false;
    return true;
}

int tree_neighbour(const Tree *tree)
{
    for (int i = 0; i < tree->lane_count; i++) {
        const TreeLane *lane = &tree->lanes[i];
        if (lane->taken.step < lane->step_count) return lane->steps[lane->taken.step].partner;
        if (!lane_done(lane)) return lane->steps[lane->step_count - 1].partner;
    }
    return tree->rank;
}

/* ---- messages; numbered per lane and direction, each in the request of its number modulo the window */

static MPI_Request *incoming(const Tree *tree, TreeLane *lane, int64_t message)
{
    return &lane->requests[message % tree->window];
}

static MPI_Request *outgoing(const Tree *tree, TreeLane *lane, int64_t message)
{
    return &lane->requests[RING_WINDOW + message % tree->window];
}

static void *incoming_buffer(const Tree *tree, const TreeLane *lane, int64_t message)
{
    return (char *)lane->memory + message % tree->window * tree->chunk * (int64_t)compressed_bytes(tree->wire);
}

static uint16_t *outgoing_buffer(const Tree *tree, const TreeLane *lane, int64_t message)
{
    return (uint16_t *)lane->memory + (tree->window + message % tree->window) * tree->chunk;
}

static MPI_Datatype element(const Tree *tree)
{
    return tree->wire == WIRE_FP32 ? MPI_FLOAT : MPI_UINT16_T;
}

static bool flushed_through(const TreeLane *lane, int step)
{
    return step < 0 || lane->flushed >= lane->steps[step].messages;
}

static Status lane_receive(Tree *tree, TreeLane *lane, bool *moved, Error *error)
{
    while (lane->posted.step < lane->step_count && lane->posted.messages - lane->taken.messages < tree->window) {
        const TreeStep *step = &lane->steps[lane->posted.step];
        bool in_place = step->action == TREE_STORE && tree->wire == WIRE_FP32;
        /* Final values come to where unfinished ones were sent from: those sends must be over. */
        if (in_place && !flushed_through(lane, lane->first_store - 1)) break;
        RingPart piece = piece_at(tree, lane, &lane->posted, false);
        void *target = in_place ? tree->vector + piece.begin : incoming_buffer(tree, lane, lane->posted.messages);
        int code = MPI_Irecv(target, (int)length(piece), element(tree), step->partner, step->tag, tree->comm,
                             incoming(tree, lane, lane->posted.messages));
        if (code != MPI_SUCCESS) return world_mpi_failed(code, "MPI_Irecv in the tree", error);
        advance(tree, lane, &lane->posted, false);
        *moved = true;
    }
    return STATUS_OK;
}

static void take_piece(Tree *tree, TreeLane *lane)
{
    const TreeStep *step = &lane->steps[lane->taken.step];
    RingPart piece = piece_at(tree, lane, &lane->taken, false);
    float *vector = tree->vector + piece.begin;
    const void *buffer = incoming_buffer(tree, lane, lane->taken.messages);
    if (step->action == TREE_STORE) {
        if (tree->wire != WIRE_FP32) floats_decompress(tree->wire, buffer, vector, length(piece));
        return;
    }
    /* The first step concerns all that this rank adds to: part of it comes in, the rest goes out. */
    if (tree->residual && lane->taken.step == 0) floats_add(vector, tree->residual + piece.begin, length(piece));
    if (tree->wire == WIRE_FP32)
        floats_add(vector, buffer, length(piece));
    else
        floats_decompress_add(tree->wire, buffer, vector, length(piece));
}

/* In the order of messages, so that sums do not depend on what MPI finishes first. */
static void lane_take(Tree *tree, TreeLane *lane, bool *moved)
{
    while (lane->taken.messages < lane->posted.messages &&
           *incoming(tree, lane, lane->taken.messages) == MPI_REQUEST_NULL) {
        int step = lane->taken.step;
        if (lane->steps[step].action == TREE_EXCHANGE && !flushed_through(lane, step)) return;
        take_piece(tree, lane);
        advance(tree, lane, &lane->taken, false);
        *moved = true;
    }
}

static void lane_flush(Tree *tree, TreeLane *lane, bool *moved)
{
    while (lane->flushed < lane->sent.messages && *outgoing(tree, lane, lane->flushed) == MPI_REQUEST_NULL) {
        lane->flushed++;
        *moved = true;
    }
}

/* Rounds a piece for the wire; each float once per rank and sum: what is left to others when it goes, what is owned when
 * it is complete. Final sums that are passed on lose nothing any more. */
static const void *pack_halves(Tree *tree, TreeLane *lane, RingPart piece)
{
    float *vector = tree->vector + piece.begin;
    float *residual = tree->residual ? tree->residual + piece.begin : NULL;
    bool final = lane->sent.step >= lane->first_store, own_sum = lane->sent.step == lane->first_store;
    uint16_t *halves = outgoing_buffer(tree, lane, lane->sent.messages);
    if (lane->sent.step == 0 && !final && residual) floats_add(vector, residual, length(piece));
    floats_compress(tree->wire, vector, !final || own_sum ? residual : NULL, halves, length(piece));
    if (own_sum) floats_decompress(tree->wire, halves, vector, length(piece)); /* the same bits as everybody else's */
    return halves;
}

static Status lane_send(Tree *tree, TreeLane *lane, bool *moved, Error *error)
{
    while (lane->sent.step < lane->step_count && lane->sent.messages - lane->flushed < tree->window &&
           lane->taken.step >= lane->sent.step) {
        const TreeStep *step = &lane->steps[lane->sent.step];
        RingPart piece = piece_at(tree, lane, &lane->sent, true);
        const void *source = tree->wire == WIRE_FP32 ? tree->vector + piece.begin : pack_halves(tree, lane, piece);
        int code = MPI_Isend(source, (int)length(piece), element(tree), step->partner, step->tag, tree->comm,
                             outgoing(tree, lane, lane->sent.messages));
        if (code != MPI_SUCCESS) return world_mpi_failed(code, "MPI_Isend in the tree", error);
        advance(tree, lane, &lane->sent, true);
        *moved = true;
    }
    return STATUS_OK;
}

static Status lane_progress(Tree *tree, TreeLane *lane, bool *moved, Error *error)
{
    int finished, indices[2 * RING_WINDOW];
    MPI_Status statuses[2 * RING_WINDOW];
    int code = MPI_Testsome(2 * RING_WINDOW, lane->requests, &finished, indices, statuses);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "messages of the tree", error);
    lane_flush(tree, lane, moved);
    Status status = lane_receive(tree, lane, moved, error); /* early: what comes unexpected is copied once more */
    if (status) return status;
    lane_take(tree, lane, moved);
    return lane_send(tree, lane, moved, error);
}

Status tree_progress(Tree *tree, bool *moved, Error *error)
{
    Status status = STATUS_OK;
    for (int i = 0; i < tree->lane_count && !status; i++)
        if (!lane_done(&tree->lanes[i])) status = lane_progress(tree, &tree->lanes[i], moved, error);
    return status;
}

Status tree_allreduce(Tree *tree, float *vector, int64_t count, Error *error)
{
    int64_t *bounds = memory_alloc(tree_places(tree->size) + 1, sizeof *bounds, "the parts of a tree", error);
    if (!bounds) return STATUS_FAILED;
    tree_split(tree->size, 0, count, bounds);
    tree_start(tree, RING_ALL, vector, NULL, bounds);
    Status status = STATUS_OK;
    bool moved = false;
    while (!status && !tree_done(tree)) status = tree_progress(tree, &moved, error);
    free(bounds);
    return status;
}
