/* The last block, of which only the class token is read: everything but the keys and values of its attention is
 * computed for one row of each image, and those are not computed at all. With one query per head, the products change
 * places: with n the normalised rows (T, dim) and W_k, W_v a head's rows of the weight,
 *
 *     scores = n (W_k^T q)        instead of (n W_k^T) q        W_k^T q: `folded`, the query folded into the keys' weight
 *     out    = W_v (n^T p)        instead of (n W_v^T)^T p      n^T p:   `context`
 *
 * which takes heads instead of dim multiplications for each element of n. Backward, with d for a gradient,
 *
 *     [scores; dp] = [folded; dcontext] n^T                     two products in one, to recompute p and get dscores
 *     dn           = [p; dscores]^T [dcontext; folded]          again two in one, in the other order
 *
 * so `sides` holds folded, dcontext, folded: each product reads two neighbours of the three.
 *
 * A bias of the keys adds the same to all
 * scores of a head, which softmax does not see: it is left out, and its gradient is 0. What else is left out has no
 * effect on logits or gradients; random masks are those of the whole block's first rows. Saved rows are one per image.
 */
#include "core/model/block_internal.h"

#include <math.h>
#include <string.h>

enum { CLASS_TILE = 4 /* images */ };

typedef struct ClassJob {
    Block *block;
    const StepContext *step;
    const BlockBuffers *buffers;
    const float *x; /* (R, dim) */
    float *out;     /* forward */
    float *dx;      /* (R, dim): dout, which is 0 but for class rows, then the gradient of x */
} ClassJob;

typedef struct Images { /* of a tile */
    int first, count;
} Images;

int64_t class_tile_count(int batch)
{
    return (batch + CLASS_TILE - 1) / CLASS_TILE;
}

static Images images_at(const StepContext *step, int64_t tile)
{
    int first = (int)tile * CLASS_TILE, left = step->batch - first;
    return (Images){first, left < CLASS_TILE ? left : CLASS_TILE};
}

/* The three matrices of `sides`. */
enum { SIDE_FOLDED, SIDE_DCONTEXT, SIDE_FOLDED_AGAIN, SIDES };

/* What a thread needs for a tile beside the rows of the MLP; a head's scores are a row of T. */
typedef struct Scratch {
    float *branch, *norm; /* (CLASS_TILE, dim) */
    float *hidden;        /* (CLASS_TILE, fc1.out) */
    float *rows;          /* (T, dim): n, and backward its gradient */
    float *scores;        /* (CLASS_TILE, 2, heads, T): p and, backward, the gradient of the scores */
    float *sides;         /* (CLASS_TILE, SIDES, heads, dim) */
    float *mask;          /* (heads, T) */
    float *mass;          /* (CLASS_TILE, heads): the sum of p, which is 1 without dropout */
    float *max, *sum;     /* (heads): of softmax */
    float *correction;    /* (heads): likewise */
    float *delta;         /* (heads): of softmax, backward */
    float *dmass;         /* (heads) */
} Scratch;

static size_t scratch_carve(Scratch *scratch, const Block *block, float *base)
{
    size_t dim = (size_t)block->dim, heads = (size_t)block->heads, tokens = (size_t)block->tokens, used = 0;
    struct {
        float **at;
        size_t floats;
    } parts[] = {{&scratch->branch, CLASS_TILE * dim},
                 {&scratch->norm, CLASS_TILE * dim},
                 {&scratch->hidden, CLASS_TILE * (size_t)block->fc1.out},
                 {&scratch->rows, tokens * dim},
                 {&scratch->scores, CLASS_TILE * 2 * heads * tokens},
                 {&scratch->sides, CLASS_TILE * SIDES * heads * dim},
                 {&scratch->mask, heads * tokens},
                 {&scratch->mass, CLASS_TILE * heads},
                 {&scratch->max, heads},
                 {&scratch->sum, heads},
                 {&scratch->correction, heads},
                 {&scratch->delta, heads},
                 {&scratch->dmass, heads}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        *parts[i].at = base ? base + used : NULL;
        used += floats_padded(parts[i].floats);
    }
    return used;
}

size_t class_scratch(const Block *block)
{
    Scratch scratch;
    return scratch_carve(&scratch, block, NULL);
}

/* qkv's rows for the queries as a layer of its own. */
static Linear queries(const Block *block)
{
    const Linear *qkv = &block->qkv[0];
    return (Linear){
        .in = qkv->in, .out = block->dim, .weight = qkv->weight, .bias = qkv->bias, .forward = qkv->forward};
}

enum { KEYS = 1, VALUES = 2 }; /* third of qkv's rows */

/* y (count, heads, dim) = W^T x for each head, from its columns of x (count, dim). */
static void through_heads(const ClassJob *job, int third, int count, const float *x, float *y, int ldy)
{
    const Block *block = job->block;
    int dim = block->dim, width = dim / block->heads;
    const float *weight = job->step->weights + block->qkv[0].weight + (int64_t)third * dim * dim;
    for (int h = 0; h < block->heads; h++)
        job->step->kernels->gemm(GEMM_NN, count, dim, width, x + h * width, dim, weight + (int64_t)h * width * dim, dim,
                                 0.0f, y + h * dim, ldy);
}

/* Back: columns of y (count, dim) = W x for each head of x (count, heads, dim). */
static void gather_heads(const ClassJob *job, int third, int count, const float *x, float *y)
{
    const Block *block = job->block;
    const Linear *qkv = &block->qkv[0];
    int dim = block->dim, width = dim / block->heads;
    for (int h = 0; h < block->heads; h++)
        packed_gemm(job->step->kernels, count, &qkv->forward, third * dim + h * width, width, x + h * dim,
                    block->heads * dim, 0.0f, y + h * width, dim);
}

/* One row per image: branches count rows as images. */
static ResidualBranch class_branch(const Block *block, int which)
{
    ResidualBranch branch = block_branch(block, which);
    branch.kept.tokens = 1;
    return branch;
}

static double attention_drop(const Block *block, const StepContext *step)
{
    return step->training ? block->attn_drop : 0.0;
}

/* x (heads, T) times the dropout masks of a kept image's scores. */
static void drop_scores(const Block *block, const StepContext *step, int64_t image, float *x)
{
    for (int h = 0; h < block->heads; h++, x += block->tokens)
        step->kernels->dropout(block->tokens, block_head_key(block, step, image, h), 0, block->attn_drop, x, x);
}

static float sum_of(int count, const float *x)
{
    float sum = 0.0f;
    for (int i = 0; i < count; i++) sum += x[i];
    return sum;
}

/* ---- forward */

/* From n and the folded query of a kept image to its context and lse; mass (heads) is how much of the values' bias
 * arrives. */
static void attend(const ClassJob *job, int64_t image, const Scratch *scratch, float *mass)
{
    const Block *block = job->block;
    const BlockSaved *saved = &block->saved;
    const Kernels *k = job->step->kernels;
    int heads = block->heads, dim = block->dim, tokens = block->tokens;
    float *scores = scratch->scores, *max = scratch->max, *sum = scratch->sum;
    float *context = saved->class_context + image * heads * dim;
    k->gemm(GEMM_NT, heads, tokens, dim, saved->class_folded + image * heads * dim, dim, scratch->rows, dim, 0.0f,
            scores, tokens);
    for (int h = 0; h < heads; h++) {
        max[h] = -INFINITY;
        sum[h] = 0.0f;
    }
    k->softmax_step(heads, tokens, block->scale, scores, tokens, max, sum, scratch->correction);
    bool drops = attention_drop(block, job->step) > 0;
    if (drops) drop_scores(block, job->step, image, scores);
    k->gemm(GEMM_NN, heads, dim, tokens, scores, tokens, scratch->rows, dim, 0.0f, context, dim);
    for (int h = 0; h < heads; h++) {
        saved->lse[image * heads + h] = max[h] + logf(sum[h]);
        sum[h] = 1.0f / sum[h];
        mass[h] = drops ? sum_of(tokens, scores + h * tokens) * sum[h] : 1.0f;
    }
    k->scale(heads, dim, sum, context, dim);
}

/* out (count, dim) += the values' bias times each head's mass (count, heads). */
static void add_value_bias(const Block *block, const float *bias, int count, const float *mass, float *out)
{
    int width = block->dim / block->heads;
    for (int i = 0; i < count * block->heads; i++)
        for (int c = 0; c < width; c++) out[i * width + c] += mass[i] * bias[i % block->heads * width + c];
}

/* From x to residual_mid of the class rows. */
static void attention_rows(const ClassJob *job, Images images, const Scratch *scratch)
{
    const Block *block = job->block;
    const BlockSaved *saved = &block->saved;
    const StepContext *step = job->step;
    ResidualBranch branch = class_branch(block, BRANCH_ATTENTION);
    Span span = kept_rows(&branch.kept, images.first, images.count);
    int dim = block->dim, heads = block->heads, stride = block->tokens * dim;
    float *q = saved->class_q + span.first * dim, *attention = stored_floats(saved->attention) + span.first * dim;
    float mean[CLASS_TILE], rstd[CLASS_TILE];
    const float *bias = linear_bias(step, &block->qkv[0]);
    Linear linear = queries(block);
    if (span.rows > 0) {
        norm_forward(step, &block->norm1, &branch.kept, images.first, images.count,
                     job->x + (int64_t)images.first * stride, stride, scratch->norm, mean, rstd);
        linear_forward(step, &linear, span.rows, scratch->norm, dim, q, dim);
        if (bias) step->kernels->add_bias(span.rows, dim, bias, q, dim);
        through_heads(job, KEYS, span.rows, q, saved->class_folded + span.first * heads * dim, heads * dim);
        for (int i = 0; i < span.rows; i++) {
            int64_t image = span.first + i, row = image * block->tokens;
            step->kernels->layernorm(block->tokens, dim, job->x + (int64_t)branch.kept.images[image] * stride, dim,
                                     block->norm1.eps, step->weights + block->norm1.weight,
                                     step->weights + block->norm1.bias, scratch->rows, dim, saved->mean1 + row,
                                     saved->rstd1 + row);
            attend(job, image, scratch, scratch->mass + i * heads);
        }
        gather_heads(job, VALUES, span.rows, saved->class_context + span.first * heads * dim, attention);
        if (bias) add_value_bias(block, bias + VALUES * dim, span.rows, scratch->mass, attention);
        linear_forward(step, &block->proj, span.rows, attention, dim, scratch->branch, dim);
    }
    residual_forward(step, &branch, images.first, images.count, dim, scratch->branch, linear_bias(step, &block->proj),
                     job->x + (int64_t)images.first * stride, stride,
                     stored_floats(saved->residual_mid) + (int64_t)images.first * dim, dim);
}

/* From residual_mid to the block's output of the class rows. */
static void mlp_rows(const ClassJob *job, Images images, const Scratch *scratch)
{
    const Block *block = job->block;
    const StepContext *step = job->step;
    const BlockSaved *saved = &block->saved;
    ResidualBranch branch = class_branch(block, BRANCH_MLP);
    int64_t first = images.first;
    Span span = kept_rows(&branch.kept, first, images.count);
    int dim = block->dim, stride = block->tokens * dim, width = block->fc1.out;
    float *act = scratch->hidden, *hidden = stored_floats(saved->hidden) + span.first * width;
    const float *residual_mid = stored_floats(saved->residual_mid) + first * dim;
    if (span.rows > 0) {
        norm_forward(step, &block->norm2, &branch.kept, first, images.count, residual_mid, dim, scratch->norm,
                     saved->mean2 + span.first, saved->rstd2 + span.first);
        linear_forward(step, &block->fc1, span.rows, scratch->norm, dim, hidden, width);
        step->kernels->bias_gelu(span.rows, width, linear_bias(step, &block->fc1), hidden, width, act, width);
        dropout_rows(step, block->layer, SITE_HIDDEN, block->drop, &branch.kept, first, images.count, width, act);
        linear_forward(step, &block->fc2, span.rows, act, width, scratch->branch, dim);
    }
    residual_forward(step, &branch, first, images.count, dim, scratch->branch, linear_bias(step, &block->fc2),
                     residual_mid, dim, job->out + first * stride, stride);
}

static void class_task(void *context, int64_t tile, int thread)
{
    const ClassJob *job = context;
    Images images = images_at(job->step, tile);
    Scratch scratch;
    scratch_carve(&scratch, job->block, step_scratch(job->step, thread));
    attention_rows(job, images, &scratch);
    mlp_rows(job, images, &scratch);
}

void class_block_forward(Block *block, const StepContext *step, const float *x, float *out)
{
    ClassJob job = {.block = block, .step = step, .x = x, .out = out};
    step_run(step, class_tile_count(step->batch), class_task, &job, PHASE_LINEARS);
}

/* ---- backward */

static void mlp_rows_backward(const ClassJob *job, Images images, float *sums, const Scratch *scratch)
{
    const Block *block = job->block;
    const StepContext *step = job->step;
    const Kernels *k = step->kernels;
    const BlockSaved *saved = &block->saved;
    ResidualBranch branch = class_branch(block, BRANCH_MLP);
    int64_t first = images.first;
    Span span = kept_rows(&branch.kept, first, images.count);
    int dim = block->dim, stride = block->tokens * dim, width = block->fc1.out;
    float *stream = job->dx + first * stride, *dz = stored_floats(job->buffers->dz_mlp) + span.first * dim;
    float *act = stored_floats(job->buffers->act) + span.first * width,
          *hidden = stored_floats(saved->hidden) + span.first * width;
    float *dact = scratch->hidden, *dnorm = scratch->norm;
    if (span.rows == 0) return;
    residual_backward(step, &branch, first, images.count, dim, stream, stride, dz);
    k->column_sums(span.rows, dim, dz, dim, block_sum(block, sums, block->fc2.bias));
    linear_backward(step, &block->fc2, span.rows, dz, dim, 0.0f, dact, width);
    dropout_rows(step, block->layer, SITE_HIDDEN, block->drop, &branch.kept, first, images.count, width, dact);
    k->gelu_backward((int64_t)span.rows * width, hidden, dact, act, hidden);
    dropout_rows(step, block->layer, SITE_HIDDEN, block->drop, &branch.kept, first, images.count, width, act);
    k->column_sums(span.rows, width, hidden, width, block_sum(block, sums, block->fc1.bias));
    linear_backward(step, &block->fc1, span.rows, hidden, width, 0.0f, dnorm, dim);
    norm_backward(step, &block->norm2, &branch.kept, first, images.count,
                  stored_floats(saved->residual_mid) + first * dim, dim, saved->mean2 + span.first,
                  saved->rstd2 + span.first, dnorm, stored_floats(job->buffers->norm) + span.first * dim, stream,
                  stride, block_sum(block, sums, block->norm2.weight), block_sum(block, sums, block->norm2.bias));
}

/* From a kept image's sides to the gradients of its scores and of the folded query. The values' bias counts too. */
static void attend_backward(const ClassJob *job, int64_t image, const float *sides, float *scores, float *sums,
                            const Scratch *scratch)
{
    const Block *block = job->block;
    const BlockSaved *saved = &block->saved;
    const StepContext *step = job->step;
    const Kernels *k = step->kernels;
    int heads = block->heads, dim = block->dim, width = dim / heads, tokens = block->tokens;
    const float *dattention = stored_floats(job->buffers->dattention) + image * dim,
                *bias = linear_bias(step, &block->qkv[0]);
    float *dscores = scores + heads * tokens, *delta = scratch->delta, *dmass = scratch->dmass;
    bool drops = attention_drop(block, step) > 0;
    k->gemm(GEMM_NT, 2 * heads, tokens, dim, sides, dim, scratch->rows, dim, 0.0f, scores, tokens);
    k->row_dots(heads, width, stored_floats(saved->attention) + image * dim, width, dattention, width, delta);
    if (bias) {
        k->row_dots(heads, width, bias + VALUES * dim, width, dattention, width, dmass);
        for (int i = 0; i < heads * tokens; i++) dscores[i] += dmass[i / tokens];
    }
    if (drops) {
        for (int i = 0; i < heads * tokens; i++) scratch->mask[i] = 1.0f;
        drop_scores(block, step, image, scratch->mask);
    }
    k->softmax_backward(heads, tokens, block->scale, scores, tokens, dscores, tokens, saved->lse + image * heads, delta,
                        drops ? scratch->mask : NULL);
    k->gemm(GEMM_NN, heads, dim, tokens, dscores, tokens, scratch->rows, dim, 0.0f,
            job->buffers->class_dfolded + image * heads * dim, dim);
    if (!bias) return;
    float *dbias = block_sum(block, sums, block->qkv[0].bias) + VALUES * dim;
    for (int h = 0; h < heads; h++) {
        float mass = sum_of(tokens, scores + h * tokens);
        for (int c = h * width; c < (h + 1) * width; c++) dbias[c] += mass * dattention[c];
    }
}

/* From the gradients of a kept image's scores, folded query and class row to that of its rows of x. */
static void rows_backward(const ClassJob *job, int64_t image, const float *sides, const float *scores,
                          const float *dclass, float *sums, const Scratch *scratch)
{
    const Block *block = job->block;
    const BlockSaved *saved = &block->saved;
    const StepContext *step = job->step;
    int heads = block->heads, dim = block->dim, tokens = block->tokens;
    int64_t in_batch = (int64_t)saved->kept[BRANCH_ATTENTION].images[image] * tokens * dim;
    float *drows = scratch->rows;
    step->kernels->gemm(GEMM_TN, tokens, dim, 2 * heads, scores, tokens, sides + SIDE_DCONTEXT * heads * dim, dim, 0.0f,
                        drows, dim);
    for (int c = 0; c < dim; c++) drows[c] += dclass[c];
    step->kernels->layernorm_backward(tokens, dim, job->x + in_batch, dim, saved->mean1 + image * tokens,
                                      saved->rstd1 + image * tokens, step->weights + block->norm1.weight, drows, dim,
                                      true, job->dx + in_batch, dim, block_sum(block, sums, block->norm1.weight),
                                      block_sum(block, sums, block->norm1.bias));
}

/* n of a kept image, again. */
static void norm_rows(const ClassJob *job, int64_t image, float *rows)
{
    const Block *block = job->block;
    const BlockSaved *saved = &block->saved;
    const float *weights = job->step->weights;
    int64_t row = image * block->tokens;
    int dim = block->dim;
    job->step->kernels->layernorm_apply(
        block->tokens, dim, job->x + (int64_t)saved->kept[BRANCH_ATTENTION].images[image] * block->tokens * dim, dim,
        saved->mean1 + row, saved->rstd1 + row, weights + block->norm1.weight, weights + block->norm1.bias, rows, dim);
}

static void attention_rows_backward(const ClassJob *job, Images images, float *sums, const Scratch *scratch)
{
    const Block *block = job->block;
    const BlockSaved *saved = &block->saved;
    const BlockBuffers *buffers = job->buffers;
    const StepContext *step = job->step;
    ResidualBranch branch = class_branch(block, BRANCH_ATTENTION);
    Span span = kept_rows(&branch.kept, images.first, images.count);
    int dim = block->dim, heads = block->heads, tokens = block->tokens, side = heads * dim;
    float *dz = stored_floats(buffers->dz_attention) + span.first * dim, *dq = buffers->class_dq + span.first * dim;
    float *dattention = stored_floats(buffers->dattention) + span.first * dim, *dclass = scratch->norm;
    Linear linear = queries(block);
    if (span.rows == 0) return;
    residual_backward(step, &branch, images.first, images.count, dim, job->dx + (int64_t)images.first * tokens * dim,
                      tokens * dim, dz);
    step->kernels->column_sums(span.rows, dim, dz, dim, block_sum(block, sums, block->proj.bias));
    linear_backward(step, &block->proj, span.rows, dz, dim, 0.0f, dattention, dim);
    through_heads(job, VALUES, span.rows, dattention, scratch->sides + SIDE_DCONTEXT * side, SIDES * side);
    for (int i = 0; i < span.rows; i++) {
        int64_t image = span.first + i;
        float *sides = scratch->sides + i * SIDES * side;
        memcpy(sides + SIDE_FOLDED * side, saved->class_folded + image * side, (size_t)side * sizeof(float));
        memcpy(sides + SIDE_FOLDED_AGAIN * side, saved->class_folded + image * side, (size_t)side * sizeof(float));
        norm_rows(job, image, scratch->rows);
        memcpy(buffers->class_norm + image * dim, scratch->rows, (size_t)dim * sizeof(float));
        attend_backward(job, image, sides, scratch->scores + i * 2 * heads * tokens, sums, scratch);
    }
    gather_heads(job, KEYS, span.rows, buffers->class_dfolded + span.first * side, dq);
    if (linear.bias >= 0) step->kernels->column_sums(span.rows, dim, dq, dim, block_sum(block, sums, linear.bias));
    linear_backward(step, &linear, span.rows, dq, dim, 0.0f, dclass, dim);
    for (int i = 0; i < span.rows; i++)
        rows_backward(job, span.first + i, scratch->sides + i * SIDES * side, scratch->scores + i * 2 * heads * tokens,
                      dclass + i * dim, sums, scratch);
}

static void class_backward_task(void *context, int64_t tile, int thread)
{
    const ClassJob *job = context;
    const Block *block = job->block;
    Images images = images_at(job->step, tile);
    float *sums = job->buffers->row_sums + tile * block->row_sum_size;
    Scratch scratch;
    scratch_carve(&scratch, block, step_scratch(job->step, thread));
    memset(sums, 0, (size_t)block->row_sum_size * sizeof(float));
    mlp_rows_backward(job, images, sums, &scratch);
    attention_rows_backward(job, images, sums, &scratch);
}

/* The gradient of a head's rows of W_k, q (x) dfolded, or W_v, dout (x) context, summed over the kept images. */
static void head_grad_task(void *context, int64_t task, int thread)
{
    (void)thread;
    const ClassJob *job = context;
    const Block *block = job->block;
    int dim = block->dim, heads = block->heads, width = dim / heads, h = (int)task % heads;
    bool keys = task < heads;
    const float *dy = (keys ? block->saved.class_q : stored_floats(job->buffers->dattention)) + h * width;
    const float *x = (keys ? job->buffers->class_dfolded : block->saved.class_context) + h * dim;
    int64_t row = (int64_t)(keys ? KEYS : VALUES) * dim + h * width;
    job->step->kernels->gemm(GEMM_TN, width, dim, block->saved.kept[BRANCH_ATTENTION].count, dy, dim, x, heads * dim,
                             job->step->accumulate ? 1.0f : 0.0f, job->step->grads + block->qkv[0].weight + row * dim,
                             dim);
}

void class_block_backward(Block *block, const StepContext *step, const BlockBuffers *buffers, const float *x, float *dx)
{
    ClassJob job = {.block = block, .step = step, .buffers = buffers, .x = x, .dx = dx};
    int dim = block->dim;
    int64_t tiles = class_tile_count(step->batch);
    int64_t attention = block->saved.kept[BRANCH_ATTENTION].count, mlp = block->saved.kept[BRANCH_MLP].count;
    Linear q = queries(block);
    WeightGrad grads[] = {
        {&block->fc2, mlp, buffers->dz_mlp, dim, buffers->act, block->fc2.in, NULL},
        {&block->fc1, mlp, block->saved.hidden, block->fc1.out, buffers->norm, dim, NULL},
        {&block->proj, attention, buffers->dz_attention, dim, block->saved.attention, dim, NULL},
        {&q, attention, stored_of(buffers->class_dq), dim, stored_of(buffers->class_norm), dim, NULL}};
    step_run(step, tiles, class_backward_task, &job, PHASE_LINEARS);
    step_run(step, 2 * block->heads, head_grad_task, &job, PHASE_LINEARS);
    weight_grads(step, grads, 4, step->accumulate, buffers->weight_sums);
    partial_sums(step, buffers->row_sums, tiles, block->row_sum_size, block->row_sums, block->row_sum_count,
                 step->accumulate, step->grads);
}
