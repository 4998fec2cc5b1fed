/* The last block, of which only the class token is read: keys and values are computed for all rows, everything else for
 * one row of each image. What is left out has no effect on logits or gradients; random masks are those of the whole
 * block's first rows. Its saved rows after attention are one per image, not one per token.
 */
#include "core/block_internal.h"

#include <math.h>
#include <string.h>

enum { CLASS_TILE = 4 /* images */ };

typedef struct ClassJob {
    Block *block;
    const Step *step;
    const BlockBuffers *buffers;
    const float *x; /* (R, dim) */
    float *out;     /* forward */
    float *dx;      /* (R, dim): dout, which is 0 but for class rows, then the gradient of x */
    int64_t rows;
} ClassJob;

typedef struct Images { /* of a tile */
    int first, count;
} Images;

int64_t class_tile_count(int batch)
{
    return (batch + CLASS_TILE - 1) / CLASS_TILE;
}

static Images images_at(const Step *step, int64_t tile)
{
    int first = (int)tile * CLASS_TILE, left = step->batch - first;
    return (Images){first, left < CLASS_TILE ? left : CLASS_TILE};
}

/* Rows `from` .. of qkv's matrix as a layer of its own: the queries', or the keys' and values'. */
static Linear part_of_qkv(const Block *block, int from, int out)
{
    const Linear *qkv = &block->qkv[0];
    return (Linear){.in = qkv->in,
                    .out = out,
                    .weight = qkv->weight + (int64_t)from * qkv->in,
                    .bias = qkv->bias < 0 ? -1 : qkv->bias + from,
                    .transposed = qkv->transposed ? qkv->transposed + from : NULL,
                    .ld = qkv->out};
}

Linear class_queries(const Block *block)
{
    return part_of_qkv(block, 0, block->dim);
}

Linear class_keys_values(const Block *block)
{
    return part_of_qkv(block, block->dim, 2 * block->dim);
}

/* One row per image: branches count rows as images. */
static Branch class_branch(const Block *block, int which)
{
    Branch branch = block_branch(block, which);
    branch.kept.tokens = 1;
    return branch;
}

/* ---- forward */

static void keys_values_task(void *context, int64_t tile, int thread)
{
    const ClassJob *job = context;
    const Block *block = job->block;
    const Step *step = job->step;
    const Kept *kept = &block->saved.kept[BRANCH_ATTENTION];
    int64_t first = tile * ROW_TILE;
    int rows = block_tile_rows(job->rows, tile), dim = block->dim;
    Span span = kept_span(kept, first, rows);
    float *norm = step_scratch(step, thread), *out = block->saved.qkv + span.first * 3 * dim + dim;
    Linear linear = class_keys_values(block);
    if (span.rows == 0) return;
    norm_forward(step, &block->norm1, kept, first, rows, job->x + first * dim, dim, norm,
                 block->saved.mean1 + span.first, block->saved.rstd1 + span.first);
    step_lap(step, thread, PART_NORMS);
    linear_forward(step, &linear, span.rows, norm, dim, out, 3 * dim);
    if (linear.bias >= 0) step->kernels->add_bias(span.rows, 2 * dim, step->weights + linear.bias, out, 3 * dim);
}

/* The dropout mask of the first row of scores (tokens), or NULL. */
static const float *first_mask(const Step *step, const AttentionHead *head, float *mask)
{
    if (head->drop <= 0) return NULL;
    for (int i = 0; i < head->tokens; i++) mask[i] = 1.0f;
    step->kernels->dropout(head->tokens, head->key, 0, head->drop, mask, mask);
    return mask;
}

/* Of one kept image. */
static void attend(const Block *block, const Step *step, int64_t image, float *scratch)
{
    const Kernels *k = step->kernels;
    float *scores = scratch, *mask = scores + block->tokens;
    for (int h = 0; h < block->heads; h++) {
        AttentionHead head = block_head(block, step, image * block->heads + h);
        float *out = block->saved.attention + image * block->dim + h * head.width;
        float max = -INFINITY, sum = 0.0f, correction;
        k->row_dots(head.tokens, head.width, head.k, head.ld, head.q, 0, scores);
        k->softmax_step(1, head.tokens, head.scale, scores, head.tokens, &max, &sum, &correction);
        const float *kept = first_mask(step, &head, mask);
        for (int i = 0; kept && i < head.tokens; i++) scores[i] *= kept[i];
        k->gemm(GEMM_NN, 1, head.width, head.tokens, scores, head.tokens, head.v, head.ld, 0.0f, out, block->dim);
        block->saved.lse[image * block->heads + h] = max + logf(sum);
        sum = 1.0f / sum;
        k->scale(1, head.width, &sum, out, block->dim);
    }
}

/* norm1 of the class rows of a tile's images; norm (kept images, dim) */
static void class_norm(const ClassJob *job, Images images, float *norm)
{
    const Block *block = job->block;
    Branch branch = class_branch(block, BRANCH_ATTENTION);
    int stride = block->tokens * block->dim;
    float mean[CLASS_TILE], rstd[CLASS_TILE];
    norm_forward(job->step, &block->norm1, &branch.kept, images.first, images.count,
                 job->x + (int64_t)images.first * stride, stride, norm, mean, rstd);
}

/* From x to x2 of the class rows. */
static void attention_rows(const ClassJob *job, Images images, float *branch_out, float *scratch)
{
    const Block *block = job->block;
    const Step *step = job->step;
    Branch branch = class_branch(block, BRANCH_ATTENTION);
    Span span = kept_span(&branch.kept, images.first, images.count);
    int dim = block->dim, stride = block->tokens * dim;
    float *q = block->saved.qkv + span.first * 3 * stride;
    Linear linear = class_queries(block);
    if (span.rows > 0) {
        class_norm(job, images, scratch);
        linear_forward(step, &linear, span.rows, scratch, dim, q, 3 * stride);
        if (linear.bias >= 0) step->kernels->add_bias(span.rows, dim, step->weights + linear.bias, q, 3 * stride);
        for (int i = 0; i < span.rows; i++) attend(block, step, span.first + i, scratch);
        linear_forward(step, &block->proj, span.rows, block->saved.attention + span.first * dim, dim, branch_out, dim);
    }
    branch_forward(step, &branch, images.first, images.count, dim, branch_out, linear_bias(step, &block->proj),
                   job->x + (int64_t)images.first * stride, stride, block->saved.x2 + (int64_t)images.first * dim, dim);
}

/* From x2 to the block's output of the class rows. */
static void mlp_rows(const ClassJob *job, Images images, float *branch_out, float *scratch)
{
    const Block *block = job->block;
    const Step *step = job->step;
    const BlockSaved *saved = &block->saved;
    Branch branch = class_branch(block, BRANCH_MLP);
    int64_t first = images.first;
    Span span = kept_span(&branch.kept, first, images.count);
    int dim = block->dim, stride = block->tokens * dim, width = block->fc1.out;
    float *norm = scratch, *act = norm + CLASS_TILE * dim, *hidden = saved->hidden + span.first * width;
    const float *x2 = saved->x2 + first * dim;
    if (span.rows > 0) {
        norm_forward(step, &block->norm2, &branch.kept, first, images.count, x2, dim, norm, saved->mean2 + span.first,
                     saved->rstd2 + span.first);
        linear_forward(step, &block->fc1, span.rows, norm, dim, hidden, width);
        step->kernels->bias_gelu(span.rows, width, linear_bias(step, &block->fc1), hidden, width, act, width);
        dropout_rows(step, block->layer, SITE_HIDDEN, block->drop, &branch.kept, first, images.count, width, act);
        linear_forward(step, &block->fc2, span.rows, act, width, branch_out, dim);
    }
    branch_forward(step, &branch, first, images.count, dim, branch_out, linear_bias(step, &block->fc2), x2, dim,
                   job->out + first * stride, stride);
}

static void class_task(void *context, int64_t tile, int thread)
{
    const ClassJob *job = context;
    Images images = images_at(job->step, tile);
    float *branch_out = step_scratch(job->step, thread), *scratch = branch_out + CLASS_TILE * job->block->dim;
    attention_rows(job, images, branch_out, scratch);
    mlp_rows(job, images, branch_out, scratch);
}

void class_block_forward(Block *block, const Step *step, const float *x, float *out)
{
    ClassJob job = {.block = block, .step = step, .x = x, .out = out, .rows = (int64_t)step->batch * block->tokens};
    step_run(step, tile_count(job.rows), keys_values_task, &job, PART_LINEARS);
    step_run(step, class_tile_count(step->batch), class_task, &job, PART_LINEARS);
}

/* ---- backward */

/* From the gradient of one kept image's attention output to those of its query (dim) and of all its keys and values. */
static void attend_backward(const ClassJob *job, int64_t image, const float *dattention, float *dq, float *scratch)
{
    const Block *block = job->block;
    const Kernels *k = job->step->kernels;
    int tokens = block->tokens, dim = block->dim;
    float *scores = scratch, *dscores = scores + tokens, *mask = dscores + tokens;
    for (int h = 0; h < block->heads; h++) {
        AttentionHead head = block_head(block, job->step, image * block->heads + h);
        int column = h * head.width;
        const float *g = dattention + column, *out = block->saved.attention + image * dim + column;
        float *dk = job->buffers->dqkv + image * tokens * 3 * dim + dim + column, delta;
        k->row_dots(tokens, head.width, head.k, head.ld, head.q, 0, scores);
        k->row_dots(tokens, head.width, head.v, head.ld, g, 0, dscores);
        k->row_dots(1, head.width, out, dim, g, dim, &delta);
        k->softmax_backward(1, tokens, head.scale, scores, tokens, dscores, tokens,
                            block->saved.lse + image * block->heads + h, &delta, first_mask(job->step, &head, mask));
        k->gemm(GEMM_NN, 1, head.width, tokens, dscores, tokens, head.k, head.ld, 0.0f, dq + column, dim);
        k->gemm(GEMM_NN, tokens, head.width, 1, dscores, 1, head.q, head.ld, 0.0f, dk, 3 * dim);
        k->gemm(GEMM_NN, tokens, head.width, 1, scores, 1, g, dim, 0.0f, dk + dim, 3 * dim);
    }
}

static void mlp_rows_backward(const ClassJob *job, Images images, float *sums, float *scratch)
{
    const Block *block = job->block;
    const Step *step = job->step;
    const Kernels *k = step->kernels;
    const BlockSaved *saved = &block->saved;
    Branch branch = class_branch(block, BRANCH_MLP);
    int64_t first = images.first;
    Span span = kept_span(&branch.kept, first, images.count);
    int dim = block->dim, stride = block->tokens * dim, width = block->fc1.out;
    float *stream = job->dx + first * stride, *dz = job->buffers->dz_mlp + span.first * dim;
    float *act = job->buffers->act + span.first * width, *hidden = saved->hidden + span.first * width;
    float *dact = scratch, *dnorm = dact + CLASS_TILE * width;
    if (span.rows == 0) return;
    branch_backward(step, &branch, first, images.count, dim, stream, stride, dz);
    k->column_sums(span.rows, dim, dz, dim, block_sum(block, sums, block->fc2.bias));
    linear_backward(step, &block->fc2, span.rows, dz, dim, 0.0f, dact, width);
    dropout_rows(step, block->layer, SITE_HIDDEN, block->drop, &branch.kept, first, images.count, width, dact);
    k->gelu_backward((int64_t)span.rows * width, hidden, dact, act, hidden);
    dropout_rows(step, block->layer, SITE_HIDDEN, block->drop, &branch.kept, first, images.count, width, act);
    k->column_sums(span.rows, width, hidden, width, block_sum(block, sums, block->fc1.bias));
    linear_backward(step, &block->fc1, span.rows, hidden, width, 0.0f, dnorm, dim);
    norm_backward(step, &block->norm2, &branch.kept, first, images.count, saved->x2 + first * dim, dim,
                  saved->mean2 + span.first, saved->rstd2 + span.first, dnorm, job->buffers->norm + span.first * dim,
                  stream, stride, block_sum(block, sums, block->norm2.weight),
                  block_sum(block, sums, block->norm2.bias));
}

static void attention_rows_backward(const ClassJob *job, Images images, float *sums, float *scratch)
{
    const Block *block = job->block;
    const Step *step = job->step;
    const BlockBuffers *buffers = job->buffers;
    Branch branch = class_branch(block, BRANCH_ATTENTION);
    Span span = kept_span(&branch.kept, images.first, images.count);
    int dim = block->dim, stride = block->tokens * dim;
    float *dz = buffers->dz_attention + span.first * dim, *dq = buffers->class_dq + span.first * dim;
    float *dattention = scratch;
    Linear linear = class_queries(block);
    if (span.rows == 0) return;
    branch_backward(step, &branch, images.first, images.count, dim, job->dx + (int64_t)images.first * stride, stride,
                    dz);
    step->kernels->column_sums(span.rows, dim, dz, dim, block_sum(block, sums, block->proj.bias));
    linear_backward(step, &block->proj, span.rows, dz, dim, 0.0f, dattention, dim);
    for (int i = 0; i < span.rows; i++)
        attend_backward(job, span.first + i, dattention + (int64_t)i * dim, dq + (int64_t)i * dim,
                        scratch + CLASS_TILE * dim);
    if (linear.bias >= 0) step->kernels->column_sums(span.rows, dim, dq, dim, block_sum(block, sums, linear.bias));
    linear_backward(step, &linear, span.rows, dq, dim, 0.0f, buffers->class_dnorm + span.first * dim, dim);
    class_norm(job, images, buffers->class_norm + span.first * dim);
}

static void class_backward_task(void *context, int64_t tile, int thread)
{
    const ClassJob *job = context;
    const Block *block = job->block;
    Images images = images_at(job->step, tile);
    float *sums = job->buffers->row_sums + (tile_count(job->rows) + tile) * block->row_sum_size;
    memset(sums, 0, (size_t)block->row_sum_size * sizeof(float));
    mlp_rows_backward(job, images, sums, step_scratch(job->step, thread));
    attention_rows_backward(job, images, sums, step_scratch(job->step, thread));
}

static void add_row(int count, const float *from, float *to)
{
    for (int i = 0; i < count; i++) to[i] += from[i];
}

static void rows_backward_task(void *context, int64_t tile, int thread)
{
    const ClassJob *job = context;
    const Block *block = job->block;
    const Step *step = job->step;
    const BlockSaved *saved = &block->saved;
    const Kept *kept = &saved->kept[BRANCH_ATTENTION];
    int64_t first = tile * ROW_TILE;
    int rows = block_tile_rows(job->rows, tile), dim = block->dim;
    Span span = kept_span(kept, first, rows);
    int64_t token = span.first % block->tokens, next_class = token ? block->tokens - token : 0; /* row of the span */
    float *sums = job->buffers->row_sums + tile * block->row_sum_size, *dnorm = step_scratch(step, thread);
    const float *dkv = job->buffers->dqkv + span.first * 3 * dim + dim;
    Linear linear = class_keys_values(block);
    memset(sums, 0, (size_t)block->row_sum_size * sizeof(float));
    if (span.rows == 0) return;
    if (linear.bias >= 0)
        step->kernels->column_sums(span.rows, 2 * dim, dkv, 3 * dim, block_sum(block, sums, block->qkv[0].bias) + dim);
    linear_backward(step, &linear, span.rows, dkv, 3 * dim, 0.0f, dnorm, dim);
    for (int64_t r = next_class; r < span.rows; r += block->tokens)
        add_row(dim, job->buffers->class_dnorm + (span.first + r) / block->tokens * dim, dnorm + r * dim);
    step_lap(step, thread, PART_LINEARS);
    norm_backward(step, &block->norm1, kept, first, rows, job->x + first * dim, dim, saved->mean1 + span.first,
                  saved->rstd1 + span.first, dnorm, job->buffers->norm + span.first * dim, job->dx + first * dim, dim,
                  block_sum(block, sums, block->norm1.weight), block_sum(block, sums, block->norm1.bias));
    step_lap(step, thread, PART_NORMS);
}

void class_block_backward(Block *block, const Step *step, const BlockBuffers *buffers, const float *x, float *dx)
{
    ClassJob job = {.block = block, .step = step, .buffers = buffers, .x = x, .dx = dx};
    job.rows = (int64_t)step->batch * block->tokens;
    int dim = block->dim;
    int64_t tiles = tile_count(job.rows), class_tiles = class_tile_count(step->batch);
    int64_t attention = block->saved.kept[BRANCH_ATTENTION].count, mlp = block->saved.kept[BRANCH_MLP].count;
    Linear q = class_queries(block), kv = class_keys_values(block);
    WeightGrad class_grads[] = {
        {&block->fc2, mlp, buffers->dz_mlp, dim, buffers->act, block->fc2.in, NULL},
        {&block->fc1, mlp, block->saved.hidden, block->fc1.out, buffers->norm, dim, NULL},
        {&block->proj, attention, buffers->dz_attention, dim, block->saved.attention, dim, NULL},
        {&q, attention, buffers->class_dq, dim, buffers->class_norm, dim, NULL}};
    WeightGrad row_grads[] = {{&kv, attention * block->tokens, buffers->dqkv + dim, 3 * dim, buffers->norm, dim, NULL}};
    step_run(step, class_tiles, class_backward_task, &job, PART_LINEARS);
    weight_grads(step, class_grads, 4, step->accumulate, buffers->weight_sums);
    step_run(step, tiles, rows_backward_task, &job, PART_LINEARS);
    weight_grads(step, row_grads, 1, step->accumulate, buffers->weight_sums);
    partial_sums(step, buffers->row_sums, tiles + class_tiles, block->row_sum_size, block->row_sums,
                 block->row_sum_count, step->accumulate, step->grads);
}
