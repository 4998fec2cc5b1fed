#include "core/model/model_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/base/memory.h"
#include "core/base/numeric.h"

/* ---- building: what the layers are */

static Status build_layers(Model *model, Error *error)
{
    const ModelConfig *config = &model->config;
    ParamLookup lookup = {.table = &model->params, .prefix = ""};
    char prefix[80];
    model->tokens = zoo_tokens(config);
    model->token_layers = zoo_splits(config) - 1;
    embed_build(&model->embed, &lookup, config);
    head_build(&model->head, &lookup, config);
    lookup.prefix = prefix;
    for (int i = 0; i < model->token_layers; i++) {
        snprintf(prefix, sizeof prefix, "%s.", zoo_layer(config, i).name);
        t2t_layer_build(&model->layers[i], &lookup, config, i);
        model->layers[i].half = model->kernels.bf16 && model->layers[i].performer && model->mode != MODEL_OBSERVE;
    }
    model->chunk =
        min_int(model->max_batch, model->token_layers ? t2t_chunk_images(model->layers[0].tokens) : CHUNK_LEAST);
    for (int i = 0; i < model->block_count; i++) {
        BlockShape shape = zoo_block(config, i);
        snprintf(prefix, sizeof prefix, "blocks.%d.", i);
        block_build(&model->blocks[i], &lookup, config, &shape, 1 + TOKEN_LAYERS + i, model->tokens);
        model->blocks[i].class_only =
            config->variant == VARIANT_PLAIN && i == model->block_count - 1 && model->mode != MODEL_OBSERVE;
        model->blocks[i].half = model->kernels.bf16 && config->variant == VARIANT_PLAIN &&
                                !model->blocks[i].class_only && model->mode != MODEL_OBSERVE;
        model->blocks[i].recompute_hidden = model->mode == MODEL_TRAIN && config->recompute == RECOMPUTE_MLP &&
                                            !shape.transition && !model->blocks[i].class_only;
    }
    if (!lookup.missing) return STATUS_OK;
    return error_set(error, STATUS_FAILED, "%s: the parameter table has no '%s'", config->name, lookup.missing);
}

/* Lists the linear layers whose packed copies stay. In training a block makes its own copies when it runs, in memory
 * that all blocks share. */
static void list_linears(Model *model)
{
    Linear **out = model->linears;
    for (int i = 0; i < model->token_layers; i++) out += t2t_layer_linears(&model->layers[i], out);
    *out++ = &model->embed.project;
    for (int i = 0; model->mode != MODEL_TRAIN && i < model->block_count; i++)
        out += block_linears(&model->blocks[i], out);
    *out++ = &model->head.linear;
    model->linear_count = (int)(out - model->linears);
}

/* ---- life */

static Status allocate_tables(Model *model, Error *error)
{
    const int64_t blocks = model->block_count, linears = MAX_BLOCK_LINEARS * blocks + 5 * TOKEN_LAYERS + 2;
    model->blocks = memory_alloc(blocks, sizeof *model->blocks, "a model's blocks", error);
    model->block_buffers = memory_alloc(blocks, sizeof *model->block_buffers, "a model's blocks", error);
    model->x = memory_alloc(blocks + 1, sizeof *model->x, "a model's blocks", error);
    model->linears = memory_alloc(linears, sizeof *model->linears, "a model's linear layers", error);
    return model->blocks && model->block_buffers && model->x && model->linears ? STATUS_OK : STATUS_FAILED;
}

/* All of a model but its memory, whose size arena.used then says. */
static Status model_lay_out(Model **out, const ModelConfig *config, int max_batch, ModelMode mode, Pool *pool,
                            Error *error)
{
    *out = NULL;
    Status status = zoo_check(config, error);
    if (status) return status;
    if (max_batch < 1) return error_set(error, STATUS_USAGE, "%s: batch %d; at least 1", config->name, max_batch);
    Model *model = memory_alloc(1, sizeof *model, "a model", error);
    if (!model) return STATUS_FAILED;
    status = kernels_of_precision(&model->kernels, config->precision, error);
    model->step.kernels = &model->kernels;
    model->config = *config;
    model->mode = mode;
    model->max_batch = max_batch;
    model->block_count = zoo_blocks(config);
    model->step.pool = pool;
    if (!status) status = allocate_tables(model, error);
    if (!status) status = params_build(&model->params, config, error);
    if (!status) status = build_layers(model, error);
    if (!status) {
        list_linears(model);
        model_carve(model, &model->arena);
    }
    if (status) {
        model_free(model);
        return status;
    }
    *out = model;
    return STATUS_OK;
}

Status model_create(Model **out, const ModelConfig *config, int max_batch, ModelMode mode, Pool *pool, Error *error)
{
    Model *model;
    *out = NULL;
    Status status = model_lay_out(&model, config, max_batch, mode, pool, error);
    if (status) return status;
    status = arena_allocate(&model->arena, error);
    if (status) {
        model_free(model);
        return status;
    }
    model_carve(model, &model->arena);
    *out = model;
    return STATUS_OK;
}

Status model_measure(const ModelConfig *config, int max_batch, ModelMode mode, Pool *pool, size_t *bytes, Error *error)
{
    Model *model;
    *bytes = 0;
    Status status = model_lay_out(&model, config, max_batch, mode, pool, error);
    if (status) return status;
    *bytes = model->arena.used;
    model_free(model);
    return STATUS_OK;
}

void model_free(Model *model)
{
    if (!model) return;
    arena_free(&model->arena);
    params_free(&model->params);
    free(model->linears);
    free(model->x);
    free(model->block_buffers);
    free(model->blocks);
    free(model);
}

const ModelConfig *model_config(const Model *model)
{
    return &model->config;
}

const ParamTable *model_params(const Model *model)
{
    return &model->params;
}

size_t model_memory(const Model *model)
{
    return model->arena.size;
}

const Kernels *model_kernels(const Model *model)
{
    return model->step.kernels;
}

void model_profile(Model *model, Profile *profile)
{
    model->step.profile = profile;
}

/* ---- running */

void model_set_weights(Model *model, const float *weights)
{
    model->step.weights = weights;
    linears_pack(&model->step, model->linears, model->linear_count, false);
    linears_pack(&model->step, model->linears, model->linear_count, true);
}

/* Chunk number `index` of the batch, in what the token layers keep. */
static TokenChunk chunk_at(const Model *model, int index)
{
    TokenChunk chunk = {.first = index * model->chunk};
    chunk.images = min_int(model->chunk, model->step.batch - chunk.first);
    bool train = model->mode == MODEL_TRAIN;
    chunk.slot = train && !model->config.recompute ? chunk.first : 0;
    chunk.attention = train ? chunk.first : 0;
    return chunk;
}

static int chunk_count(const Model *model)
{
    return (model->step.batch + model->chunk - 1) / model->chunk;
}

static const float *chunk_images(const Model *model, TokenChunk chunk)
{
    const ModelConfig *config = &model->config;
    return model->step.images + (int64_t)chunk.first * config->in_chans * config->img_size * config->img_size;
}

static float *chunk_layer(const Model *model, TokenChunk chunk, int layer)
{
    return model->layer_out[layer] + (size_t)chunk.slot * model_layer_floats(model, layer);
}

/* Returns the last layer's output, or the images if there are no token layers. */
static const float *forward_token_layers(Model *model, TokenChunk chunk, bool again)
{
    const float *source = chunk_images(model, chunk);
    for (int i = 0; i < model->token_layers; i++) {
        float *out = chunk_layer(model, chunk, i);
        t2t_layer_forward(&model->layers[i], &model->step, &model->layer_buffers[i], chunk, again, source, out);
        observe_token_layer(model, i, chunk, source, out);
        source = out;
    }
    return source;
}

static void pack_block(Model *model, int index, bool backward)
{
    Linear *linears[MAX_BLOCK_LINEARS];
    int count = block_linears(&model->blocks[index], linears);
    linears_pack(&model->step, linears, count, backward);
}

static void forward_block(Model *model, int index)
{
    Block *block = &model->blocks[index];
    if (model->mode == MODEL_TRAIN) pack_block(model, index, false);
    block_forward(block, &model->step, model->x[index], model->x[index + 1]);
    observe_block(model, index);
}

void model_forward(Model *model, const ModelInput *input, float *logits)
{
    StepContext *step = &model->step;
    step->batch = input->count;
    step->images = input->images;
    step->training = input->training;
    step->seed = input->seed;
    step->epoch = input->epoch;
    step->samples = model->samples;
    if (input->training) memcpy(model->samples, input->samples, (size_t)input->count * sizeof *model->samples);
    for (int i = 0; i < chunk_count(model); i++) {
        TokenChunk chunk = chunk_at(model, i);
        const float *source = forward_token_layers(model, chunk, false);
        float *out = model->x[0] + (int64_t)chunk.first * model->tokens * model->embed.dim;
        embed_forward(&model->embed, step, chunk, source, out);
        observe_embed(model, chunk, source, out);
    }
    for (int i = 0; i < model->block_count; i++) forward_block(model, i);
    head_forward(&model->head, step, model->x[model->block_count], logits);
}

/* Chunks go from the last, which is there from forward, to the first. */
static void backward_chunk(Model *model, int index, float *dx)
{
    TokenChunk chunk = chunk_at(model, index);
    bool kept = index == chunk_count(model) - 1, add = model->step.accumulate || !kept;
    int last = model->token_layers - 1;
    if (model->config.recompute && !kept) forward_token_layers(model, chunk, true);
    const float *source = last >= 0 ? chunk_layer(model, chunk, last) : chunk_images(model, chunk);
    embed_backward(&model->embed, &model->step, &model->embed_buffers, chunk, add, source,
                   dx + (int64_t)chunk.first * model->tokens * model->embed.dim,
                   last >= 0 ? model->dlayer[last] : NULL);
    for (int i = last; i >= 0; i--) {
        source = i > 0 ? chunk_layer(model, chunk, i - 1) : chunk_images(model, chunk);
        t2t_layer_backward(&model->layers[i], &model->step, &model->layer_buffers[i], chunk, add, source,
                           model->dlayer[i], i > 0 ? model->dlayer[i - 1] : NULL);
    }
}

/* What backward of a block needs beside what is kept of it; the last block's is there from forward. */
static void recompute_block(Model *model, int index)
{
    if (model->config.recompute == RECOMPUTE_BLOCKS && index < model->block_count - 1) forward_block(model, index);
    if (model->blocks[index].recompute_hidden) pack_block(model, index, false);
    pack_block(model, index, true);
}

/* Frozen tensors have no gradient, and the floats between tensors stay zero. */
static void zero_rest(const ParamTable *table, int group, float *grads)
{
    for (int i = 0; i < table->count; i++) {
        const Param *param = &table->items[i];
        if (param->group != group) continue;
        int64_t end = i + 1 < table->count ? param[1].offset : table->size;
        int64_t from = param->trainable ? param->offset + param->numel : param->offset;
        memset(grads + from, 0, (size_t)(end - from) * sizeof(float));
    }
}

/* Group by group from the last, each a slice that ends where the one before began. */
static void report(const Model *model, int group, int64_t *end, GradsReady ready, void *context)
{
    const ParamTable *table = &model->params;
    int first = 0;
    while (table->items[first].group != group) first++;
    zero_rest(table, group, model->step.grads);
    int64_t begin = table->items[first].offset;
    if (ready) ready(context, begin, *end - begin);
    *end = begin;
}

void model_backward(Model *model, const float *grad_logits, float *grads, bool accumulate, GradsReady ready,
                    void *context)
{
    StepContext *step = &model->step;
    int64_t end = model->params.size;
    float *dx = model->dx[0];
    step->grads = grads;
    step->accumulate = accumulate;
    head_backward(&model->head, step, model->x[model->block_count], grad_logits, dx);
    report(model, model->block_count + 1, &end, ready, context);
    for (int i = model->block_count - 1; i >= 0; i--) {
        bool in_place = model->blocks[i].dim == model->blocks[i].out;
        float *next = in_place ? dx : dx == model->dx[0] ? model->dx[1] : model->dx[0];
        recompute_block(model, i);
        block_backward(&model->blocks[i], step, &model->block_buffers[i], model->x[i], dx, next);
        dx = next;
        report(model, i + 1, &end, ready, context);
    }
    for (int i = chunk_count(model) - 1; i >= 0; i--) backward_chunk(model, i, dx);
    report(model, 0, &end, ready, context);
}
