#include "dist/comm/tree_shape.h"

TreeShape tree_shape(int ranks)
{
    TreeShape shape = {.participants = 1, .lanes = 1};
    for (; shape.participants * 2 <= ranks; shape.participants *= 2) shape.log++;
    shape.pairs = ranks - shape.participants;
    if (shape.pairs > 0) shape.lanes = TREE_LANES;
    return shape;
}

int tree_participant(TreeShape shape, int rank)
{
    return rank < 2 * shape.pairs ? rank / 2 : rank - shape.pairs;
}

int tree_rank(TreeShape shape, int lane, int participant)
{
    return participant < shape.pairs ? 2 * participant + lane : participant + shape.pairs;
}

static int reversed(int value, int bits)
{
    int result = 0;
    for (int i = 0; i < bits; i++) result |= (value >> i & 1) << (bits - 1 - i);
    return result;
}

int tree_places(int ranks)
{
    TreeShape shape = tree_shape(ranks);
    return shape.lanes * shape.participants;
}

/* Whether slices are counted at this place: those who are in both lanes have theirs in one of them, in turn. */
static bool has_slice(TreeShape shape, int lane, int participant)
{
    return shape.lanes == 1 || participant < shape.pairs || participant % TREE_LANES == lane;
}

/* Slices that lie before a place. */
static int slices_before(TreeShape shape, int place)
{
    int count = 0;
    for (int p = 0; p < place; p++)
        count += has_slice(shape, p / shape.participants, reversed(p % shape.participants, shape.log));
    return count;
}

int tree_slice(int ranks, int rank)
{
    TreeShape shape = tree_shape(ranks);
    int participant = tree_participant(shape, rank);
    if (shape.lanes == 1) return reversed(participant, shape.log);
    int lane = participant < shape.pairs ? rank % 2 : participant % TREE_LANES;
    return slices_before(shape, lane * shape.participants + reversed(participant, shape.log));
}

void tree_split(int ranks, int64_t begin, int64_t end, int64_t *bounds)
{
    int places = tree_places(ranks);
    bounds[0] = begin;
    for (int p = 0; p < places; p++) bounds[p + 1] = ring_split(begin, end, p, places).end;
}

void tree_split_slices(int ranks, RingPart range, const int64_t *slice_ends, int64_t *bounds)
{
    TreeShape shape = tree_shape(ranks);
    int slice = 0;
    bounds[0] = range.begin;
    for (int p = 0; p < shape.lanes * shape.participants; p++) {
        int64_t end = bounds[p];
        if (has_slice(shape, p / shape.participants, reversed(p % shape.participants, shape.log)))
            end = slice_ends[slice++];
        if (end > range.end) end = range.end;
        bounds[p + 1] = end > bounds[p] ? end : bounds[p];
    }
}
