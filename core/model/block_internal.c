#include "core/model/block_internal.h"

float *block_sum(const Block *block, float *sums, int64_t grad)
{
    for (int i = 0; i < block->row_sum_count; i++)
        if (block->row_sums[i].grad == grad) return sums + block->row_sums[i].at;
    return NULL;
}

int block_tile_rows(int64_t rows, int64_t tile)
{
    int64_t left = rows - tile * ROW_TILE;
    return (int)(left < ROW_TILE ? left : ROW_TILE);
}

int64_t block_rows(const Block *block, int which)
{
    return (int64_t)block->saved.kept[which].count * block->tokens;
}

uint64_t block_head_key(const Block *block, const StepContext *step, int64_t image, int head)
{
    int in_batch = block->saved.kept[BRANCH_ATTENTION].images[image];
    Rng rng = {.key = site_key(step, in_batch, block->layer, SITE_ATTENTION)};
    return rng_split(rng, (uint64_t)head).key;
}

size_t block_head_floats(const Block *block)
{
    return floats_padded((size_t)block->tokens * (size_t)(block->dim / block->heads));
}

AttentionHead block_head(const Block *block, const StepContext *step, int64_t task, float *scratch)
{
    int64_t image = task / block->heads, head = task % block->heads;
    int width = block->dim / block->heads, ld = 3 * block->dim;
    int64_t q = image * block->tokens * ld + head * width;
    const float *parts[3];
    for (int i = 0; i < 3; i++)
        parts[i] = stored_read_part(step->kernels, block->saved.qkv, q + (int64_t)i * block->dim, block->tokens, width,
                                    ld, scratch + (size_t)i * block_head_floats(block));
    AttentionHead at = {.tokens = block->tokens,
                        .width = width,
                        .scale = block->scale,
                        .q = parts[0],
                        .k = parts[1],
                        .v = parts[2],
                        .ld = block->half ? width : ld};
    if (step->training && block->attn_drop > 0) {
        at.key = block_head_key(block, step, image, (int)head);
        at.drop = block->attn_drop;
    }
    return at;
}

ResidualBranch block_branch(const Block *block, int which)
{
    return (ResidualBranch){.layer = block->layer,
                            .site = which == BRANCH_ATTENTION ? SITE_PROJECTION : SITE_OUTPUT,
                            .drop = block->drop,
                            .kept = block->saved.kept[which]};
}

Gate block_gate(const Block *block, const StepContext *step)
{
    return (Gate){.tokens = block->tokens,
                  .dim = block->dim,
                  .hidden = block->se_hidden,
                  .w1 = step->weights + block->se1,
                  .w2 = step->weights + block->se2};
}
