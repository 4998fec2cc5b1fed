#include "core/model/block_internal.h"

#include <string.h>

#include "core/kernels/ghost.h"

typedef struct BackwardJob {
    Block *block;
    const StepContext *step;
    const BlockBuffers *buffers;
    const float *x;    /* (R, dim) */
    const float *dout; /* (R, out) */
    float *dx;         /* (R, dim): the gradient of the residual stream, from the block's end to its start */
    int64_t rows;
} BackwardJob;

static float *block_row_sum(const BackwardJob *job, int64_t tile, int64_t grad)
{
    return block_sum(job->block, job->buffers->row_sums + tile * job->block->row_sum_size, grad);
}

static void sum_bias(const BackwardJob *job, int64_t tile, const Linear *linear, int rows, const float *dy, int lddy)
{
    if (linear->bias < 0) return;
    job->step->kernels->column_sums(rows, linear->out, dy, lddy, block_row_sum(job, tile, linear->bias));
}

/* ---- regions, in the order they run */

static void dense_tile(const BackwardJob *job, int64_t tile, int64_t first, int rows)
{
    const Block *block = job->block;
    const float *dgrown = job->dout + first * block->out + block->dim;
    sum_bias(job, tile, &block->linear, rows, dgrown, block->out);
    linear_backward(job->step, &block->linear, rows, dgrown, block->out, 0.0f, job->dx + first * block->dim,
                    block->dim);
}

/* Back through GELU: from dact, the gradient of fc2's input (scratch), to that of fc1's output in hidden; fc2's input
 * again in act. All of them kept rows of rows `first` .. of the batch. */
static void activation_tile(const BackwardJob *job, int64_t tile, int64_t first, int rows, float *hidden, float *dact,
                            float *act, float *scratch)
{
    const Block *block = job->block;
    const StepContext *step = job->step;
    const DropPathMask *kept = &block->saved.kept[BRANCH_MLP];
    int width = block->fc2.in, dense = kept_rows(kept, first, rows).rows;
    dropout_rows(step, block->layer, SITE_HIDDEN, block->drop, kept, first, rows, width, dact);
    if (!block->ghost) {
        step->kernels->gelu_backward((int64_t)dense * width, hidden, dact, act, hidden);
        block_activate(block, step, first, rows, hidden, act);
        return;
    }
    block_activate(block, step, first, rows, hidden, act);
    ghost_expand_backward(step->kernels, dense, block->dim, hidden, block->dim, step->weights + block->expand[0],
                          step->weights + block->expand[1], dact, width, hidden,
                          block_row_sum(job, tile, block->expand[0]), block_row_sum(job, tile, block->expand[1]),
                          scratch);
}

/* fc1's output with its bias once more; norm (kept rows, dim) is scratch. */
static void hidden_tile(const BackwardJob *job, int64_t first, int rows, Span span, const float *residual_mid,
                        float *hidden, float *norm)
{
    const Block *block = job->block;
    const BlockSaved *saved = &block->saved;
    int dim = block->dim, width = block->fc1.out;
    norm_forward(job->step, &block->norm2, &saved->kept[BRANCH_MLP], first, rows, residual_mid, dim, norm,
                 saved->mean2 + span.first, saved->rstd2 + span.first);
    linear_forward(job->step, &block->fc1, span.rows, norm, dim, hidden, width);
    job->step->kernels->add_bias(span.rows, width, linear_bias(job->step, &block->fc1), hidden, width);
}

static void block_mlp_backward_tile(const BackwardJob *job, int64_t tile, int64_t first, int rows, int thread)
{
    const Block *block = job->block;
    const StepContext *step = job->step;
    const BlockSaved *saved = &block->saved;
    const DropPathMask *kept = &saved->kept[BRANCH_MLP];
    Span span = kept_rows(kept, first, rows);
    int dim = block->dim, width = block->fc1.out;
    const Kernels *k = step->kernels;
    const BlockBuffers *buffers = job->buffers;
    int64_t of_dim = span.first * dim, of_hidden = span.first * width, of_act = span.first * block->fc2.in;
    int64_t matrix = (int64_t)ROW_TILE * dim;
    float *dact = step_scratch(step, thread), *dnorm = dact + (int64_t)ROW_TILE * block->fc2.in;
    float *rest = dnorm + matrix, *wide = rest + 3 * matrix; /* half's tiles: three of dim, two as wide as the MLP */
    float *dz = stored_write(buffers->dz_mlp, of_dim, rest), *norm = stored_write(buffers->norm, of_dim, rest + matrix);
    float *act = stored_write(buffers->act, of_act, wide + (int64_t)ROW_TILE * width);
    float *hidden = stored_write(saved->hidden, of_hidden, wide), *stream = job->dx + first * dim;
    ResidualBranch branch = block_branch(block, BRANCH_MLP);
    if (span.rows == 0) return;
    residual_backward(step, &branch, first, rows, dim, stream, dim, dz);
    sum_bias(job, tile, &block->fc2, span.rows, dz, dim);
    stored_end(k, buffers->dz_mlp, of_dim, span.rows, dim, dz);
    step_charge(step, thread, PHASE_NORMS);
    linear_backward(step, &block->fc2, span.rows, dz, dim, 0.0f, dact, block->fc2.in);
    const float *residual_mid = stored_read(k, saved->residual_mid, first * dim, rows, dim, rest + 2 * matrix);
    if (block->recompute_hidden) {
        hidden_tile(job, first, rows, span, residual_mid, hidden, dnorm);
        stored_end(k, saved->hidden, of_hidden, span.rows, width, hidden);
    }
    stored_read(k, saved->hidden, of_hidden, span.rows, width, hidden);
    step_charge(step, thread, PHASE_LINEARS);
    activation_tile(job, tile, first, rows, hidden, dact, act, rest);
    stored_end(k, buffers->act, of_act, span.rows, block->fc2.in, act);
    stored_end(k, saved->hidden, of_hidden, span.rows, width, hidden);
    sum_bias(job, tile, &block->fc1, span.rows, hidden, width);
    step_charge(step, thread, PHASE_NORMS);
    linear_backward(step, &block->fc1, span.rows, hidden, width, 0.0f, dnorm, dim);
    step_charge(step, thread, PHASE_LINEARS);
    norm_backward(step, &block->norm2, kept, first, rows, residual_mid, dim, saved->mean2 + span.first,
                  saved->rstd2 + span.first, dnorm, norm, stream, dim, block_row_sum(job, tile, block->norm2.weight),
                  block_row_sum(job, tile, block->norm2.bias));
    stored_end(k, buffers->norm, of_dim, span.rows, dim, norm);
    step_charge(step, thread, PHASE_NORMS);
}

/* Rows `first` .. of the kept ones, from dz (rows, dim). */
static void proj_tile(const BackwardJob *job, int64_t tile, int64_t first, int rows, const float *dz, float *scratch)
{
    const Block *block = job->block;
    const Kernels *k = job->step->kernels;
    int dim = block->dim;
    float *dattention = stored_write(job->buffers->dattention, first * dim, scratch);
    if (rows == 0) return;
    sum_bias(job, tile, &block->proj, rows, dz, dim);
    linear_backward(job->step, &block->proj, rows, dz, dim, 0.0f, dattention, dim);
    stored_end(k, job->buffers->dz_attention, first * dim, rows, dim, dz);
    stored_end(k, job->buffers->dattention, first * dim, rows, dim, dattention);
}

static void block_upper_backward_task(void *context, int64_t tile, int thread)
{
    const BackwardJob *job = context;
    const Block *block = job->block;
    int64_t first = tile * ROW_TILE;
    int rows = block_tile_rows(job->rows, tile), dim = block->dim;
    memset(job->buffers->row_sums + tile * block->row_sum_size, 0, (size_t)block->row_sum_size * sizeof(float));
    if (block->dense) dense_tile(job, tile, first, rows);
    block_mlp_backward_tile(job, tile, first, rows, thread);
    ResidualBranch branch = block_branch(block, BRANCH_ATTENTION);
    Span span = kept_rows(&branch.kept, first, rows);
    float *scratch = step_scratch(job->step, thread);
    float *dz = stored_write(job->buffers->dz_attention, span.first * dim, scratch);
    residual_backward(job->step, &branch, first, rows, dim, job->dx + first * dim, dim, dz);
    if (!block->se) proj_tile(job, tile, span.first, span.rows, dz, scratch + (int64_t)ROW_TILE * dim);
}

/* SE: the gradient of proj's output from that of the gated one, in place, and the gate's weights. */
static void se_task(void *context, int64_t image, int thread)
{
    const BackwardJob *job = context;
    const Block *block = job->block;
    int dim = block->dim, hidden = block->se_hidden;
    int64_t first = image * block->tokens;
    float *dgate = step_scratch(job->step, thread), *drow = dgate + dim, *dsqueezed = drow + dim;
    float *dz = stored_floats(job->buffers->dz_attention) + first * dim;
    const float *y = block->saved.projected + first * dim;
    const float *mean = block->saved.squeeze + image * (2 * dim + hidden), *gate = mean + dim, *squeezed = gate + dim;
    float *dw1 = job->buffers->gate_sums + image * 2 * dim * hidden, *dw2 = dw1 + (int64_t)dim * hidden;
    memset(dgate, 0, (size_t)dim * sizeof(float));
    memset(dw1, 0, 2 * (size_t)dim * (size_t)hidden * sizeof(float));
    for (int t = 0; t < block->tokens; t++)
        for (int c = 0; c < dim; c++) dgate[c] += dz[(int64_t)t * dim + c] * y[(int64_t)t * dim + c];
    Gate at = block_gate(block, job->step);
    gate_backward(&at, mean, squeezed, gate, dgate, dw1, dw2, drow, dsqueezed);
    for (int t = 0; t < block->tokens; t++)
        for (int c = 0; c < dim; c++) dz[(int64_t)t * dim + c] = dz[(int64_t)t * dim + c] * gate[c] + drow[c];
}

static void proj_task(void *context, int64_t tile, int thread)
{
    (void)thread;
    const BackwardJob *job = context;
    int64_t first = tile * ROW_TILE;
    proj_tile(job, tile, first, block_tile_rows(block_rows(job->block, BRANCH_ATTENTION), tile),
              stored_floats(job->buffers->dz_attention) + first * job->block->dim, NULL);
}

static void block_attention_backward_task(void *context, int64_t task, int thread)
{
    const BackwardJob *job = context;
    const Block *block = job->block;
    const Kernels *k = job->step->kernels;
    float *scratch = step_scratch(job->step, thread);
    size_t matrix = block->half ? block_head_floats(block) : 0;
    AttentionHead head = block_head(block, job->step, task, scratch);
    int dim = block->dim, tokens = head.tokens, width = head.width;
    int64_t row = task / block->heads * tokens, column = task % block->heads * width, at = row * dim + column;
    const float *out = stored_read_part(k, block->saved.attention, at, tokens, width, dim, scratch + 3 * matrix);
    const float *dout = stored_read_part(k, job->buffers->dattention, at, tokens, width, dim, scratch + 4 * matrix);
    float *d[3]; /* in the place of q, k, v */
    for (int i = 0; i < 3; i++)
        d[i] =
            stored_write(job->buffers->dqkv, row * 3 * dim + column + (int64_t)i * dim, scratch + (size_t)i * matrix);
    attention_backward(k, &head, 0, tokens, out, dout, block->half ? width : dim, block->saved.lse + task * tokens,
                       d[0], block->half ? width : 3 * dim, d[1], d[2], block->half ? width : 3 * dim,
                       scratch + HEAD_MATRICES * matrix);
    for (int i = 0; i < 3; i++)
        stored_end_part(k, job->buffers->dqkv, row * 3 * dim + column + (int64_t)i * dim, tokens, width, 3 * dim, d[i]);
}

/* Of rows from element `at` of dqkv on: ghost's way back from both halves to the first, and the bias's sum. */
static void qkv_sums(const BackwardJob *job, int64_t tile, const Linear *linear, int part, int64_t at, int rows,
                     float *scratch)
{
    const Block *block = job->block;
    int ld = 3 * block->dim, half_ld = block->half ? block->dim : ld;
    Stored dqkv = job->buffers->dqkv;
    if (block->ghost)
        ghost_widen_backward(rows, block->dim / 2, job->step->weights + block->widen[part],
                             stored_floats(block->saved.qkv) + at, ld, stored_floats(dqkv) + at, ld,
                             block_row_sum(job, tile, block->widen[part]));
    if (linear->bias < 0) return;
    for (int c = 0; c < linear->out; c += block->dim) { /* scratch is as wide as a part */
        int cols = linear->out - c < block->dim ? linear->out - c : block->dim;
        const float *tile_at = stored_read_part(job->step->kernels, dqkv, at + c, rows, cols, ld, scratch);
        job->step->kernels->column_sums(rows, cols, tile_at, half_ld, block_row_sum(job, tile, linear->bias) + c);
    }
}

static void qkv_tile(const BackwardJob *job, int64_t tile, int64_t first, int rows, int thread)
{
    const Block *block = job->block;
    const StepContext *step = job->step;
    const BlockSaved *saved = &block->saved;
    const DropPathMask *kept = &saved->kept[BRANCH_ATTENTION];
    Span span = kept_rows(kept, first, rows);
    int dim = block->dim;
    const Kernels *k = step->kernels;
    float *dnorm = step_scratch(step, thread), *rest = dnorm + (int64_t)ROW_TILE * dim;
    float *norm = stored_write(job->buffers->norm, span.first * dim, rest);
    const float *x = block->half ? stored_read(k, saved->x, first * dim, rows, dim, rest + (int64_t)ROW_TILE * dim)
                                 : job->x + first * dim;
    if (span.rows == 0) return;
    for (int i = 0; i < block->qkv_parts; i++) {
        int64_t at = span.first * 3 * dim + (int64_t)i * dim;
        qkv_sums(job, tile, &block->qkv[i], i, at, span.rows, norm);
        linear_backward_stored(step, &block->qkv[i], span.rows, job->buffers->dqkv, at, 3 * dim, i > 0 ? 1.0f : 0.0f,
                               dnorm, dim);
    }
    step_charge(step, thread, PHASE_LINEARS);
    norm_backward(step, &block->norm1, kept, first, rows, x, dim, saved->mean1 + span.first, saved->rstd1 + span.first,
                  dnorm, norm, job->dx + first * dim, dim, block_row_sum(job, tile, block->norm1.weight),
                  block_row_sum(job, tile, block->norm1.bias));
    stored_end(k, job->buffers->norm, span.first * dim, span.rows, dim, norm);
    step_charge(step, thread, PHASE_NORMS);
}

static void block_qkv_backward_task(void *context, int64_t tile, int thread)
{
    const BackwardJob *job = context;
    const Block *block = job->block;
    int64_t first = tile * ROW_TILE;
    int rows = block_tile_rows(job->rows, tile), dim = block->dim;
    float *stream = job->dx + first * dim;
    qkv_tile(job, tile, first, rows, thread);
    if (block->dense) /* x went on beside what grew from it */
        job->step->kernels->residual(rows, dim, job->dout + first * block->out, block->out, NULL, 1.0f, stream, dim,
                                     stream, dim);
}

static void block_transition_backward_task(void *context, int64_t tile, int thread)
{
    (void)thread;
    const BackwardJob *job = context;
    const Block *block = job->block;
    int64_t first = tile * ROW_TILE, at = first * block->out;
    int rows = block_tile_rows(job->rows, tile);
    float *hidden = stored_floats(block->saved.hidden) + at;
    memset(job->buffers->row_sums + tile * block->row_sum_size, 0, (size_t)block->row_sum_size * sizeof(float));
    job->step->kernels->gelu_backward((int64_t)rows * block->out, hidden, job->dout + at, NULL, hidden);
    sum_bias(job, tile, &block->linear, rows, hidden, block->out);
    linear_backward(job->step, &block->linear, rows, hidden, block->out, 0.0f, job->dx + first * block->dim,
                    block->dim);
}

static PartialSumJob row_sums_job(const BackwardJob *job)
{
    const Block *block = job->block;
    return (PartialSumJob){.step = job->step,
                           .partials = job->buffers->row_sums,
                           .slots = tile_count(job->rows),
                           .stride = block->row_sum_size,
                           .sums = block->row_sums,
                           .count = block->row_sum_count,
                           .add = job->step->accumulate,
                           .to = job->step->grads};
}

/* These gradients and a work beside them, in one region. */
static void run_with_grads(const BackwardJob *job, const WeightGrad *grads, int count, Work beside)
{
    GradJob grad_job;
    Work works[] = {
        weight_grads_work(&grad_job, job->step, grads, count, job->step->accumulate, job->buffers->weight_sums),
        beside};
    step_run_works(job->step, works, 2);
    weight_grads_end(&grad_job);
}

static void transition_backward(BackwardJob *job)
{
    const Block *block = job->block;
    WeightGrad grad = {&block->linear, job->rows, block->saved.hidden, block->out, stored_of(job->x), block->dim, NULL};
    PartialSumJob sums = row_sums_job(job);
    step_run(job->step, tile_count(job->rows), block_transition_backward_task, job, PHASE_LINEARS);
    run_with_grads(job, &grad, 1, partial_sums_work(&sums));
}

/* All weight gradients but qkv's, beside attention's backward. */
static void middle_region(BackwardJob *job)
{
    const Block *block = job->block;
    const BlockBuffers *buffers = job->buffers;
    int dim = block->dim, count = 0;
    int64_t mlp = block_rows(block, BRANCH_MLP), attention = block_rows(block, BRANCH_ATTENTION);
    WeightGrad grads[4];
    grads[count++] = (WeightGrad){&block->fc2, mlp, buffers->dz_mlp, dim, buffers->act, block->fc2.in, NULL};
    grads[count++] = (WeightGrad){&block->fc1, mlp, block->saved.hidden, block->fc1.out, buffers->norm, dim, NULL};
    grads[count++] =
        (WeightGrad){&block->proj, attention, buffers->dz_attention, dim, block->saved.attention, dim, NULL};
    if (block->dense)
        grads[count++] = (WeightGrad){
            &block->linear, job->rows, stored_of(job->dout + dim), block->out, stored_of(block->saved.y), dim, NULL};
    int64_t heads = (int64_t)block->saved.kept[BRANCH_ATTENTION].count * block->heads;
    run_with_grads(job, grads, count, (Work){heads, block_attention_backward_task, job, PHASE_ATTENTION});
}

static void last_region(const BackwardJob *job)
{
    const Block *block = job->block;
    const BlockBuffers *buffers = job->buffers;
    int dim = block->dim;
    int64_t rows = block_rows(block, BRANCH_ATTENTION);
    WeightGrad grads[3];
    for (int i = 0; i < block->qkv_parts; i++)
        grads[i] = (WeightGrad){
            &block->qkv[i], rows, stored_at(buffers->dqkv, (int64_t)i * dim), 3 * dim, buffers->norm, dim, NULL};
    PartialSumJob sums = row_sums_job(job);
    run_with_grads(job, grads, block->qkv_parts, partial_sums_work(&sums));
}

void block_backward(Block *block, const StepContext *step, const BlockBuffers *buffers, const float *x, float *dout,
                    float *dx)
{
    BackwardJob job = {.block = block,
                       .step = step,
                       .buffers = buffers,
                       .x = x,
                       .dout = dout,
                       .dx = dx,
                       .rows = (int64_t)step->batch * block->tokens};
    int64_t tiles = tile_count(job.rows);
    if (block->transition) {
        transition_backward(&job);
        return;
    }
    if (block->class_only) {
        class_block_backward(block, step, buffers, x, dx);
        return;
    }
    step_run(step, tiles, block_upper_backward_task, &job, PHASE_LINEARS);
    if (block->se) {
        int64_t images = block->saved.kept[BRANCH_ATTENTION].count;
        int64_t size = (int64_t)block->dim * block->se_hidden;
        PartialSum sums[] = {{0, size, block->se1}, {size, size, block->se2}};
        step_run(step, images, se_task, &job, PHASE_NORMS);
        partial_sums(step, buffers->gate_sums, images, 2 * size, sums, 2, step->accumulate, step->grads);
        step_run(step, tile_count(images * block->tokens), proj_task, &job, PHASE_LINEARS);
    }
    middle_region(&job);
    step_run(step, tiles, block_qkv_backward_task, &job, PHASE_LINEARS);
    last_region(&job);
}
