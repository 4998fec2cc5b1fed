#include "core/model/block_internal.h"

#include <string.h>

#include "core/kernels/ghost.h"

typedef struct BackwardJob {
    Block *block;
    const Step *step;
    const BlockBuffers *buffers;
    const float *x;    /* (R, dim) */
    const float *dout; /* (R, out) */
    float *dx;         /* (R, dim): the gradient of the residual stream, from the block's end to its start */
    int64_t rows;
} BackwardJob;

float *block_sum(const Block *block, float *sums, int64_t grad)
{
    for (int i = 0; i < block->row_sum_count; i++)
        if (block->row_sums[i].grad == grad) return sums + block->row_sums[i].at;
    return NULL;
}

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
    const Step *step = job->step;
    const Kept *kept = &block->saved.kept[BRANCH_MLP];
    int width = block->fc2.in, dense = kept_span(kept, first, rows).rows;
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
static void hidden_tile(const BackwardJob *job, int64_t first, int rows, Span span, float *hidden, float *norm)
{
    const Block *block = job->block;
    const BlockSaved *saved = &block->saved;
    int dim = block->dim, width = block->fc1.out;
    norm_forward(job->step, &block->norm2, &saved->kept[BRANCH_MLP], first, rows, saved->x2 + first * dim, dim, norm,
                 saved->mean2 + span.first, saved->rstd2 + span.first);
    linear_forward(job->step, &block->fc1, span.rows, norm, dim, hidden, width);
    job->step->kernels->add_bias(span.rows, width, linear_bias(job->step, &block->fc1), hidden, width);
}

static void block_mlp_backward_tile(const BackwardJob *job, int64_t tile, int64_t first, int rows, int thread)
{
    const Block *block = job->block;
    const Step *step = job->step;
    const BlockSaved *saved = &block->saved;
    const Kept *kept = &saved->kept[BRANCH_MLP];
    Span span = kept_span(kept, first, rows);
    int dim = block->dim, width = block->fc1.out;
    float *dact = step_scratch(step, thread), *dnorm = dact + (int64_t)ROW_TILE * block->fc2.in;
    float *rest = dnorm + (int64_t)ROW_TILE * dim;
    float *dz = job->buffers->dz_mlp + span.first * dim, *hidden = saved->hidden + span.first * width;
    float *stream = job->dx + first * dim;
    Branch branch = block_branch(block, BRANCH_MLP);
    if (span.rows == 0) return;
    branch_backward(step, &branch, first, rows, dim, stream, dim, dz);
    sum_bias(job, tile, &block->fc2, span.rows, dz, dim);
    step_lap(step, thread, PART_NORMS);
    linear_backward(step, &block->fc2, span.rows, dz, dim, 0.0f, dact, block->fc2.in);
    if (block->hidden_again) hidden_tile(job, first, rows, span, hidden, dnorm);
    step_lap(step, thread, PART_LINEARS);
    activation_tile(job, tile, first, rows, hidden, dact, job->buffers->act + span.first * block->fc2.in, rest);
    sum_bias(job, tile, &block->fc1, span.rows, hidden, width);
    step_lap(step, thread, PART_NORMS);
    linear_backward(step, &block->fc1, span.rows, hidden, width, 0.0f, dnorm, dim);
    step_lap(step, thread, PART_LINEARS);
    norm_backward(step, &block->norm2, kept, first, rows, saved->x2 + first * dim, dim, saved->mean2 + span.first,
                  saved->rstd2 + span.first, dnorm, job->buffers->norm + span.first * dim, stream, dim,
                  block_row_sum(job, tile, block->norm2.weight), block_row_sum(job, tile, block->norm2.bias));
    step_lap(step, thread, PART_NORMS);
}

/* Rows `first` .. of the kept ones. */
static void proj_tile(const BackwardJob *job, int64_t tile, int64_t first, int rows)
{
    const Block *block = job->block;
    int dim = block->dim;
    float *dz = job->buffers->dz_attention + first * dim;
    if (rows == 0) return;
    sum_bias(job, tile, &block->proj, rows, dz, dim);
    linear_backward(job->step, &block->proj, rows, dz, dim, 0.0f, job->buffers->dattention + first * dim, dim);
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
    Branch branch = block_branch(block, BRANCH_ATTENTION);
    Span span = kept_span(&branch.kept, first, rows);
    branch_backward(job->step, &branch, first, rows, dim, job->dx + first * dim, dim,
                    job->buffers->dz_attention + span.first * dim);
    if (!block->se) proj_tile(job, tile, span.first, span.rows);
}

/* SE: the gradient of proj's output from that of the gated one, in place, and the gate's weights. */
static void se_task(void *context, int64_t image, int thread)
{
    const BackwardJob *job = context;
    const Block *block = job->block;
    int dim = block->dim, hidden = block->se_hidden;
    int64_t first = image * block->tokens;
    float *dgate = step_scratch(job->step, thread), *drow = dgate + dim, *dsqueezed = drow + dim;
    float *dz = job->buffers->dz_attention + first * dim;
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
    proj_tile(job, tile, tile * ROW_TILE, block_tile_rows(block_rows(job->block, BRANCH_ATTENTION), tile));
}

static void block_attention_backward_task(void *context, int64_t task, int thread)
{
    const BackwardJob *job = context;
    const Block *block = job->block;
    AttentionHead head = block_head(block, job->step, task);
    int64_t first = task / block->heads * block->tokens;
    int dim = block->dim, column = (int)(task % block->heads) * head.width;
    float *dq = job->buffers->dqkv + first * 3 * dim + column;
    attention_backward(job->step->kernels, &head, 0, head.tokens, block->saved.attention + first * dim + column,
                       job->buffers->dattention + first * dim + column, dim, block->saved.lse + task * block->tokens,
                       dq, 3 * dim, dq + dim, dq + 2 * dim, 3 * dim, step_scratch(job->step, thread));
}

static void qkv_tile(const BackwardJob *job, int64_t tile, int64_t first, int rows, int thread)
{
    const Block *block = job->block;
    const Step *step = job->step;
    const BlockSaved *saved = &block->saved;
    const Kept *kept = &saved->kept[BRANCH_ATTENTION];
    Span span = kept_span(kept, first, rows);
    int dim = block->dim;
    float *dqkv = job->buffers->dqkv + span.first * 3 * dim, *dnorm = step_scratch(step, thread);
    if (span.rows == 0) return;
    for (int i = 0; i < block->qkv_parts; i++) {
        float *part = dqkv + (int64_t)i * dim;
        if (block->ghost)
            ghost_widen_backward(span.rows, dim / 2, step->weights + block->widen[i],
                                 saved->qkv + span.first * 3 * dim + (int64_t)i * dim, 3 * dim, part, 3 * dim,
                                 block_row_sum(job, tile, block->widen[i]));
        sum_bias(job, tile, &block->qkv[i], span.rows, part, 3 * dim);
        linear_backward(step, &block->qkv[i], span.rows, part, 3 * dim, i > 0 ? 1.0f : 0.0f, dnorm, dim);
    }
    step_lap(step, thread, PART_LINEARS);
    norm_backward(step, &block->norm1, kept, first, rows, job->x + first * dim, dim, saved->mean1 + span.first,
                  saved->rstd1 + span.first, dnorm, job->buffers->norm + span.first * dim, job->dx + first * dim, dim,
                  block_row_sum(job, tile, block->norm1.weight), block_row_sum(job, tile, block->norm1.bias));
    step_lap(step, thread, PART_NORMS);
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
    float *hidden = block->saved.hidden + at;
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
    WeightGrad grad = {&block->linear, job->rows, block->saved.hidden, block->out, job->x, block->dim, NULL};
    PartialSumJob sums = row_sums_job(job);
    step_run(job->step, tile_count(job->rows), block_transition_backward_task, job, PART_LINEARS);
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
        grads[count++] =
            (WeightGrad){&block->linear, job->rows, job->dout + dim, block->out, block->saved.y, dim, NULL};
    int64_t heads = (int64_t)block->saved.kept[BRANCH_ATTENTION].count * block->heads;
    run_with_grads(job, grads, count, (Work){heads, block_attention_backward_task, job, PART_ATTENTION});
}

static void last_region(const BackwardJob *job)
{
    const Block *block = job->block;
    const BlockBuffers *buffers = job->buffers;
    int dim = block->dim;
    int64_t rows = block_rows(block, BRANCH_ATTENTION);
    WeightGrad grads[3];
    for (int i = 0; i < block->qkv_parts; i++)
        grads[i] =
            (WeightGrad){&block->qkv[i], rows, buffers->dqkv + (int64_t)i * dim, 3 * dim, buffers->norm, dim, NULL};
    PartialSumJob sums = row_sums_job(job);
    run_with_grads(job, grads, block->qkv_parts, partial_sums_work(&sums));
}

void block_backward(Block *block, const Step *step, const BlockBuffers *buffers, const float *x, float *dout, float *dx)
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
    step_run(step, tiles, block_upper_backward_task, &job, PART_LINEARS);
    if (block->se) {
        int64_t images = block->saved.kept[BRANCH_ATTENTION].count;
        int64_t size = (int64_t)block->dim * block->se_hidden;
        PartialSum sums[] = {{0, size, block->se1}, {size, size, block->se2}};
        step_run(step, images, se_task, &job, PART_NORMS);
        partial_sums(step, buffers->gate_sums, images, 2 * size, sums, 2, step->accumulate, step->grads);
        step_run(step, tile_count(images * block->tokens), proj_task, &job, PART_LINEARS);
    }
    middle_region(&job);
    step_run(step, tiles, block_qkv_backward_task, &job, PART_LINEARS);
    last_region(&job);
}
