/* A block forwards. */
#include "core/model/block_internal.h"

#include <string.h>

#include "core/kernels/ghost.h"

typedef struct ForwardJob {
    Block *block;
    const StepContext *step;
    const float *x;
    float *out;
    int64_t rows;
} ForwardJob;

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
