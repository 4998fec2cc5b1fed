/* What a block is: its parameters and its memory. */
#include "core/model/block_internal.h"

#include <math.h>

static void block_add_sum(Block *block, int64_t grad, int64_t count)
{
    if (grad < 0) return;
    block->row_sums[block->row_sum_count++] = (PartialSum){.at = block->row_sum_size, .count = count, .grad = grad};
    block->row_sum_size += (int64_t)floats_padded((size_t)count);
}

static void list_sums(Block *block)
{
    if (block->linear.weight >= 0) block_add_sum(block, block->linear.bias, block->linear.out);
    if (block->transition) return;
    block_add_sum(block, block->fc2.bias, block->dim);
    block_add_sum(block, block->fc1.bias, block->fc1.out);
    block_add_sum(block, block->norm2.weight, block->dim);
    block_add_sum(block, block->norm2.bias, block->dim);
    block_add_sum(block, block->proj.bias, block->dim);
    block_add_sum(block, block->norm1.weight, block->dim);
    block_add_sum(block, block->norm1.bias, block->dim);
    for (int i = 0; i < block->qkv_parts; i++) block_add_sum(block, block->qkv[i].bias, block->qkv[i].out);
    if (!block->ghost) return;
    for (int i = 0; i < 3; i++) block_add_sum(block, block->widen[i], block->dim / 2);
    for (int i = 0; i < 2; i++) block_add_sum(block, block->expand[i], block->dim);
}

static void find_attention(Block *block, ParamLookup *lookup)
{
    int dim = block->dim;
    if (!block->ghost) {
        block->qkv[0] = find_linear(lookup, "attn.qkv", dim, 3 * dim);
        block->qkv_parts = 1;
        return;
    }
    static const char *const PHASES[] = {"attn.q", "attn.k", "attn.v"};
    static const char *const FACTORS[] = {"attn.cheap_operation_q.weight", "attn.cheap_operation_k.weight",
                                          "attn.cheap_operation_v.weight"};
    for (int i = 0; i < 3; i++) {
        block->qkv[i] = find_linear(lookup, PHASES[i], dim, dim / 2);
        block->widen[i] = find_offset(lookup, FACTORS[i]);
    }
    block->qkv_parts = 3;
}

void block_build(Block *block, ParamLookup *lookup, const ModelConfig *config, const BlockShape *shape, int layer,
                 int tokens)
{
    int dim = shape->width_in;
    *block = (Block){.layer = layer, .tokens = tokens, .dim = dim, .out = shape->width_out};
    block->linear.weight = -1;
    if (shape->transition) {
        block->transition = true;
        block->linear = find_linear(lookup, "linear", dim, block->out);
        list_sums(block);
        return;
    }
    block->ghost = config->variant == VARIANT_GHOST;
    block->se = config->variant == VARIANT_SE;
    block->dense = config->variant == VARIANT_DENSE;
    block->heads = config->num_heads;
    block->scale = (float)(config->qk_scale > 0 ? config->qk_scale : 1.0 / sqrt((double)dim / block->heads));
    block->drop = config->drop;
    block->attn_drop = config->attn_drop;
    block->drop_path = shape->drop_path;
    block->norm1 = find_norm(lookup, "norm1", dim, config->norm_eps);
    block->norm2 = find_norm(lookup, "norm2", dim, config->norm_eps);
    find_attention(block, lookup);
    block->proj = find_linear(lookup, "attn.proj", dim, dim);
    block->fc1 = find_linear(lookup, "mlp.fc1", dim, block->ghost ? dim : shape->hidden);
    block->fc2 = find_linear(lookup, "mlp.fc2", shape->hidden, dim);
    if (block->dense) block->linear = find_linear(lookup, "dense_linear", dim, block->out - dim);
    if (block->se) {
        block->se_hidden = dim / 16;
        block->se1 = find_offset(lookup, "attn.se_layer.fc.0.weight");
        block->se2 = find_offset(lookup, "attn.se_layer.fc.2.weight");
    }
    if (block->ghost) {
        block->expand[0] = find_offset(lookup, "mlp.cheap_operation2.weight");
        block->expand[1] = find_offset(lookup, "mlp.cheap_operation3.weight");
    }
    list_sums(block);
}

int block_linears(Block *block, Linear **out)
{
    int count = 0;
    if (block->linear.weight >= 0) out[count++] = &block->linear;
    if (block->transition) return count;
    for (int i = 0; i < block->qkv_parts; i++) out[count++] = &block->qkv[i];
    out[count++] = &block->proj;
    out[count++] = &block->fc1;
    out[count++] = &block->fc2;
    return count;
}

void block_carve_saved(Block *block, Arena *arena, int batch)
{
    BlockSaved *saved = &block->saved;
    size_t rows = (size_t)batch * (size_t)block->tokens, dim = (size_t)block->dim;
    size_t later = block->class_only ? (size_t)batch : rows; /* rows after attention */
    bool half = block->half;
    if (block->transition) {
        saved->hidden = stored_carve(arena, rows * (size_t)block->out, false);
        return;
    }
    saved->mean1 = arena_floats(arena, rows);
    saved->rstd1 = arena_floats(arena, rows);
    saved->mean2 = arena_floats(arena, later);
    saved->rstd2 = arena_floats(arena, later);
    if (block->class_only) {
        saved->class_q = arena_floats(arena, later * dim);
        saved->class_folded = arena_floats(arena, later * (size_t)block->heads * dim);
        saved->class_context = arena_floats(arena, later * (size_t)block->heads * dim);
    } else {
        if (half) saved->x = stored_carve(arena, rows * dim, true);
        saved->qkv = stored_carve(arena, rows * 3 * dim, half);
    }
    saved->attention = stored_carve(arena, later * dim, half);
    saved->lse = arena_floats(arena, later * (size_t)block->heads);
    saved->residual_mid = stored_carve(arena, later * dim, half);
    if (!block->recompute_hidden) saved->hidden = stored_carve(arena, later * (size_t)block->fc1.out, half);
    saved->kept_memory = arena_carve(arena, BRANCHES * drop_path_ints(batch) * sizeof(int));
    if (block->se) {
        saved->projected = arena_floats(arena, rows * dim);
        saved->squeeze = arena_floats(arena, (size_t)batch * (size_t)(2 * block->dim + block->se_hidden));
    }
    if (block->dense) saved->y = arena_floats(arena, rows * dim);
}

void block_carve_buffers(Block *block, BlockBuffers *buffers, Arena *arena, int batch)
{
    size_t rows = (size_t)batch * (size_t)block->tokens, dim = (size_t)block->dim, sums = 0;
    Linear *linears[MAX_BLOCK_LINEARS];
    int count = block_linears(block, linears);
    for (int i = 0; i < count; i++) sums += weight_grads_partials((int64_t)rows, linears[i]);
    int64_t tiles = block->class_only ? class_tile_count(batch) : tile_count((int64_t)rows);
    buffers->weight_sums = arena_floats(arena, sums);
    buffers->row_sums = arena_floats(arena, (size_t)(tiles * block->row_sum_size));
    if (block->transition) return;
    if (block->class_only) {
        buffers->class_norm = arena_floats(arena, (size_t)batch * dim);
        buffers->class_dq = arena_floats(arena, (size_t)batch * dim);
        buffers->class_dfolded = arena_floats(arena, (size_t)batch * (size_t)block->heads * dim);
    }
    size_t later = block->class_only ? (size_t)batch : rows; /* rows after attention */
    bool half = block->half;
    buffers->dz_mlp = stored_carve(arena, later * dim, half);
    buffers->dz_attention = stored_carve(arena, later * dim, half);
    buffers->act = stored_carve(arena, later * (size_t)block->fc2.in, half);
    buffers->norm = stored_carve(arena, later * dim, half);
    buffers->dattention = stored_carve(arena, later * dim, half);
    buffers->dqkv = block->ghost ? stored_carve(arena, rows * 3 * dim, half) : block->saved.qkv;
    buffers->gate_sums = arena_floats(arena, (size_t)batch * 2 * dim * (size_t)block->se_hidden);
}

size_t block_scratch(const Block *block)
{
    if (block->transition) return 0;
    if (block->class_only) return class_scratch(block);
    size_t rows = ROW_TILE * (size_t)(4 * block->dim + (block->half ? 3 : 1) * block->fc2.in), dim = (size_t)block->dim;
    size_t heads = attention_scratch(block->tokens, block->dim / block->heads);
    if (block->half) heads += HEAD_MATRICES * block_head_floats(block);
    size_t gate = 2 * dim + (size_t)block->se_hidden;
    return floats_padded(rows > heads ? rows : heads) + floats_padded(gate);
}
