#include "core/model/t2t_layer_internal.h"

#include <math.h>
#include <string.h>

/* ---- chunks and tiles */

int t2t_chunk_images(int tokens)
{
    const int images = CHUNK_LEAST * 56 * 56 / tokens;
    return images < CHUNK_LEAST ? CHUNK_LEAST : images > CHUNK_MOST ? CHUNK_MOST : images;
}

T2TTiles t2t_tiles(int tokens)
{
    T2TTiles tiles = {.tokens = tokens, .per_image = 1, .images = 1, .rows = tokens};
    if (tokens > ROW_TILE + ROW_TILE / 4) { /* 196 tokens are one tile */
        tiles.per_image = (tokens + ROW_TILE / 2) / ROW_TILE;
        tiles.rows = (tokens + tiles.per_image - 1) / tiles.per_image;
    } else if (2 * tokens <= ROW_TILE) {
        tiles.images = ROW_TILE / tokens;
        tiles.rows = tiles.images * tokens;
    }
    return tiles;
}

int64_t t2t_tiles_count(const T2TTiles *tiles, int images)
{
    return tiles->per_image > 1 ? (int64_t)images * tiles->per_image : (images + tiles->images - 1) / tiles->images;
}

T2TTile t2t_tile(const T2TTiles *tiles, int images, int64_t tile)
{
    T2TTile at = {.images = 1};
    if (tiles->per_image > 1) {
        at.image = (int)(tile / tiles->per_image);
        at.row = (int)(tile % tiles->per_image) * tiles->rows;
        at.rows = tiles->tokens - at.row < tiles->rows ? tiles->tokens - at.row : tiles->rows;
    } else {
        at.image = (int)tile * tiles->images;
        at.images = images - at.image < tiles->images ? images - at.image : tiles->images;
        at.rows = at.images * tiles->tokens;
    }
    at.first = (int64_t)at.image * tiles->tokens + at.row;
    return at;
}

/* ---- building */

void token_add_sum(T2TLayer *layer, int64_t grad, int64_t count)
{
    if (grad < 0) return;
    layer->row_sums[layer->row_sum_count++] = (PartialSum){.at = layer->row_sum_size, .count = count, .grad = grad};
    layer->row_sum_size += (int64_t)floats_padded((size_t)count);
}

void t2t_layer_build(T2TLayer *layer, ParamLookup *lookup, const ModelConfig *config, int index)
{
    int width = config->token_dim, in = zoo_split_width(config, index), side = zoo_split_side(config, index);
    const SoftSplit *split = &config->splits[index];
    bool performer = config->tokens_type == TOKENS_PERFORMER;
    *layer = (T2TLayer){.layer = 1 + index, .tokens = side * side, .in = in, .width = width, .performer = performer};
    layer->pixels = index == 0;
    layer->split =
        index == 0
            ? split_image(config->in_chans, config->img_size, split->kernel, split->stride, split->padding)
            : split_tokens(width, zoo_split_side(config, index - 1), split->kernel, split->stride, split->padding);
    layer->source_size = (int64_t)layer->split.channels * layer->split.side * layer->split.side;
    layer->tiles = t2t_tiles(layer->tokens);
    if (config->tokens_type == TOKENS_CONVOLUTION) {
        conv_layer_build(layer, lookup);
        return;
    }
    layer->scale = (float)(1.0 / sqrt(in)); /* of the width before the projection, as in the reference */
    layer->norm1 = find_norm(lookup, "norm1", in, 1e-5);
    layer->norm2 = find_norm(lookup, "norm2", width, 1e-5);
    if (performer) {
        layer->drop = config->token_dropout;
        layer->w = find_offset(lookup, "w");
        layer->features = linear_of(width, zoo_performer_features(config), layer->w, -1);
        layer->qkv = find_linear(lookup, "kqv", in, 3 * width);
        layer->proj = find_linear(lookup, "proj", width, width);
        layer->fc1 = find_linear(lookup, "mlp.0", width, width);
        layer->fc2 = find_linear(lookup, "mlp.2", width, width);
    } else {
        layer->qkv = find_linear(lookup, "attn.qkv", in, 3 * width);
        layer->proj = find_linear(lookup, "attn.proj", width, width);
        layer->fc1 = find_linear(lookup, "mlp.fc1", width, width);
        layer->fc2 = find_linear(lookup, "mlp.fc2", width, width);
    }
    token_add_sum(layer, layer->fc2.bias, width);
    token_add_sum(layer, layer->fc1.bias, width);
    token_add_sum(layer, layer->norm2.weight, width);
    token_add_sum(layer, layer->norm2.bias, width);
    token_add_sum(layer, layer->proj.bias, width);
    layer->upper_sum_count = layer->row_sum_count;
    token_add_sum(layer, layer->norm1.weight, in);
    token_add_sum(layer, layer->norm1.bias, in);
    layer->qkv_sum_at = layer->row_sum_size;
    token_add_sum(layer, layer->qkv.bias, 3 * width);
    if (layer->qkv.bias < 0) layer->row_sum_size += (int64_t)floats_padded(3 * (size_t)width);
}

int t2t_layer_linears(T2TLayer *layer, Linear **out)
{
    int count = 0;
    if (layer->convolution) {
        out[count++] = &layer->conv;
        return count;
    }
    out[count++] = &layer->qkv;
    out[count++] = &layer->proj;
    out[count++] = &layer->fc1;
    out[count++] = &layer->fc2;
    if (layer->performer) out[count++] = &layer->features;
    return count;
}

Performer token_performer(const T2TLayer *layer, const StepContext *step)
{
    return (Performer){.width = layer->width,
                       .features = layer->features.out,
                       .w = step ? step->weights + layer->w : NULL,
                       .w_packed = layer->features.forward};
}

void t2t_layer_carve_saved(T2TLayer *layer, Arena *arena, int images, int attention_images)
{
    T2TSaved *saved = &layer->saved;
    Performer performer = token_performer(layer, NULL);
    if (layer->convolution) return;
    size_t rows = (size_t)images * (size_t)layer->tokens, width = (size_t)layer->width;
    float **statistics[] = {&saved->mean1, &saved->rstd1, &saved->mean2, &saved->rstd2};
    for (int i = 0; i < 4; i++) *statistics[i] = arena_floats(arena, rows);
    saved->qkv = stored_carve(arena, rows * 3 * width, layer->half);
    saved->residual_mid = stored_carve(arena, rows * width, layer->half);
    saved->hidden = stored_carve(arena, rows * width, layer->half);
    if (layer->performer) {
        saved->sums = arena_floats(arena, (size_t)images * performer_sums_size(&performer));
    } else {
        rows = (size_t)attention_images * (size_t)layer->tokens;
        saved->attention = arena_floats(arena, rows * width);
        saved->lse = arena_floats(arena, rows);
    }
}

void t2t_layer_carve_buffers(T2TLayer *layer, T2TBuffers *buffers, Arena *arena, int images, bool training)
{
    Performer performer = token_performer(layer, NULL);
    size_t tiles = (size_t)t2t_tiles_count(&layer->tiles, images), matrix, sums = 0;
    if (layer->convolution) {
        if (training) conv_layer_carve_buffers(layer, buffers, arena, images);
        return;
    }
    matrix = (size_t)images * (size_t)layer->tokens * (size_t)layer->width;
    if (layer->performer) /* a tile of whole images has a sum for each */
        buffers->tile_sums = arena_floats(arena, tiles * (size_t)layer->tiles.images * performer_sums_size(&performer));
    if (!training) return;
    if (layer->performer) buffers->image_sums = arena_floats(arena, (size_t)images * performer_sums_size(&performer));
    float **matrices[] = {&buffers->dz_mlp, &buffers->dz_attention, &buffers->act, &buffers->attention,
                          &buffers->dattention};
    for (int i = 0; i < 5; i++) *matrices[i] = arena_floats(arena, matrix);
    buffers->norm2 = stored_carve(arena, matrix, layer->half);
    if (layer->pixels) {
        buffers->plain = arena_floats(arena, 2 * (size_t)layer->in);
        buffers->qkv_grad = arena_floats(arena, 3 * (size_t)layer->width * (size_t)layer->in);
        buffers->qkv_sum = arena_floats(arena, 3 * (size_t)layer->width);
    }
    buffers->norm1 = stored_carve(arena, (size_t)images * (size_t)layer->tokens * (size_t)layer->in, layer->half);
    if (!layer->pixels)
        buffers->dsplit = arena_floats(arena, (size_t)images * (size_t)layer->tokens * (size_t)layer->in);
    buffers->row_sums = arena_floats(arena, tiles * (size_t)layer->row_sum_size);
    Linear *linears[5];
    int count = t2t_layer_linears(layer, linears);
    for (int i = 0; i < count; i++) sums += weight_grads_partials((int64_t)images * layer->tokens, linears[i]);
    buffers->weight_sums = arena_floats(arena, sums);
}

size_t token_half_at(const T2TLayer *layer)
{
    Performer performer = token_performer(layer, NULL);
    size_t rows = (size_t)layer->tiles.rows;
    size_t tile = rows * (size_t)(2 * layer->in + 4 * layer->width);
    size_t attention = layer->performer ? 0 : attention_scratch(layer->tokens, layer->width);
    size_t features = layer->performer ? performer_scratch(&performer, layer->tiles.rows) : 0;
    return floats_padded(tile > attention ? tile : attention) + floats_padded(features);
}

size_t t2t_layer_scratch(const T2TLayer *layer)
{
    size_t tiles = (size_t)layer->tiles.rows * (size_t)(5 * layer->width + layer->in);
    if (layer->convolution) return (size_t)layer->tiles.rows * (size_t)layer->in;
    return token_half_at(layer) + (layer->half ? tiles : 0);
}

/* ---- forward */

typedef struct ForwardJob {
    const T2TLayer *layer;
    const StepContext *step;
    const T2TBuffers *buffers;
    TokenChunk chunk;
    const float *source;
    float *out;
} ForwardJob;

void token_split(const T2TLayer *layer, const T2TTile *tile, const float *source, float *out)
{
    int rows = tile->rows / tile->images;
    for (int i = 0; i < tile->images; i++)
        split_rows(&layer->split, source + (tile->image + i) * layer->source_size, tile->row, rows,
                   out + (int64_t)i * rows * layer->in, layer->in);
}

static void t2t_qkv_task(void *context, int64_t task, int thread)
{
    const ForwardJob *job = context;
    const T2TLayer *layer = job->layer;
    const StepContext *step = job->step;
    const T2TSaved *saved = &layer->saved;
    T2TTile tile = t2t_tile(&layer->tiles, job->chunk.images, task);
    int64_t at = (int64_t)job->chunk.slot * layer->tokens + tile.first;
    int in = layer->in, ld = 3 * layer->width;
    float *rows = step_scratch(step, thread), *half = rows + token_half_at(layer);
    float *qkv = stored_write(saved->qkv, at * ld, half);
    token_split(layer, &tile, job->source, rows);
    step_charge(step, thread, PHASE_SPLIT);
    step->kernels->layernorm(tile.rows, in, rows, in, layer->norm1.eps, step->weights + layer->norm1.weight,
                             step->weights + layer->norm1.bias, rows, in, saved->mean1 + at, saved->rstd1 + at);
    step_charge(step, thread, PHASE_NORMS);
    linear_forward(step, &layer->qkv, tile.rows, rows, in, qkv, ld);
    if (layer->qkv.bias >= 0) step->kernels->add_bias(tile.rows, ld, step->weights + layer->qkv.bias, qkv, ld);
    stored_rounded(step->kernels, saved->qkv, at * ld, tile.rows, ld, qkv, qkv);
    step_charge(step, thread, PHASE_LINEARS);
    if (!layer->performer) return;
    Performer performer = token_performer(layer, step);
    size_t size = performer_sums_size(&performer);
    float *sums = job->buffers->tile_sums + (size_t)task * (size_t)tile.images * size;
    if (layer->tiles.images > 1) sums = job->buffers->tile_sums + (size_t)tile.image * size;
    int each = tile.rows / tile.images;
    for (int i = 0; i < tile.images; i++, sums += size, qkv += (int64_t)each * ld) {
        memset(sums, 0, size * sizeof(float));
        performer_sums(step->kernels, &performer, each, qkv + token_k(layer), qkv + token_v(layer), ld, sums, rows);
    }
    step_charge(step, thread, PHASE_TOKENS);
}

typedef struct SumJob {
    const T2TLayer *layer;
    const Kernels *kernels;
    const float *tile_sums;
    float *total;
    int size;
} SumJob;

static void t2t_sum_task(void *context, int64_t image, int thread)
{
    (void)thread;
    const SumJob *job = context;
    float *total = job->total + image * job->size;
    int tiles = job->layer->tiles.per_image;
    memset(total, 0, (size_t)job->size * sizeof(float));
    job->kernels->column_sums(tiles, job->size, job->tile_sums + image * tiles * job->size, job->size, total);
}

void token_sum_tiles(const T2TLayer *layer, const StepContext *step, int images, const float *tile_sums, float *total)
{
    Performer performer = token_performer(layer, step);
    SumJob job = {layer, step->kernels, tile_sums, total, (int)performer_sums_size(&performer)};
    step_run(step, images, t2t_sum_task, &job, PHASE_TOKENS);
}

AttentionHead token_head(const T2TLayer *layer, int64_t image)
{
    const float *qkv = stored_floats(layer->saved.qkv) + image * layer->tokens * 3 * layer->width;
    return (AttentionHead){.tokens = layer->tokens,
                           .width = layer->width,
                           .scale = layer->scale,
                           .q = qkv + token_q(layer),
                           .k = qkv + token_k(layer),
                           .v = qkv + token_v(layer),
                           .ld = 3 * layer->width};
}

static int part_tokens(const T2TLayer *layer)
{
    return (int)floats_padded((size_t)(layer->tokens + ATTENTION_PARTS - 1) / ATTENTION_PARTS);
}

int token_attention_parts(const T2TLayer *layer)
{
    return (layer->tokens + part_tokens(layer) - 1) / part_tokens(layer);
}

AttentionPart token_attention_part(const T2TLayer *layer, int64_t task)
{
    int parts = token_attention_parts(layer), most = part_tokens(layer);
    AttentionPart at = {.image = task / parts, .part = (int)(task % parts)};
    at.first = at.part * most;
    at.count = layer->tokens - at.first < most ? layer->tokens - at.first : most;
    return at;
}

static void t2t_attention_task(void *context, int64_t task, int thread)
{
    const ForwardJob *job = context;
    const T2TLayer *layer = job->layer;
    AttentionPart at = token_attention_part(layer, task);
    int64_t first = (job->chunk.attention + at.image) * layer->tokens;
    AttentionHead head = token_head(layer, job->chunk.slot + at.image);
    attention_forward(job->step->kernels, &head, at.first, at.count, layer->saved.attention + first * layer->width,
                      layer->width, layer->saved.lse + first, step_scratch(job->step, thread));
}

ResidualBranch token_branch(const T2TLayer *layer, int site)
{
    return (ResidualBranch){
        .layer = layer->layer, .site = site, .drop = layer->drop, .kept = drop_path_none(layer->tokens)};
}

static void t2t_rest_task(void *context, int64_t task, int thread)
{
    const ForwardJob *job = context;
    const T2TLayer *layer = job->layer;
    const StepContext *step = job->step;
    const T2TSaved *saved = &layer->saved;
    T2TTile tile = t2t_tile(&layer->tiles, job->chunk.images, task);
    int rows = tile.rows, width = layer->width, ld = 3 * width, each = rows / tile.images;
    int64_t at = (int64_t)job->chunk.slot * layer->tokens + tile.first;
    int64_t row = (int64_t)job->chunk.first * layer->tokens + tile.first; /* in the batch: keys the dropout */
    size_t matrix = (size_t)layer->tiles.rows * (size_t)width;
    float *y = step_scratch(step, thread), *branch_out = y + matrix, *norm = branch_out + matrix, *act = norm + matrix;
    float *scratch = act + matrix, *half = y + token_half_at(layer);
    float *residual_mid = stored_write(saved->residual_mid, at * width, half + 3 * matrix);
    float *hidden = stored_write(saved->hidden, at * width, half + 4 * matrix);
    const float *qkv = stored_read(step->kernels, saved->qkv, at * ld, rows, ld, half), *attention = y;
    if (layer->performer) {
        Performer performer = token_performer(layer, step);
        for (int i = 0; i < tile.images; i++)
            performer_apply(step->kernels, &performer, each, qkv + (int64_t)i * each * ld + token_q(layer), ld,
                            saved->sums + (size_t)(job->chunk.slot + tile.image + i) * performer_sums_size(&performer),
                            y + (int64_t)i * each * width, width, scratch);
    } else {
        attention = saved->attention + ((int64_t)job->chunk.attention * layer->tokens + tile.first) * width;
    }
    step_charge(step, thread, PHASE_TOKENS);
    ResidualBranch projection = token_branch(layer, SITE_PROJECTION), mlp = token_branch(layer, SITE_OUTPUT);
    linear_forward(step, &layer->proj, rows, attention, width, branch_out, width);
    step_charge(step, thread, PHASE_LINEARS);
    residual_forward(step, &projection, row, rows, width, branch_out, linear_bias(step, &layer->proj),
                     qkv + token_v(layer), ld, residual_mid, width);
    const float *in = stored_rounded(step->kernels, saved->residual_mid, at * width, rows, width, residual_mid, norm);
    step->kernels->layernorm(rows, width, in, width, layer->norm2.eps, step->weights + layer->norm2.weight,
                             step->weights + layer->norm2.bias, norm, width, saved->mean2 + at, saved->rstd2 + at);
    step_charge(step, thread, PHASE_NORMS);
    linear_forward(step, &layer->fc1, rows, norm, width, hidden, width);
    step_charge(step, thread, PHASE_LINEARS);
    step->kernels->bias_gelu(rows, width, linear_bias(step, &layer->fc1), hidden, width, act, width);
    stored_end(step->kernels, saved->hidden, at * width, rows, width, hidden);
    step_charge(step, thread, PHASE_NORMS);
    linear_forward(step, &layer->fc2, rows, act, width, branch_out, width);
    step_charge(step, thread, PHASE_LINEARS);
    residual_forward(step, &mlp, row, rows, width, branch_out, linear_bias(step, &layer->fc2), residual_mid, width,
                     job->out + tile.first * width, width);
    step_charge(step, thread, PHASE_NORMS);
}

void t2t_layer_forward(T2TLayer *layer, const StepContext *step, const T2TBuffers *buffers, TokenChunk chunk,
                       bool again, const float *source, float *out)
{
    ForwardJob job = {layer, step, buffers, chunk, source, out};
    int64_t tiles = t2t_tiles_count(&layer->tiles, chunk.images);
    if (layer->convolution) {
        conv_layer_forward(layer, step, chunk, source, out);
        return;
    }
    step_run(step, tiles, t2t_qkv_task, &job, PHASE_LINEARS);
    if (layer->performer) {
        Performer performer = token_performer(layer, step);
        token_sum_tiles(layer, step, chunk.images, buffers->tile_sums,
                        layer->saved.sums + (size_t)chunk.slot * performer_sums_size(&performer));
    } else if (!again) {
        step_run(step, (int64_t)chunk.images * token_attention_parts(layer), t2t_attention_task, &job, PHASE_TOKENS);
    }
    step_run(step, tiles, t2t_rest_task, &job, PHASE_LINEARS);
}
