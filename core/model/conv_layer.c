/* T2T-ViT_c's layers: soft split, one product, bias. The official class (models/t2t_vit.py, tokens_type "convolution") has
 * nothing between its convolutions, so neither have these. */
#include <string.h>

#include "core/model/t2t_layer_internal.h"

void conv_layer_build(T2TLayer *layer, ParamLookup *lookup)
{
    layer->convolution = true;
    layer->conv = linear_of(layer->in, layer->width, find_offset(lookup, "weight"), find_offset(lookup, "bias"));
    token_add_sum(layer, layer->conv.bias, layer->width);
}

void conv_layer_carve_buffers(const T2TLayer *layer, T2TBuffers *buffers, Arena *arena, int images)
{
    int64_t rows = (int64_t)images * layer->tokens, tiles = t2t_tiles_count(&layer->tiles, images);
    buffers->norm1 = stored_carve(arena, (size_t)rows * (size_t)layer->in, false);
    if (!layer->pixels) buffers->dsplit = arena_floats(arena, (size_t)rows * (size_t)layer->in);
    buffers->row_sums = arena_floats(arena, (size_t)(tiles * layer->row_sum_size));
    buffers->weight_sums = arena_floats(arena, weight_grads_partials(rows, &layer->conv));
}

typedef struct ConvJob {
    const T2TLayer *layer;
    const StepContext *step;
    const T2TBuffers *buffers; /* backward */
    int images;
    const float *source;
    float *out;        /* forward: (images, tokens, width) */
    const float *dout; /* backward: as out */
} ConvJob;

static void conv_forward_task(void *context, int64_t task, int thread)
{
    const ConvJob *job = context;
    const T2TLayer *layer = job->layer;
    const StepContext *step = job->step;
    T2TTile tile = t2t_tile(&layer->tiles, job->images, task);
    float *rows = step_scratch(step, thread), *out = job->out + tile.first * layer->width;
    token_split(layer, &tile, job->source, rows);
    step_charge(step, thread, PHASE_SPLIT);
    linear_forward(step, &layer->conv, tile.rows, rows, layer->in, out, layer->width);
    step->kernels->add_bias(tile.rows, layer->width, linear_bias(step, &layer->conv), out, layer->width);
}

void conv_layer_forward(const T2TLayer *layer, const StepContext *step, TokenChunk chunk, const float *source,
                        float *out)
{
    ConvJob job = {.layer = layer, .step = step, .images = chunk.images, .source = source, .out = out};
    step_run(step, t2t_tiles_count(&layer->tiles, chunk.images), conv_forward_task, &job, PHASE_LINEARS);
}

/* The rows again for the weight gradient, the tile's share of the bias, and the gradient of the rows. */
static void conv_backward_task(void *context, int64_t task, int thread)
{
    const ConvJob *job = context;
    const T2TLayer *layer = job->layer;
    const StepContext *step = job->step;
    T2TTile tile = t2t_tile(&layer->tiles, job->images, task);
    int in = layer->in, width = layer->width;
    const float *dout = job->dout + tile.first * width;
    float *sums = job->buffers->row_sums + task * layer->row_sum_size;
    token_split(layer, &tile, job->source, stored_floats(job->buffers->norm1) + tile.first * in);
    memset(sums, 0, (size_t)layer->row_sum_size * sizeof(float));
    step->kernels->column_sums(tile.rows, width, dout, width, sums);
    step_charge(step, thread, PHASE_SPLIT);
    if (layer->pixels) return;
    linear_backward(step, &layer->conv, tile.rows, dout, width, 0.0f, job->buffers->dsplit + tile.first * in, in);
}

void conv_layer_backward(const T2TLayer *layer, const StepContext *step, const T2TBuffers *buffers, TokenChunk chunk,
                         bool add, const float *source, const float *dout, float *dsource)
{
    ConvJob job = {layer, step, buffers, chunk.images, source, NULL, dout};
    int64_t rows = (int64_t)chunk.images * layer->tokens, tiles = t2t_tiles_count(&layer->tiles, chunk.images);
    WeightGrad grad = {&layer->conv, rows, stored_of(dout), layer->width, buffers->norm1, layer->in, NULL};
    step_run(step, tiles, conv_backward_task, &job, PHASE_LINEARS);
    partial_sums(step, buffers->row_sums, tiles, layer->row_sum_size, layer->row_sums, layer->row_sum_count, add,
                 step->grads);
    weight_grads(step, &grad, 1, add, buffers->weight_sums);
    if (!layer->pixels) token_gather(layer, step, buffers, chunk.images, dsource);
}
