#include "core/model/head.h"

#include <string.h>

enum { HEAD_TILE = 32 /* images */ };

void head_build(Head *head, ParamLookup *lookup, const ModelConfig *config)
{
    int dim = zoo_features(config);
    *head = (Head){.tokens = zoo_tokens(config), .dim = dim, .classes = config->num_classes};
    head->norm = find_norm(lookup, "norm", dim, config->norm_eps);
    head->linear = find_linear(lookup, "head", dim, head->classes);
    int64_t width = (int64_t)floats_padded((size_t)dim);
    head->sums[0] = (PartialSum){.at = 0, .count = dim, .grad = head->norm.weight};
    head->sums[1] = (PartialSum){.at = width, .count = dim, .grad = head->norm.bias};
    head->sums[2] = (PartialSum){.at = 2 * width, .count = head->classes, .grad = head->linear.bias};
    head->row_sum_size = 2 * width + (int64_t)floats_padded((size_t)head->classes);
}

static int64_t head_tiles(int batch)
{
    return (batch + HEAD_TILE - 1) / HEAD_TILE;
}

void head_carve(Head *head, Arena *arena, int batch, bool training)
{
    head->mean = arena_floats(arena, (size_t)batch);
    head->rstd = arena_floats(arena, (size_t)batch);
    head->normal = arena_floats(arena, (size_t)batch * (size_t)head->dim);
    if (!training) return;
    head->dnormal = arena_floats(arena, (size_t)batch * (size_t)head->dim);
    head->row_sums = arena_floats(arena, (size_t)(head_tiles(batch) * head->row_sum_size));
    head->weight_sums = arena_floats(arena, weight_grads_partials(batch, &head->linear));
}

typedef struct HeadJob {
    const Head *head;
    const StepContext *step;
    const float *x, *dlogits;
    float *logits, *dx;
} HeadJob;

static int images_of(const HeadJob *job, int64_t tile)
{
    int left = job->step->batch - (int)tile * HEAD_TILE;
    return left < HEAD_TILE ? left : HEAD_TILE;
}

static void head_forward_task(void *context, int64_t tile, int thread)
{
    (void)thread;
    const HeadJob *job = context;
    const Head *head = job->head;
    const StepContext *step = job->step;
    int64_t first = tile * HEAD_TILE;
    int images = images_of(job, tile), dim = head->dim;
    float *normal = head->normal + first * dim, *logits = job->logits + first * head->classes;
    step->kernels->layernorm(images, dim, job->x + first * head->tokens * dim, head->tokens * dim, head->norm.eps,
                             step->weights + head->norm.weight, step->weights + head->norm.bias, normal, dim,
                             head->mean + first, head->rstd + first);
    linear_forward(step, &head->linear, images, normal, dim, logits, head->classes);
    step->kernels->add_bias(images, head->classes, linear_bias(step, &head->linear), logits, head->classes);
}

void head_forward(const Head *head, const StepContext *step, const float *x, float *logits)
{
    HeadJob job = {.head = head, .step = step, .x = x, .logits = logits};
    step_run(step, head_tiles(step->batch), head_forward_task, &job, PHASE_LINEARS);
}

static void backward_task(void *context, int64_t tile, int thread)
{
    (void)thread;
    const HeadJob *job = context;
    const Head *head = job->head;
    const StepContext *step = job->step;
    int64_t first = tile * HEAD_TILE;
    int images = images_of(job, tile), dim = head->dim, ld = head->tokens * dim;
    const float *dlogits = job->dlogits + first * head->classes;
    float *sums = head->row_sums + tile * head->row_sum_size, *dnormal = head->dnormal + first * dim;
    float *dx = job->dx + first * ld;
    memset(sums, 0, (size_t)head->row_sum_size * sizeof(float));
    memset(dx, 0, (size_t)images * (size_t)ld * sizeof(float));
    step->kernels->column_sums(images, head->classes, dlogits, head->classes, sums + head->sums[2].at);
    linear_backward(step, &head->linear, images, dlogits, head->classes, 0.0f, dnormal, dim);
    step->kernels->layernorm_backward(images, dim, job->x + first * ld, ld, head->mean + first, head->rstd + first,
                                      step->weights + head->norm.weight, dnormal, dim, false, dx, ld,
                                      sums + head->sums[0].at, sums + head->sums[1].at);
}

void head_backward(const Head *head, const StepContext *step, const float *x, const float *dlogits, float *dx)
{
    HeadJob job = {.head = head, .step = step, .x = x, .dlogits = dlogits, .dx = dx};
    WeightGrad grad = {&head->linear, step->batch, stored_of(dlogits), head->classes, stored_of(head->normal),
                       head->dim,     NULL};
    step_run(step, head_tiles(step->batch), backward_task, &job, PHASE_LINEARS);
    weight_grads(step, &grad, 1, step->accumulate, head->weight_sums);
    partial_sums(step, head->row_sums, head_tiles(step->batch), head->row_sum_size, head->sums, 3, step->accumulate,
                 step->grads);
}
