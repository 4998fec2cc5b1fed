/* cls_block_backward.c: the gradients of cls_block.c, where the formulas stand. */
#include "core/model/cls_block_internal.h"

#include <string.h>

static void mlp_rows_backward(const ClassJob *job, ClassImages images, float *sums, const ClassScratch *scratch)
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
                            const ClassScratch *scratch)
{
    const Block *block = job->block;
    const BlockSaved *saved = &block->saved;
    const StepContext *step = job->step;
    const Kernels *k = step->kernels;
    int heads = block->heads, dim = block->dim, width = dim / heads, tokens = block->tokens;
    const float *dattention = stored_floats(job->buffers->dattention) + image * dim,
                *bias = linear_bias(step, &block->qkv[0]);
    float *dscores = scores + heads * tokens, *delta = scratch->delta, *dmass = scratch->dmass;
    bool drops = class_drops_scores(block, step);
    k->gemm(GEMM_NT, 2 * heads, tokens, dim, sides, dim, scratch->rows, dim, 0.0f, scores, tokens);
    k->row_dots(heads, width, stored_floats(saved->attention) + image * dim, width, dattention, width, delta);
    if (bias) {
        k->row_dots(heads, width, bias + CLASS_VALUES * dim, width, dattention, width, dmass);
        for (int i = 0; i < heads * tokens; i++) dscores[i] += dmass[i / tokens];
    }
    if (drops) {
        for (int i = 0; i < heads * tokens; i++) scratch->mask[i] = 1.0f;
        class_drop_scores(block, step, image, scratch->mask);
    }
    k->softmax_backward(heads, tokens, block->scale, scores, tokens, dscores, tokens, saved->lse + image * heads, delta,
                        drops ? scratch->mask : NULL);
    k->gemm(GEMM_NN, heads, dim, tokens, dscores, tokens, scratch->rows, dim, 0.0f,
            job->buffers->class_dfolded + image * heads * dim, dim);
    if (!bias) return;
    float *dbias = block_sum(block, sums, block->qkv[0].bias) + CLASS_VALUES * dim;
    for (int h = 0; h < heads; h++) {
        float mass = class_mass(tokens, scores + h * tokens);
        for (int c = h * width; c < (h + 1) * width; c++) dbias[c] += mass * dattention[c];
    }
}

/* From the gradients of a kept image's scores, folded query and class row to that of its rows of x. */
static void rows_backward(const ClassJob *job, int64_t image, const float *sides, const float *scores,
                          const float *dclass, float *sums, const ClassScratch *scratch)
{
    const Block *block = job->block;
    const BlockSaved *saved = &block->saved;
    const StepContext *step = job->step;
    int heads = block->heads, dim = block->dim, tokens = block->tokens;
    int64_t in_batch = (int64_t)saved->kept[BRANCH_ATTENTION].images[image] * tokens * dim;
    float *drows = scratch->rows;
    step->kernels->gemm(GEMM_TN, tokens, dim, 2 * heads, scores, tokens, sides + CLASS_SIDE_DCONTEXT * heads * dim, dim,
                        0.0f, drows, dim);
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

static void attention_rows_backward(const ClassJob *job, ClassImages images, float *sums, const ClassScratch *scratch)
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
    Linear linear = class_queries(block);
    if (span.rows == 0) return;
    residual_backward(step, &branch, images.first, images.count, dim, job->dx + (int64_t)images.first * tokens * dim,
                      tokens * dim, dz);
    step->kernels->column_sums(span.rows, dim, dz, dim, block_sum(block, sums, block->proj.bias));
    linear_backward(step, &block->proj, span.rows, dz, dim, 0.0f, dattention, dim);
    class_through_heads(job, CLASS_VALUES, span.rows, dattention, scratch->sides + CLASS_SIDE_DCONTEXT * side,
                        CLASS_SIDES * side);
    for (int i = 0; i < span.rows; i++) {
        int64_t image = span.first + i;
        float *sides = scratch->sides + i * CLASS_SIDES * side;
        memcpy(sides + CLASS_SIDE_FOLDED * side, saved->class_folded + image * side, (size_t)side * sizeof(float));
        memcpy(sides + CLASS_SIDE_FOLDED_AGAIN * side, saved->class_folded + image * side,
               (size_t)side * sizeof(float));
        norm_rows(job, image, scratch->rows);
        memcpy(buffers->class_norm + image * dim, scratch->rows, (size_t)dim * sizeof(float));
        attend_backward(job, image, sides, scratch->scores + i * 2 * heads * tokens, sums, scratch);
    }
    class_gather_heads(job, CLASS_KEYS, span.rows, buffers->class_dfolded + span.first * side, dq);
    if (linear.bias >= 0) step->kernels->column_sums(span.rows, dim, dq, dim, block_sum(block, sums, linear.bias));
    linear_backward(step, &linear, span.rows, dq, dim, 0.0f, dclass, dim);
    for (int i = 0; i < span.rows; i++)
        rows_backward(job, span.first + i, scratch->sides + i * CLASS_SIDES * side,
                      scratch->scores + i * 2 * heads * tokens, dclass + i * dim, sums, scratch);
}

static void class_backward_task(void *context, int64_t tile, int thread)
{
    const ClassJob *job = context;
    const Block *block = job->block;
    ClassImages images = class_images(job->step, tile);
    float *sums = job->buffers->row_sums + tile * block->row_sum_size;
    ClassScratch scratch;
    class_scratch_carve(&scratch, block, step_scratch(job->step, thread));
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
    int64_t row = (int64_t)(keys ? CLASS_KEYS : CLASS_VALUES) * dim + h * width;
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
    Linear q = class_queries(block);
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
