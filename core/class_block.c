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
    float *dx;      /* (R, dim): dout, of which class rows count, then the gradient of x */
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
static Branch class_branch(const Block *block, const Step *step, int which)
{
    Branch branch = block_branch(block, step, which);
    branch.tokens = 1;
    return branch;
}

/* ---- forward */

static void keys_values_task(void *context, int64_t tile, int thread)
{
    const ClassJob *job = context;
    const Block *block = job->block;
    const Step *step = job->step;
    int64_t first = tile * ROW_TILE;
    int rows = block_tile_rows(job->rows, tile), dim = block->dim;
    float *norm = step_scratch(step, thread), *out = block->saved.qkv + first * 3 * dim + dim;
    Linear linear = class_keys_values(block);
    step->kernels->layernorm(rows, dim, job->x + first * dim, dim, block->norm1.eps,
                             step->weights + block->norm1.weight, step->weights + block->norm1.bias, norm, dim,
                             block->saved.mean1 + first, block->saved.rstd1 + first);
    linear_forward(step, &linear, rows, norm, dim, out, 3 * dim);
    if (linear.bias >= 0) step->kernels->add_bias(rows, 2 * dim, step->weights + linear.bias, out, 3 * dim);
}

/* The dropout mask of the first row of scores (tokens), or NULL. */
static const float *first_mask(const Step *step, const AttentionHead *head, float *mask)
{
    if (head->drop <= 0) return NULL;
    for (int i = 0; i < head->tokens; i++) mask[i] = 1.0f;
    step->kernels->dropout(head->tokens, head->key, 0, head->drop, mask, mask);
    return mask;
}

static void attend(const Block *block, const Step *step, int image, float *scratch)
{
    const Kernels *k = step->kernels;
    float *scores = scratch, *mask = scores + block->tokens;
    for (int h = 0; h < block->heads; h++) {
        AttentionHead head = block_head(block, step, (int64_t)image * block->heads + h);
        float *out = block->saved.attention + (int64_t)image * block->dim + h * head.width;
        float max = -INFINITY, sum = 0.0f, correction;
        k->row_dots(head.tokens, head.width, head.k, head.ld, head.q, 0, scores);
        k->softmax_step(1, head.tokens, head.scale, scores, head.tokens, &max, &sum, &correction);
        const float *kept = first_mask(step, &head, mask);
        for (int i = 0; kept && i < head.tokens; i++) scores[i] *= kept[i];
        k->gemm(GEMM_NN, 1, head.width, head.tokens, scores, head.tokens, head.v, head.ld, 0.0f, out, block->dim);
        block->saved.lse[(int64_t)image * block->heads + h] = max + logf(sum);
        sum = 1.0f / sum;
        k->scale(1, head.width, &sum, out, block->dim);
    }
}

static void queries(const ClassJob *job, Images images, float *norm)
{
    const Block *block = job->block;
    const Step *step = job->step;
    int dim = block->dim, stride = block->tokens * dim;
    float mean[CLASS_TILE], rstd[CLASS_TILE], *q = block->saved.qkv + (int64_t)images.first * 3 * stride;
    Linear linear = class_queries(block);
    step->kernels->layernorm(images.count, dim, job->x + (int64_t)images.first * stride, stride, block->norm1.eps,
                             step->weights + block->norm1.weight, step->weights + block->norm1.bias, norm, dim, mean,
                             rstd);
    linear_forward(step, &linear, images.count, norm, dim, q, 3 * stride);
    if (linear.bias >= 0) step->kernels->add_bias(images.count, dim, step->weights + linear.bias, q, 3 * stride);
}

static void class_task(void *context, int64_t tile, int thread)
{
    const ClassJob *job = context;
    const Block *block = job->block;
    const Step *step = job->step;
    const BlockSaved *saved = &block->saved;
    Images images = images_at(step, tile);
    int64_t first = images.first;
    int rows = images.count, dim = block->dim, stride = block->tokens * dim, width = block->fc1.out;
    float *norm = step_scratch(step, thread), *branch_out = norm + CLASS_TILE * dim,
          *act = branch_out + CLASS_TILE * dim;
    float *x2 = saved->x2 + first * dim, *hidden = saved->hidden + first * width;
    Branch attention = class_branch(block, step, BRANCH_ATTENTION), mlp = class_branch(block, step, BRANCH_MLP);
    queries(job, images, norm);
    for (int i = 0; i < rows; i++) attend(block, step, images.first + i, branch_out);
    linear_forward(step, &block->proj, rows, saved->attention + first * dim, dim, branch_out, dim);
    branch_forward(step, &attention, first, rows, dim, branch_out, linear_bias(step, &block->proj),
                   job->x + first * stride, stride, x2, dim);
    step->kernels->layernorm(rows, dim, x2, dim, block->norm2.eps, step->weights + block->norm2.weight,
                             step->weights + block->norm2.bias, norm, dim, saved->mean2 + first, saved->rstd2 + first);
    linear_forward(step, &block->fc1, rows, norm, dim, hidden, width);
    step->kernels->bias_gelu(rows, width, linear_bias(step, &block->fc1), hidden, width, act, width);
    dropout_rows(step, block->layer, SITE_HIDDEN, block->drop, 1, first, rows, width, act);
    linear_forward(step, &block->fc2, rows, act, width, branch_out, dim);
    branch_forward(step, &mlp, first, rows, dim, branch_out, linear_bias(step, &block->fc2), x2, dim,
                   job->out + first * stride, stride);
}

void class_block_forward(Block *block, const Step *step, const float *x, float *out)
{
    ClassJob job = {.block = block, .step = step, .x = x, .out = out, .rows = (int64_t)step->batch * block->tokens};
    pool_run(step->pool, tile_count(job.rows), keys_values_task, &job);
    pool_run(step->pool, class_tile_count(step->batch), class_task, &job);
}

/* ---- backward */

/* From the gradient of one image's attention output to those of its query (dim) and of all its keys and values. */
static void attend_backward(const ClassJob *job, int image, const float *dattention, float *dq, float *scratch)
{
    const Block *block = job->block;
    const Kernels *k = job->step->kernels;
    int tokens = block->tokens, dim = block->dim;
    float *scores = scratch, *dscores = scores + tokens, *mask = dscores + tokens;
    for (int h = 0; h < block->heads; h++) {
        AttentionHead head = block_head(block, job->step, (int64_t)image * block->heads + h);
        int column = h * head.width;
        const float *g = dattention + column, *out = block->saved.attention + (int64_t)image * dim + column;
        float *dk = job->buffers->dqkv + (int64_t)image * tokens * 3 * dim + dim + column, delta;
        k->row_dots(tokens, head.width, head.k, head.ld, head.q, 0, scores);
        k->row_dots(tokens, head.width, head.v, head.ld, g, 0, dscores);
        k->row_dots(1, head.width, out, dim, g, dim, &delta);
        k->softmax_backward(1, tokens, head.scale, scores, tokens, dscores, tokens,
                            block->saved.lse + (int64_t)image * block->heads + h, &delta,
                            first_mask(job->step, &head, mask));
        k->gemm(GEMM_NN, 1, head.width, tokens, dscores, tokens, head.k, head.ld, 0.0f, dq + column, dim);
        k->gemm(GEMM_NN, tokens, head.width, 1, dscores, 1, head.q, head.ld, 0.0f, dk, 3 * dim);
        k->gemm(GEMM_NN, tokens, head.width, 1, scores, 1, g, dim, 0.0f, dk + dim, 3 * dim);
    }
}

static void mlp_rows(const ClassJob *job, Images images, float *sums, float *scratch)
{
    const Block *block = job->block;
    const Step *step = job->step;
    const Kernels *k = step->kernels;
    const BlockSaved *saved = &block->saved;
    int64_t first = images.first;
    int rows = images.count, dim = block->dim, width = block->fc1.out;
    float *stream = job->buffers->class_stream + first * dim, *dz = job->buffers->dz_mlp + first * dim;
    float *act = job->buffers->act + first * width, *norm = job->buffers->norm + first * dim;
    float *hidden = saved->hidden + first * width, *dact = scratch, *dnorm = dact + CLASS_TILE * width;
    const float *x2 = saved->x2 + first * dim, *weight = step->weights + block->norm2.weight;
    Branch branch = class_branch(block, step, BRANCH_MLP);
    branch_backward(step, &branch, first, rows, dim, stream, dim, dz);
    k->column_sums(rows, dim, dz, dim, block_sum(block, sums, block->fc2.bias));
    linear_backward(step, &block->fc2, rows, dz, dim, 0.0f, dact, width);
    dropout_rows(step, block->layer, SITE_HIDDEN, block->drop, 1, first, rows, width, dact);
    k->gelu_backward((int64_t)rows * width, hidden, dact, act, hidden);
    dropout_rows(step, block->layer, SITE_HIDDEN, block->drop, 1, first, rows, width, act);
    k->column_sums(rows, width, hidden, width, block_sum(block, sums, block->fc1.bias));
    linear_backward(step, &block->fc1, rows, hidden, width, 0.0f, dnorm, dim);
    k->layernorm_apply(rows, dim, x2, dim, saved->mean2 + first, saved->rstd2 + first, weight,
                       step->weights + block->norm2.bias, norm, dim);
    k->layernorm_backward(rows, dim, x2, dim, saved->mean2 + first, saved->rstd2 + first, weight, dnorm, dim, true,
                          stream, dim, block_sum(block, sums, block->norm2.weight),
                          block_sum(block, sums, block->norm2.bias));
}

static void class_backward_task(void *context, int64_t tile, int thread)
{
    const ClassJob *job = context;
    const Block *block = job->block;
    const Step *step = job->step;
    const BlockBuffers *buffers = job->buffers;
    Images images = images_at(step, tile);
    int64_t first = images.first;
    int rows = images.count, dim = block->dim, stride = block->tokens * dim;
    float mean[CLASS_TILE], rstd[CLASS_TILE], *scratch = step_scratch(step, thread), *dattention = scratch;
    float *sums = buffers->row_sums + (tile_count(job->rows) + tile) * block->row_sum_size;
    float *stream = buffers->class_stream + first * dim, *dz = buffers->dz_attention + first * dim;
    float *dq = buffers->class_dq + first * dim;
    memset(sums, 0, (size_t)block->row_sum_size * sizeof(float));
    for (int i = 0; i < rows; i++)
        memcpy(stream + (int64_t)i * dim, job->dx + (first + i) * stride, (size_t)dim * sizeof(float));
    mlp_rows(job, images, sums, scratch);
    Branch branch = class_branch(block, step, BRANCH_ATTENTION);
    branch_backward(step, &branch, first, rows, dim, stream, dim, dz);
    step->kernels->column_sums(rows, dim, dz, dim, block_sum(block, sums, block->proj.bias));
    linear_backward(step, &block->proj, rows, dz, dim, 0.0f, dattention, dim);
    for (int i = 0; i < rows; i++)
        attend_backward(job, images.first + i, dattention + (int64_t)i * dim, dq + (int64_t)i * dim,
                        scratch + CLASS_TILE * dim);
    Linear linear = class_queries(block);
    if (linear.bias >= 0) step->kernels->column_sums(rows, dim, dq, dim, block_sum(block, sums, linear.bias));
    linear_backward(step, &linear, rows, dq, dim, 0.0f, buffers->class_dnorm + first * dim, dim);
    step->kernels->layernorm(rows, dim, job->x + first * stride, stride, block->norm1.eps,
                             step->weights + block->norm1.weight, step->weights + block->norm1.bias,
                             buffers->class_norm + first * dim, dim, mean, rstd);
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
    int64_t first = tile * ROW_TILE, token = first % block->tokens;
    int rows = block_tile_rows(job->rows, tile), dim = block->dim;
    int64_t next_class = token ? block->tokens - token : 0; /* row of the tile */
    float *sums = job->buffers->row_sums + tile * block->row_sum_size, *dnorm = step_scratch(step, thread);
    const float *dkv = job->buffers->dqkv + first * 3 * dim + dim, *x = job->x + first * dim;
    const float *weight = step->weights + block->norm1.weight;
    float *dx = job->dx + first * dim;
    Linear linear = class_keys_values(block);
    memset(sums, 0, (size_t)block->row_sum_size * sizeof(float));
    if (linear.bias >= 0)
        step->kernels->column_sums(rows, 2 * dim, dkv, 3 * dim, block_sum(block, sums, block->qkv[0].bias) + dim);
    linear_backward(step, &linear, rows, dkv, 3 * dim, 0.0f, dnorm, dim);
    for (int64_t r = next_class; r < rows; r += block->tokens)
        add_row(dim, job->buffers->class_dnorm + (first + r) / block->tokens * dim, dnorm + r * dim);
    step->kernels->layernorm_apply(rows, dim, x, dim, saved->mean1 + first, saved->rstd1 + first, weight,
                                   step->weights + block->norm1.bias, job->buffers->norm + first * dim, dim);
    step->kernels->layernorm_backward(rows, dim, x, dim, saved->mean1 + first, saved->rstd1 + first, weight, dnorm, dim,
                                      false, dx, dim, block_sum(block, sums, block->norm1.weight),
                                      block_sum(block, sums, block->norm1.bias));
    for (int64_t r = next_class; r < rows; r += block->tokens)
        add_row(dim, job->buffers->class_stream + (first + r) / block->tokens * dim, dx + r * dim);
}

void class_block_backward(Block *block, const Step *step, const BlockBuffers *buffers, const float *x, float *dx)
{
    ClassJob job = {.block = block, .step = step, .buffers = buffers, .x = x, .dx = dx};
    job.rows = (int64_t)step->batch * block->tokens;
    int dim = block->dim;
    int64_t tiles = tile_count(job.rows), class_tiles = class_tile_count(step->batch);
    Linear q = class_queries(block), kv = class_keys_values(block);
    WeightGrad class_grads[] = {{&block->fc2, buffers->dz_mlp, dim, buffers->act, block->fc2.in, NULL},
                                {&block->fc1, block->saved.hidden, block->fc1.out, buffers->norm, dim, NULL},
                                {&block->proj, buffers->dz_attention, dim, block->saved.attention, dim, NULL},
                                {&q, buffers->class_dq, dim, buffers->class_norm, dim, NULL}};
    WeightGrad row_grads[] = {{&kv, buffers->dqkv + dim, 3 * dim, buffers->norm, dim, NULL}};
    pool_run(step->pool, class_tiles, class_backward_task, &job);
    weight_grads(step, step->batch, class_grads, 4, step->accumulate, buffers->weight_sums);
    pool_run(step->pool, tiles, rows_backward_task, &job);
    weight_grads(step, job.rows, row_grads, 1, step->accumulate, buffers->weight_sums);
    partial_sums(step, buffers->row_sums, tiles + class_tiles, block->row_sum_size, block->row_sums,
                 block->row_sum_count, step->accumulate, step->grads);
}
