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
 * A bias of the keys adds the same to all scores of a head, which softmax does not see: it is left out, and its gradient
 * is 0. What else is left out has no effect on logits or gradients; random masks are those of the whole block's first
 * rows. Saved rows are one per image.
 */
#include "core/model/cls_block_internal.h"

#include <math.h>

int64_t class_tile_count(int batch)
{
    return (batch + CLASS_TILE - 1) / CLASS_TILE;
}

ClassImages class_images(const StepContext *step, int64_t tile)
{
    int first = (int)tile * CLASS_TILE, left = step->batch - first;
    return (ClassImages){first, left < CLASS_TILE ? left : CLASS_TILE};
}

size_t class_scratch_carve(ClassScratch *scratch, const Block *block, float *base)
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
                 {&scratch->sides, CLASS_TILE * CLASS_SIDES * heads * dim},
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
    ClassScratch scratch;
    return class_scratch_carve(&scratch, block, NULL);
}

Linear class_queries(const Block *block)
{
    const Linear *qkv = &block->qkv[0];
    return (Linear){
        .in = qkv->in, .out = block->dim, .weight = qkv->weight, .bias = qkv->bias, .forward = qkv->forward};
}

void class_through_heads(const ClassJob *job, int third, int count, const float *x, float *y, int ldy)
{
    const Block *block = job->block;
    int dim = block->dim, width = dim / block->heads;
    const float *weight = job->step->weights + block->qkv[0].weight + (int64_t)third * dim * dim;
    for (int h = 0; h < block->heads; h++)
        job->step->kernels->gemm(GEMM_NN, count, dim, width, x + h * width, dim, weight + (int64_t)h * width * dim, dim,
                                 0.0f, y + h * dim, ldy);
}

void class_gather_heads(const ClassJob *job, int third, int count, const float *x, float *y)
{
    const Block *block = job->block;
    const Linear *qkv = &block->qkv[0];
    int dim = block->dim, width = dim / block->heads;
    for (int h = 0; h < block->heads; h++)
        packed_gemm(job->step->kernels, count, &qkv->forward, third * dim + h * width, width, x + h * dim,
                    block->heads * dim, 0.0f, y + h * width, dim);
}

ResidualBranch class_branch(const Block *block, int which)
{
    ResidualBranch branch = block_branch(block, which);
    branch.kept.tokens = 1;
    return branch;
}

bool class_drops_scores(const Block *block, const StepContext *step)
{
    return step->training && block->attn_drop > 0;
}

void class_drop_scores(const Block *block, const StepContext *step, int64_t image, float *x)
{
    for (int h = 0; h < block->heads; h++, x += block->tokens)
        step->kernels->dropout(block->tokens, block_head_key(block, step, image, h), 0, block->attn_drop, x, x);
}

/* From n and the folded query of a kept image to its context and lse; mass (heads) is how much of the values' bias
 * arrives. */
static void attend(const ClassJob *job, int64_t image, const ClassScratch *scratch, float *mass)
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
    bool drops = class_drops_scores(block, job->step);
    if (drops) class_drop_scores(block, job->step, image, scores);
    k->gemm(GEMM_NN, heads, dim, tokens, scores, tokens, scratch->rows, dim, 0.0f, context, dim);
    for (int h = 0; h < heads; h++) {
        saved->lse[image * heads + h] = max[h] + logf(sum[h]);
        sum[h] = 1.0f / sum[h];
        mass[h] = drops ? class_mass(tokens, scores + h * tokens) * sum[h] : 1.0f;
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
static void attention_rows(const ClassJob *job, ClassImages images, const ClassScratch *scratch)
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
    Linear linear = class_queries(block);
    if (span.rows > 0) {
        norm_forward(step, &block->norm1, &branch.kept, images.first, images.count,
                     job->x + (int64_t)images.first * stride, stride, scratch->norm, mean, rstd);
        linear_forward(step, &linear, span.rows, scratch->norm, dim, q, dim);
        if (bias) step->kernels->add_bias(span.rows, dim, bias, q, dim);
        class_through_heads(job, CLASS_KEYS, span.rows, q, saved->class_folded + span.first * heads * dim, heads * dim);
        for (int i = 0; i < span.rows; i++) {
            int64_t image = span.first + i, row = image * block->tokens;
            step->kernels->layernorm(block->tokens, dim, job->x + (int64_t)branch.kept.images[image] * stride, dim,
                                     block->norm1.eps, step->weights + block->norm1.weight,
                                     step->weights + block->norm1.bias, scratch->rows, dim, saved->mean1 + row,
                                     saved->rstd1 + row);
            attend(job, image, scratch, scratch->mass + i * heads);
        }
        class_gather_heads(job, CLASS_VALUES, span.rows, saved->class_context + span.first * heads * dim, attention);
        if (bias) add_value_bias(block, bias + CLASS_VALUES * dim, span.rows, scratch->mass, attention);
        linear_forward(step, &block->proj, span.rows, attention, dim, scratch->branch, dim);
    }
    residual_forward(step, &branch, images.first, images.count, dim, scratch->branch, linear_bias(step, &block->proj),
                     job->x + (int64_t)images.first * stride, stride,
                     stored_floats(saved->residual_mid) + (int64_t)images.first * dim, dim);
}

/* From residual_mid to the block's output of the class rows. */
static void mlp_rows(const ClassJob *job, ClassImages images, const ClassScratch *scratch)
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
    ClassImages images = class_images(job->step, tile);
    ClassScratch scratch;
    class_scratch_carve(&scratch, job->block, step_scratch(job->step, thread));
    attention_rows(job, images, &scratch);
    mlp_rows(job, images, &scratch);
}

void class_block_forward(Block *block, const StepContext *step, const float *x, float *out)
{
    ClassJob job = {.block = block, .step = step, .x = x, .out = out};
    step_run(step, class_tile_count(step->batch), class_task, &job, PHASE_LINEARS);
}
