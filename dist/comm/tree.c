#include "dist/comm/tree.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "dist/comm/topology.h"

enum { NETWORK_DOUBLING = 8192, NODE_DOUBLING = 2048 /* floats */ };

/* ---- life */

Status tree_create(Tree *tree, MPI_Comm comm, int tag, WireType wire, Error *error)
{
    *tree = (Tree){.tag = 2 * tag, .wire = wire};
    MPI_Comm_rank(comm, &tree->rank);
    MPI_Comm_size(comm, &tree->size);
    const bool local = topology_within_node(comm);
    tree->doubling = local ? NODE_DOUBLING : NETWORK_DOUBLING;
    TreeShape shape = tree_shape(tree->size);
    tree->lane_count = shape.lanes > 1 && tree->rank >= 2 * shape.pairs ? 2 : 1;
    Status status = STATUS_OK;
    for (int i = 0; i < tree->lane_count && !status; i++) {
        TreeLane *lane = &tree->lanes[i];
        lane->index = tree->lane_count > 1 ? i : shape.lanes > 1 ? tree->rank % TREE_LANES : 0;
        status = message_window_create(&lane->window, comm, local, wire, error);
    }
    return status;
}

void tree_free(Tree *tree)
{
    for (int i = 0; i < TREE_LANES; i++) message_window_free(&tree->lanes[i].window);
    *tree = (Tree){0};
}

void tree_long_messages(Tree *tree, bool longer)
{
    for (int i = 0; i < tree->lane_count; i++) message_window_long(&tree->lanes[i].window, longer);
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

static void advance(const TreeLane *lane, TreeCursor *cursor, bool sending)
{
    cursor->messages++;
    cursor->at += lane->window.chunk;
    settle(lane, cursor, sending);
}

static RingPart piece_at(const TreeLane *lane, const TreeCursor *cursor, bool sending)
{
    RingPart part = part_of(&lane->steps[cursor->step], sending);
    int64_t begin = part.begin + cursor->at, end = begin + lane->window.chunk;
    return (RingPart){begin, end < part.end ? end : part.end};
}

/* The longest part is half of all, give or take a block of 16; what may be exchanged whole should be one message. */
static void start_lane(Tree *tree, TreeLane *lane, RingPhases phases, const int64_t *bounds)
{
    MessageWindow *window = &lane->window;
    const int64_t count = bounds[tree_places(tree->size)] - bounds[0];
    int64_t chunk = message_window_chunk(window, count / 2 + 16);
    if (count <= tree->doubling && count <= window->max_chunk && count > chunk) chunk = count;
    message_window_set(window, chunk);
    plan_lane(tree, lane, phases, bounds);
    int64_t messages = 0;
    for (int s = 0; s < lane->step_count; s++) {
        messages += (length(lane->steps[s].sent) + window->chunk - 1) / window->chunk;
        lane->steps[s].messages = messages;
    }
    lane->posted = lane->taken = lane->sent = (TreeCursor){0};
    lane->flushed = 0;
    settle(lane, &lane->posted, false);
    settle(lane, &lane->taken, false);
    settle(lane, &lane->sent, true);
}

void tree_start(Tree *tree, RingPhases phases, float *vector, float *residual, const int64_t *bounds)
{
    tree->vector = vector;
    tree->residual = residual;
    for (int i = 0; i < tree->lane_count; i++) start_lane(tree, &tree->lanes[i], phases, bounds);
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

/* ---- messages; numbered per lane and direction */

static bool flushed_through(const TreeLane *lane, int step)
{
    return step < 0 || lane->flushed >= lane->steps[step].messages;
}

static Status lane_receive(Tree *tree, TreeLane *lane, bool *moved, Error *error)
{
    MessageWindow *window = &lane->window;
    while (lane->posted.step < lane->step_count && lane->posted.messages - lane->taken.messages < window->length) {
        const TreeStep *step = &lane->steps[lane->posted.step];
        bool in_place = step->action == TREE_STORE && tree->wire == WIRE_FP32;
        /* Final values come to where unfinished ones were sent from: those sends must be over. */
        if (in_place && !flushed_through(lane, lane->first_store - 1)) break;
        RingPart piece = piece_at(lane, &lane->posted, false);
        const int64_t message = lane->posted.messages;
        void *target = in_place ? tree->vector + piece.begin : message_window_buffer(window, message);
        Status status = message_window_receive(window, message, target, length(piece), step->partner, step->tag, error);
        if (status) return status;
        advance(lane, &lane->posted, false);
        *moved = true;
    }
    return STATUS_OK;
}

static void take_piece(Tree *tree, TreeLane *lane)
{
    const int64_t message = lane->taken.messages;
    RingPart piece = piece_at(lane, &lane->taken, false);
    float *vector = tree->vector + piece.begin;
    if (lane->steps[lane->taken.step].action == TREE_STORE) {
        if (tree->wire != WIRE_FP32)
            floats_decompress(tree->wire, message_window_buffer(&lane->window, message), vector, length(piece));
        return;
    }
    /* The first step concerns all that this rank adds to: part of it comes in, the rest goes out. */
    const float *residual = tree->residual && lane->taken.step == 0 ? tree->residual + piece.begin : NULL;
    message_window_add(&lane->window, message, vector, residual, length(piece));
}

/* In the order of messages, so that sums do not depend on what MPI finishes first. */
static void lane_take(Tree *tree, TreeLane *lane, bool *moved)
{
    while (lane->taken.messages < lane->posted.messages &&
           message_window_received(&lane->window, lane->taken.messages)) {
        int step = lane->taken.step;
        if (lane->steps[step].action == TREE_EXCHANGE && !flushed_through(lane, step)) return;
        take_piece(tree, lane);
        advance(lane, &lane->taken, false);
        *moved = true;
    }
}

static void lane_flush(TreeLane *lane, bool *moved)
{
    while (lane->flushed < lane->sent.messages && message_window_sent(&lane->window, lane->flushed)) {
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
    if (lane->sent.step == 0 && !final && residual) floats_add(vector, residual, length(piece));
    if (final && !own_sum) residual = NULL;
    return message_window_pack(&lane->window, lane->sent.messages, vector, residual, own_sum, length(piece));
}

static Status lane_send(Tree *tree, TreeLane *lane, bool *moved, Error *error)
{
    MessageWindow *window = &lane->window;
    while (lane->sent.step < lane->step_count && lane->sent.messages - lane->flushed < window->length &&
           lane->taken.step >= lane->sent.step) {
        const TreeStep *step = &lane->steps[lane->sent.step];
        RingPart piece = piece_at(lane, &lane->sent, true);
        const void *source = tree->wire == WIRE_FP32 ? tree->vector + piece.begin : pack_halves(tree, lane, piece);
        Status status =
            message_window_send(window, lane->sent.messages, source, length(piece), step->partner, step->tag, error);
        if (status) return status;
        advance(lane, &lane->sent, true);
        *moved = true;
    }
    return STATUS_OK;
}

static Status lane_progress(Tree *tree, TreeLane *lane, bool *moved, Error *error)
{
    Status status = message_window_test(&lane->window, error);
    if (status) return status;
    lane_flush(lane, moved);
    status = lane_receive(tree, lane, moved, error); /* early: what comes unexpected is copied once more */
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
