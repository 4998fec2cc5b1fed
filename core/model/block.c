#include "core/model/block_internal.h"

#include <math.h>
#include <string.h>

#include "core/kernels/ghost.h"

/* ---- building */

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

/* ---- forward */

typedef struct ForwardJob {
    Block *block;
    const StepContext *step;
    const float *x;
    float *out;
    int64_t rows;
} ForwardJob;

int block_tile_rows(int64_t rows, int64_t tile)
{
    int64_t left = rows - tile * ROW_TILE;
    return (int)(left < ROW_TILE ? left : ROW_TILE);
}

static void block_qkv_task(void *context, int64_t task, int thread)
{
    const ForwardJob *job = context;
    const Block *block = job->block;
    const StepContext *step = job->step;
    const BlockSaved *saved = &block->saved;
    const DropPathMask *kept = &saved->kept[BRANCH_ATTENTION];
    int64_t first = task * ROW_TILE;
    int rows = block_tile_rows(job->rows, task), dim = block->dim;
    Span span = kept_rows(kept, first, rows);
    float *norm = step_scratch(step, thread), *rest = norm + (int64_t)ROW_TILE * dim;
    float *qkv = stored_write(saved->qkv, span.first * 3 * dim, rest);
    const float *x = stored_rounded(step->kernels, saved->x, first * dim, rows, dim, job->x + first * dim, rest);
    if (span.rows == 0) return;
    norm_forward(step, &block->norm1, kept, first, rows, x, dim, norm, saved->mean1 + span.first,
                 saved->rstd1 + span.first);
    step_charge(step, thread, PHASE_NORMS);
    for (int i = 0; i < block->qkv_parts; i++) {
        const Linear *linear = &block->qkv[i];
        float *part = qkv + (int64_t)i * dim;
        linear_forward(step, linear, span.rows, norm, dim, part, 3 * dim);
        if (linear->bias >= 0)
            step->kernels->add_bias(span.rows, linear->out, step->weights + linear->bias, part, 3 * dim);
        if (block->ghost) ghost_widen(span.rows, dim / 2, step->weights + block->widen[i], part, 3 * dim);
    }
    stored_end(step->kernels, saved->qkv, span.first * 3 * dim, span.rows, 3 * dim, qkv);
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

static void block_attention_task(void *context, int64_t task, int thread)
{
    const ForwardJob *job = context;
    const Block *block = job->block;
    const Kernels *kernels = job->step->kernels;
    float *scratch = step_scratch(job->step, thread);
    size_t matrix = block->half ? block_head_floats(block) : 0;
    AttentionHead head = block_head(block, job->step, task, scratch);
    int64_t at = task / block->heads * block->tokens * block->dim + task % block->heads * head.width;
    float *out = stored_write(block->saved.attention, at, scratch + 3 * matrix);
    attention_forward(kernels, &head, 0, head.tokens, out, block->half ? head.width : block->dim,
                      block->saved.lse + task * block->tokens, scratch + HEAD_MATRICES * matrix);
    stored_end_part(kernels, block->saved.attention, at, head.tokens, head.width, block->dim, out);
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

static void se_project_task(void *context, int64_t task, int thread)
{
    (void)thread;
    const ForwardJob *job = context;
    const Block *block = job->block;
    int64_t first = task * ROW_TILE;
    int rows = block_tile_rows(block_rows(block, BRANCH_ATTENTION), task), dim = block->dim;
    float *y = block->saved.projected + first * dim;
    linear_forward(job->step, &block->proj, rows, stored_floats(block->saved.attention) + first * dim, dim, y, dim);
    job->step->kernels->add_bias(rows, dim, linear_bias(job->step, &block->proj), y, dim);
}

static void se_gate_task(void *context, int64_t image, int thread)
{
    (void)thread;
    const ForwardJob *job = context;
    const Block *block = job->block;
    Gate gate = block_gate(block, job->step);
    float *mean = block->saved.squeeze + image * (2 * block->dim + block->se_hidden);
    gate_forward(&gate, block->saved.projected + image * block->tokens * block->dim, block->dim, mean,
                 mean + 2 * block->dim, mean + block->dim);
}

/* y (rows, dim) = projected * gate of each row's image; rows of the dense ones */
static void se_multiply(const Block *block, Span span, float *y)
{
    for (int r = 0; r < span.rows; r++) {
        int64_t row = span.first + r, image = row / block->tokens;
        const float *gate = block->saved.squeeze + image * (2 * block->dim + block->se_hidden) + block->dim;
        const float *from = block->saved.projected + row * block->dim;
        for (int c = 0; c < block->dim; c++) y[(int64_t)r * block->dim + c] = from[c] * gate[c];
    }
}

/* From fc1's output (with its bias) to fc2's input. */
void block_activate(const Block *block, const StepContext *step, int64_t first, int rows, const float *hidden,
                    float *act)
{
    const DropPathMask *kept = &block->saved.kept[BRANCH_MLP];
    if (block->ghost)
        ghost_expand(step->kernels, kept_rows(kept, first, rows).rows, block->dim, hidden, block->dim,
                     step->weights + block->expand[0], step->weights + block->expand[1], act, 3 * block->dim);
    dropout_rows(step, block->layer, SITE_HIDDEN, block->drop, kept, first, rows, block->fc2.in, act);
}

/* From attention's output to residual_mid (rows, dim). */
static void attention_end(const ForwardJob *job, int64_t first, int rows, float *residual_mid, float *scratch,
                          int thread)
{
    const Block *block = job->block;
    const BlockSaved *saved = &block->saved;
    int dim = block->dim;
    Span span = kept_rows(&saved->kept[BRANCH_ATTENTION], first, rows);
    ResidualBranch branch = block_branch(block, BRANCH_ATTENTION);
    const float *bias = block->se ? NULL : linear_bias(job->step, &block->proj);
    if (block->se)
        se_multiply(block, span, scratch);
    else if (span.rows > 0)
        linear_forward_stored(job->step, &block->proj, span.rows, saved->attention, span.first * dim, dim, scratch,
                              dim);
    step_charge(job->step, thread, block->se ? PHASE_NORMS : PHASE_LINEARS);
    residual_forward(job->step, &branch, first, rows, dim, scratch, bias, job->x + first * dim, dim, residual_mid, dim);
    step_charge(job->step, thread, PHASE_NORMS);
}

/* From residual_mid (rows, dim) to fc2's output without its bias, in branch_out (kept rows, dim). */
static void mlp(const ForwardJob *job, int64_t first, int rows, const float *residual_mid, float *branch_out,
                float *scratch, int thread)
{
    const Block *block = job->block;
    const StepContext *step = job->step;
    const Kernels *k = step->kernels;
    const BlockSaved *saved = &block->saved;
    const DropPathMask *kept = &saved->kept[BRANCH_MLP];
    int dim = block->dim, width = block->fc1.out;
    Span span = kept_rows(kept, first, rows);
    float *norm = scratch, *rounded = norm + (int64_t)ROW_TILE * dim, *act = rounded + (int64_t)ROW_TILE * dim;
    float *hidden = stored_write(saved->hidden, span.first * width, act + (int64_t)ROW_TILE * block->fc2.in);
    const float *in = stored_rounded(k, saved->residual_mid, first * dim, rows, dim, residual_mid, rounded);
    if (span.rows == 0) return;
    norm_forward(step, &block->norm2, kept, first, rows, in, dim, norm, saved->mean2 + span.first,
                 saved->rstd2 + span.first);
    step_charge(step, thread, PHASE_NORMS);
    linear_forward(step, &block->fc1, span.rows, norm, dim, hidden, width);
    step_charge(step, thread, PHASE_LINEARS);
    if (block->ghost)
        k->add_bias(span.rows, width, linear_bias(step, &block->fc1), hidden, width);
    else
        k->bias_gelu(span.rows, width, linear_bias(step, &block->fc1), hidden, width, act, block->fc2.in);
    stored_end(k, saved->hidden, span.first * width, span.rows, width, hidden);
    block_activate(block, step, first, rows, hidden, act);
    step_charge(step, thread, PHASE_NORMS);
    linear_forward(step, &block->fc2, span.rows, act, block->fc2.in, branch_out, dim);
    step_charge(step, thread, PHASE_LINEARS);
}

static void block_rest_task(void *context, int64_t task, int thread)
{
    const ForwardJob *job = context;
    const Block *block = job->block;
    const StepContext *step = job->step;
    int64_t first = task * ROW_TILE;
    int rows = block_tile_rows(job->rows, task), dim = block->dim;
    float *scratch = step_scratch(step, thread), *y = (block->dense ? block->saved.y : job->out) + first * dim;
    float *rest = scratch + (int64_t)ROW_TILE * dim,
          *residual_mid = stored_write(block->saved.residual_mid, first * dim, rest);
    ResidualBranch branch = block_branch(block, BRANCH_MLP);
    if (block->half) rest += (int64_t)ROW_TILE * dim;
    attention_end(job, first, rows, residual_mid, scratch, thread);
    mlp(job, first, rows, residual_mid, scratch, rest, thread);
    residual_forward(step, &branch, first, rows, dim, scratch, linear_bias(step, &block->fc2), residual_mid, dim, y,
                     dim);
    step_charge(step, thread, PHASE_NORMS);
    if (!block->dense) return;
    float *out = job->out + first * block->out;
    for (int r = 0; r < rows; r++)
        memcpy(out + (int64_t)r * block->out, job->x + (first + r) * dim, (size_t)dim * sizeof(float));
    linear_forward(step, &block->linear, rows, y, dim, out + dim, block->out);
    step->kernels->add_bias(rows, block->linear.out, linear_bias(step, &block->linear), out + dim, block->out);
}

static void block_transition_task(void *context, int64_t task, int thread)
{
    (void)thread;
    const ForwardJob *job = context;
    const Block *block = job->block;
    int64_t first = task * ROW_TILE;
    int rows = block_tile_rows(job->rows, task);
    float *hidden = stored_floats(block->saved.hidden) + first * block->out;
    linear_forward(job->step, &block->linear, rows, job->x + first * block->dim, block->dim, hidden, block->out);
    job->step->kernels->bias_gelu(rows, block->out, linear_bias(job->step, &block->linear), hidden, block->out,
                                  job->out + first * block->out, block->out);
}

void block_forward(Block *block, const StepContext *step, const float *x, float *out)
{
    ForwardJob job = {.block = block, .step = step, .x = x, .out = out, .rows = (int64_t)step->batch * block->tokens};
    int64_t tiles = tile_count(job.rows);
    if (block->transition) {
        step_run(step, tiles, block_transition_task, &job, PHASE_LINEARS);
        return;
    }
    DropPathMask *kept = block->saved.kept;
    for (int i = 0; i < BRANCHES; i++)
        kept[i] = drop_path_sample(step, block->layer, i, block->drop_path, block->tokens,
                                   block->saved.kept_memory + (size_t)i * drop_path_ints(step->batch));
    if (block->class_only) {
        class_block_forward(block, step, x, out);
        return;
    }
    int64_t images = kept[BRANCH_ATTENTION].count;
    step_run(step, tiles, block_qkv_task, &job, PHASE_LINEARS);
    step_run(step, images * block->heads, block_attention_task, &job, PHASE_ATTENTION);
    if (block->se) {
        step_run(step, tile_count(images * block->tokens), se_project_task, &job, PHASE_LINEARS);
        step_run(step, images, se_gate_task, &job, PHASE_NORMS);
    }
    step_run(step, tiles, block_rest_task, &job, PHASE_LINEARS);
}
