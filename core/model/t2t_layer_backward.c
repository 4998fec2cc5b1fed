#include "core/model/t2t_layer_internal.h"

#include <string.h>

typedef struct BackwardJob {
    const T2TLayer *layer;
    const StepContext *step;
    const T2TBuffers *buffers;
    TokenChunk chunk;
    const float *source;
    float *stream; /* (images, tokens, width): dout, then the gradient of residual_mid */
} BackwardJob;

typedef struct TileAt { /* a tile in each of the places where its rows lie */
    T2TTile tile;
    int rows, each; /* all, and of one image */
    int64_t chunk, saved, batch;
    float *row_sums;
} TileAt;

static TileAt tile_at(const BackwardJob *job, int64_t task)
{
    const T2TLayer *layer = job->layer;
    TileAt at = {.tile = t2t_tile(&layer->tiles, job->chunk.images, task)};
    at.rows = at.tile.rows;
    at.each = at.rows / at.tile.images;
    at.chunk = at.tile.first;
    at.saved = (int64_t)job->chunk.slot * layer->tokens + at.chunk;
    at.batch = (int64_t)job->chunk.first * layer->tokens + at.chunk;
    at.row_sums = job->buffers->row_sums + task * layer->row_sum_size;
    return at;
}

static float *t2t_row_sum(const T2TLayer *layer, const TileAt *at, int64_t grad)
{
    for (int i = 0; i < layer->row_sum_count; i++)
        if (layer->row_sums[i].grad == grad) return at->row_sums + layer->row_sums[i].at;
    return NULL;
}

/* From dout to the gradient of residual_mid, in place. */
static void t2t_mlp_backward_tile(const BackwardJob *job, const TileAt *at, int thread)
{
    const T2TLayer *layer = job->layer;
    const StepContext *step = job->step;
    const T2TSaved *saved = &layer->saved;
    int rows = at->rows, width = layer->width;
    float *stream = job->stream + at->chunk * width, *dz = job->buffers->dz_mlp + at->chunk * width;
    const Kernels *k = step->kernels;
    size_t matrix = (size_t)layer->tiles.rows * (size_t)width;
    float *act = job->buffers->act + at->chunk * width, *dact = step_scratch(step, thread);
    float *half = dact + token_half_at(layer), *norm = stored_write(job->buffers->norm2, at->chunk * width, half);
    float *hidden = stored_read(k, saved->hidden, at->saved * width, rows, width, half + matrix);
    const float *residual_mid = stored_read(k, saved->residual_mid, at->saved * width, rows, width, half + 2 * matrix),
                *weight = step->weights + layer->norm2.weight;
    const float *mean = saved->mean2 + at->saved, *rstd = saved->rstd2 + at->saved;
    ResidualBranch branch = token_branch(layer, SITE_OUTPUT);
    residual_backward(step, &branch, at->batch, rows, width, stream, width, dz);
    step->kernels->column_sums(rows, width, dz, width, t2t_row_sum(layer, at, layer->fc2.bias));
    step_charge(step, thread, PHASE_NORMS);
    linear_backward(step, &layer->fc2, rows, dz, width, 0.0f, dact, width);
    step_charge(step, thread, PHASE_LINEARS);
    step->kernels->gelu_backward((int64_t)rows * width, hidden, dact, act, hidden);
    stored_end(k, saved->hidden, at->saved * width, rows, width, hidden);
    step->kernels->column_sums(rows, width, hidden, width, t2t_row_sum(layer, at, layer->fc1.bias));
    step_charge(step, thread, PHASE_NORMS);
    linear_backward(step, &layer->fc1, rows, hidden, width, 0.0f, dact, width);
    step_charge(step, thread, PHASE_LINEARS);
    step->kernels->layernorm_apply(rows, width, residual_mid, width, mean, rstd, weight,
                                   step->weights + layer->norm2.bias, norm, width);
    step->kernels->layernorm_backward(rows, width, residual_mid, width, mean, rstd, weight, dact, width, true, stream,
                                      width, t2t_row_sum(layer, at, layer->norm2.weight),
                                      t2t_row_sum(layer, at, layer->norm2.bias));
    stored_end(k, job->buffers->norm2, at->chunk * width, rows, width, norm);
}

static void performer_tile(const BackwardJob *job, const TileAt *at, int64_t task, float *scratch)
{
    const T2TLayer *layer = job->layer;
    const StepContext *step = job->step;
    Performer performer = token_performer(layer, step);
    size_t size = performer_sums_size(&performer);
    int width = layer->width, ld = 3 * width, slot = job->chunk.slot + at->tile.image;
    int64_t first_sum = layer->tiles.images > 1 ? at->tile.image : task;
    float *qkv =
        stored_read(step->kernels, layer->saved.qkv, at->saved * ld, at->rows, ld, scratch + token_half_at(layer));
    for (int i = 0; i < at->tile.images; i++) {
        int64_t row = (int64_t)i * at->each;
        float *q = qkv + row * ld + token_q(layer);
        float *y = job->buffers->attention + (at->chunk + row) * width;
        const float *sums = layer->saved.sums + (size_t)(slot + i) * size;
        float *dsums = job->buffers->tile_sums + (size_t)(first_sum + i) * size;
        memset(dsums, 0, size * sizeof(float));
        performer_apply(step->kernels, &performer, at->each, q, ld, sums, y, width, scratch);
        performer_apply_backward(step->kernels, &performer, at->each, q, ld, sums, y,
                                 job->buffers->dattention + (at->chunk + row) * width, width, q, ld, dsums, scratch);
    }
    stored_end(step->kernels, layer->saved.qkv, at->saved * ld, at->rows, ld, qkv);
}

static void t2t_upper_backward_task(void *context, int64_t task, int thread)
{
    const BackwardJob *job = context;
    const T2TLayer *layer = job->layer;
    const StepContext *step = job->step;
    TileAt at = tile_at(job, task);
    int width = layer->width;
    float *scratch = step_scratch(step, thread), *dz = job->buffers->dz_attention + at.chunk * width;
    memset(at.row_sums, 0, (size_t)layer->row_sum_size * sizeof(float));
    t2t_mlp_backward_tile(job, &at, thread);
    ResidualBranch branch = token_branch(layer, SITE_PROJECTION);
    residual_backward(step, &branch, at.batch, at.rows, width, job->stream + at.chunk * width, width, dz);
    step->kernels->column_sums(at.rows, width, dz, width, t2t_row_sum(layer, &at, layer->proj.bias));
    step_charge(step, thread, PHASE_NORMS);
    linear_backward(step, &layer->proj, at.rows, dz, width, 0.0f, job->buffers->dattention + at.chunk * width, width);
    step_charge(step, thread, PHASE_LINEARS);
    if (layer->performer) performer_tile(job, &at, task, scratch);
    step_charge(step, thread, PHASE_TOKENS);
}

/* Each part of the keys has its own sums of dq. They lie in buffers that t2t_upper_backward_task's weight gradients no
 * longer need; a new part needs a buffer of (tokens, width) of its own. */
static float *queries_part(const T2TBuffers *buffers, int part)
{
    float *const parts[] = {buffers->dz_mlp, buffers->dz_attention, buffers->act, stored_floats(buffers->norm2)};
    _Static_assert(sizeof parts / sizeof *parts == ATTENTION_PARTS, "a buffer for each part of the keys");
    return parts[part];
}

/* dk and dv take the place of k and v, which no other part needs. */
static void t2t_attention_backward_task(void *context, int64_t task, int thread)
{
    const BackwardJob *job = context;
    const T2TLayer *layer = job->layer;
    AttentionPart at = token_attention_part(layer, task);
    int width = layer->width, ld = 3 * width;
    int64_t slot = job->chunk.slot + at.image, first = (job->chunk.attention + at.image) * layer->tokens;
    int64_t row = at.image * layer->tokens;
    AttentionHead head = token_head(layer, slot);
    float *qkv = stored_floats(layer->saved.qkv) + (slot * layer->tokens + at.first) * ld;
    attention_backward(job->step->kernels, &head, at.first, at.count, layer->saved.attention + first * width,
                       job->buffers->dattention + row * width, width, layer->saved.lse + first,
                       queries_part(job->buffers, at.part) + row * width, width, qkv + token_k(layer),
                       qkv + token_v(layer), ld, step_scratch(job->step, thread));
}

/* dq of a tile: its parts, in their order. */
static void queries_tile(const BackwardJob *job, const TileAt *at)
{
    const T2TLayer *layer = job->layer;
    int width = layer->width, ld = 3 * width;
    float *q = stored_floats(layer->saved.qkv) + at->saved * ld + token_q(layer);
    for (int r = 0; r < at->rows; r++)
        memcpy(q + (int64_t)r * ld, queries_part(job->buffers, 0) + (at->chunk + r) * width,
               (size_t)width * sizeof(float));
    for (int i = 1; i < token_attention_parts(layer); i++)
        job->step->kernels->residual(at->rows, width, queries_part(job->buffers, i) + at->chunk * width, width, NULL,
                                     1.0f, q, ld, q, ld);
}

/* In qkv, the tile's rows: dk and dv of a tile, and dq of full attention; the performer's is there already. The gradient of residual_mid enters dv by the
 * skip connection. */
static void values_tile(const BackwardJob *job, const TileAt *at, float *qkv, float *dv, float *scratch)
{
    const T2TLayer *layer = job->layer;
    const StepContext *step = job->step;
    int width = layer->width, ld = 3 * width;
    const float *stream = job->stream + at->chunk * width;
    if (!layer->performer) {
        float *v = qkv + token_v(layer);
        queries_tile(job, at);
        step->kernels->residual(at->rows, width, stream, width, NULL, 1.0f, v, ld, v, ld);
        return;
    }
    Performer performer = token_performer(layer, step);
    for (int i = 0; i < at->tile.images; i++) {
        float *rows = qkv + (int64_t)i * at->each * ld, *k = rows + token_k(layer), *v = rows + token_v(layer);
        const float *dsums = job->buffers->image_sums + (size_t)(at->tile.image + i) * performer_sums_size(&performer);
        memcpy(dv, stream + (int64_t)i * at->each * width, (size_t)at->each * (size_t)width * sizeof(float));
        performer_sums_backward(step->kernels, &performer, at->each, k, v, ld, dsums, k, ld, dv, width, scratch);
        for (int r = 0; r < at->each; r++)
            memcpy(v + (int64_t)r * ld, dv + (int64_t)r * width, (size_t)width * sizeof(float));
    }
}

static void t2t_qkv_backward_task(void *context, int64_t task, int thread)
{
    const BackwardJob *job = context;
    const T2TLayer *layer = job->layer;
    const StepContext *step = job->step;
    const T2TSaved *saved = &layer->saved;
    TileAt at = tile_at(job, task);
    int rows = at.rows, in = layer->in, width = layer->width, ld = 3 * width;
    float *split = step_scratch(step, thread), *dnorm = split + (size_t)layer->tiles.rows * (size_t)in;
    float *dv = split, *rest = dv + (size_t)layer->tiles.rows * (size_t)width; /* before split is filled */
    float *half = split + token_half_at(layer);
    float *norm = stored_write(job->buffers->norm1, at.chunk * in, half + (size_t)layer->tiles.rows * (size_t)ld);
    float *dqkv = stored_read(step->kernels, saved->qkv, at.saved * ld, rows, ld, half);
    const float *weight = step->weights + layer->norm1.weight;
    values_tile(job, &at, dqkv, dv, rest);
    stored_end(step->kernels, saved->qkv, at.saved * ld, rows, ld, dqkv);
    step_charge(step, thread, PHASE_TOKENS);
    step->kernels->column_sums(rows, ld, dqkv, ld, at.row_sums + layer->qkv_sum_at);
    step_charge(step, thread, PHASE_NORMS);
    token_split(layer, &at.tile, job->source, split);
    step_charge(step, thread, PHASE_SPLIT);
    if (layer->pixels) {
        step->kernels->layernorm_apply(rows, in, split, in, saved->mean1 + at.saved, saved->rstd1 + at.saved,
                                       job->buffers->plain, job->buffers->plain + in, norm, in);
        stored_end(step->kernels, job->buffers->norm1, at.chunk * in, rows, in, norm);
        step_charge(step, thread, PHASE_NORMS);
        return;
    }
    linear_backward(step, &layer->qkv, rows, dqkv, ld, 0.0f, dnorm, in);
    step_charge(step, thread, PHASE_LINEARS);
    step->kernels->layernorm_apply(rows, in, split, in, saved->mean1 + at.saved, saved->rstd1 + at.saved, weight,
                                   step->weights + layer->norm1.bias, norm, in);
    step->kernels->layernorm_backward(rows, in, split, in, saved->mean1 + at.saved, saved->rstd1 + at.saved, weight,
                                      dnorm, in, false, job->buffers->dsplit + at.chunk * in, in,
                                      t2t_row_sum(layer, &at, layer->norm1.weight),
                                      t2t_row_sum(layer, &at, layer->norm1.bias));
    stored_end(step->kernels, job->buffers->norm1, at.chunk * in, rows, in, norm);
    step_charge(step, thread, PHASE_NORMS);
}

/* Where the source is pixels, the gradient of norm1's output is not needed, only those of its weight g and bias b. With
 * n the normalised rows, qkv = W (n g + b) + c, so from P = dqkv^T n and s = the sum of dqkv over rows follow
 *     dW = P g + s b,   dg = sum over outputs of W P,   db = W^T s,   dc = s
 * at the price of dW's product alone. */
static void first_gradients(const T2TLayer *layer, const StepContext *step, const T2TBuffers *buffers, bool add)
{
    int in = layer->in, out = 3 * layer->width;
    const float *w = step->weights + layer->qkv.weight, *p = buffers->qkv_grad, *s = buffers->qkv_sum;
    const float *g = step->weights + layer->norm1.weight, *b = step->weights + layer->norm1.bias;
    float *dw = step->grads + layer->qkv.weight, *dg = step->grads + layer->norm1.weight;
    float *db = step->grads + layer->norm1.bias, *dc = layer->qkv.bias < 0 ? NULL : step->grads + layer->qkv.bias;
    if (!add) {
        memset(dw, 0, (size_t)out * (size_t)in * sizeof(float));
        memset(dg, 0, (size_t)in * sizeof(float));
        memset(db, 0, (size_t)in * sizeof(float));
        if (dc) memset(dc, 0, (size_t)out * sizeof(float));
    }
    for (int o = 0; o < out; o++, w += in, p += in, dw += in) {
        for (int c = 0; c < in; c++) {
            dw[c] += p[c] * g[c] + s[o] * b[c];
            dg[c] += w[c] * p[c];
            db[c] += w[c] * s[o];
        }
        if (dc) dc[o] += s[o];
    }
}

typedef struct GatherJob {
    const T2TLayer *layer;
    const float *dsplit;
    float *dsource;
} GatherJob;

static void gather_task(void *context, int64_t task, int thread)
{
    (void)thread;
    const GatherJob *job = context;
    const T2TLayer *layer = job->layer;
    int side = layer->split.side;
    int64_t image = task / side, line = task % side;
    split_gather(&layer->split, job->dsplit + image * layer->tokens * layer->in, layer->in, (int)line * side, side,
                 job->dsource + image * layer->source_size);
}

void token_gather(const T2TLayer *layer, const StepContext *step, const T2TBuffers *buffers, int images, float *dsource)
{
    GatherJob job = {layer, buffers->dsplit, dsource};
    step_run(step, (int64_t)images * layer->split.side, gather_task, &job, PHASE_SPLIT);
}

void t2t_layer_backward(T2TLayer *layer, const StepContext *step, const T2TBuffers *buffers, TokenChunk chunk, bool add,
                        const float *source, float *dout, float *dsource)
{
    if (layer->convolution) {
        conv_layer_backward(layer, step, buffers, chunk, add, source, dout, dsource);
        return;
    }
    BackwardJob job = {layer, step, buffers, chunk, source, dout};
    int width = layer->width;
    int64_t tiles = t2t_tiles_count(&layer->tiles, chunk.images), first = (int64_t)chunk.slot * layer->tokens;
    int64_t rows = (int64_t)chunk.images * layer->tokens;
    for (int c = 0; layer->pixels && c < layer->in; c++) {
        buffers->plain[c] = 1.0f;
        buffers->plain[layer->in + c] = 0.0f;
    }
    step_run(step, tiles, t2t_upper_backward_task, &job, PHASE_LINEARS);
    if (layer->performer) token_sum_tiles(layer, step, chunk.images, buffers->tile_sums, buffers->image_sums);
    const float *attention = buffers->attention;
    if (!layer->performer) attention = layer->saved.attention + (int64_t)chunk.attention * layer->tokens * width;
    WeightGrad upper[] = {
        {&layer->fc2, rows, stored_of(buffers->dz_mlp), width, stored_of(buffers->act), width, NULL},
        {&layer->fc1, rows, stored_at(layer->saved.hidden, first * width), width, buffers->norm2, width, NULL},
        {&layer->proj, rows, stored_of(buffers->dz_attention), width, stored_of(attention), width, NULL}};
    weight_grads(step, upper, 3, add, buffers->weight_sums);
    if (!layer->performer)
        step_run(step, (int64_t)chunk.images * token_attention_parts(layer), t2t_attention_backward_task, &job,
                 PHASE_TOKENS);
    step_run(step, tiles, t2t_qkv_backward_task, &job, PHASE_LINEARS);
    int sums = layer->pixels ? layer->upper_sum_count : layer->row_sum_count;
    partial_sums(step, buffers->row_sums, tiles, layer->row_sum_size, layer->row_sums, sums, add, step->grads);
    Stored dqkv = stored_at(layer->saved.qkv, first * 3 * width);
    WeightGrad qkv = {&layer->qkv, rows, dqkv, 3 * width, buffers->norm1, layer->in, NULL};
    if (layer->pixels) qkv.to = buffers->qkv_grad;
    weight_grads(step, &qkv, 1, add && !layer->pixels, buffers->weight_sums);
    if (layer->pixels) {
        PartialSum sum = {.at = layer->qkv_sum_at, .count = 3 * width};
        partial_sums(step, buffers->row_sums, tiles, layer->row_sum_size, &sum, 1, false, buffers->qkv_sum);
        first_gradients(layer, step, buffers, add);
    }
    if (!layer->pixels) token_gather(layer, step, buffers, chunk.images, dsource);
}
