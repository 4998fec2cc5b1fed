#include "dist/train/leaves.h"

#include <stdlib.h>

#include "core/base/memory.h"
#include "core/optim/optim.h"
#include "dist/comm/ring.h"

enum { MERGE_TILE = 1 << 14 /* floats of a task */ };

Status leaves_create(Leaves *leaves, int workers, int place, int ranks, Error *error)
{
    *leaves = (Leaves){.workers = workers};
    int power = 1;
    while (power * 2 <= ranks && power * 2 <= workers) power *= 2;
    if (power != ranks)
        return error_set(
            error, STATUS_USAGE,
            "reproducible: %d gives the same bits on a power of two of ranks that is at most %d, not on %d: "
            "start %d that train%s",
            workers, workers, ranks, power, ranks > workers ? ", or set a larger `reproducible`, as a new run" : "");
    leaves->count = workers / ranks;
    leaves->first = place * leaves->count;
    while (1 << leaves->levels < leaves->count) leaves->levels++;
    leaves->figures = memory_alloc(2 * (int64_t)workers, sizeof *leaves->figures, "the workers' figures", error);
    return leaves->figures ? STATUS_OK : STATUS_FAILED;
}

void leaves_free(Leaves *leaves)
{
    free(leaves->figures);
    *leaves = (Leaves){0};
}

void leaves_carve(Leaves *leaves, Arena *arena, size_t size)
{
    for (int level = 0; level < leaves->levels; level++) leaves->subtrees[level] = arena_floats(arena, size);
}

/* Every other leaf waits for the next one. */
float *leaves_target(const Leaves *leaves, int leaf, float *grads)
{
    return leaf % 2 == 0 && leaf < leaves->count - 1 ? leaves->subtrees[0] : grads;
}

/* How many finished subtrees the leaf completes: the ones at the end of its number. */
static int completed(int leaf)
{
    int levels = 0;
    for (; leaf % 2 == 1; leaf /= 2) levels++;
    return levels;
}

typedef struct Merge {
    const Leaves *leaves;
    int levels;
    const float *leaf;
    float *sum;
    int64_t begin, end;
} Merge;

static void merge_tile(void *context, int64_t task, int thread)
{
    (void)thread;
    const Merge *merge = context;
    int64_t begin = merge->begin + task * MERGE_TILE, end = begin + MERGE_TILE;
    if (end > merge->end) end = merge->end;
    const float *from = merge->leaf;
    for (int level = 0; level < merge->levels; level++) {
        const float *waiting = merge->leaves->subtrees[level];
        for (int64_t i = begin; i < end; i++) merge->sum[i] = from[i] + waiting[i];
        from = merge->sum;
    }
}

void leaves_merge(const Leaves *leaves, Pool *pool, int leaf, float *grads, int64_t begin, int64_t end)
{
    const int levels = completed(leaf);
    if (levels == 0) return;
    Merge merge = {.leaves = leaves, .levels = levels, .leaf = grads, .begin = begin, .end = end};
    merge.sum = leaf < leaves->count - 1 ? leaves->subtrees[levels] : grads;
    pool_run(pool, (end - begin + MERGE_TILE - 1) / MERGE_TILE, merge_tile, &merge);
}

/* Slices of N ranks are those of W put together, since a cut at i/N is one at (i W/N)/W. */
void leaves_squares(Leaves *leaves, Pool *pool, const ParamTable *table, const float *total, int64_t begin, int64_t end)
{
    for (int i = 0; i < leaves->workers; i++) {
        RingPart slice = ring_split(0, table->size, i, leaves->workers);
        bool mine = slice.begin >= begin && slice.end <= end && slice.begin < slice.end;
        leaves->figures[leaves->workers + i] =
            mine ? optim_grad_squares(table, pool, total, slice.begin, slice.end) : 0;
    }
}
