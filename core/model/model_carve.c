/* What memory a model uses, and which of its parts use the same bytes at different times. */
#include "core/model/model_internal.h"

#include "core/base/numeric.h"

/* Several users of the same bytes: each carves from the same place, and the largest counts. */
typedef struct Overlay {
    size_t start, end;
} Overlay;

static Overlay overlay_begin(const Arena *arena)
{
    return (Overlay){.start = arena->used, .end = arena->used};
}

static void overlay_next(Overlay *overlay, Arena *arena)
{
    if (arena->used > overlay->end) overlay->end = arena->used;
    arena->used = overlay->start;
}

static void overlay_end(Overlay *overlay, Arena *arena)
{
    overlay_next(overlay, arena);
    arena->used = overlay->end;
}

size_t model_layer_floats(const Model *model, int layer)
{
    return (size_t)model->layers[layer].tokens * (size_t)model->layers[layer].width;
}

static size_t widest_stream(const Model *model)
{
    size_t widest = (size_t)model->head.dim;
    for (int i = 0; i < model->block_count; i++)
        if ((size_t)model->blocks[i].dim > widest) widest = (size_t)model->blocks[i].dim;
    return widest;
}

static size_t widest_recomputed_hidden(const Model *model)
{
    size_t widest = 0;
    for (int i = 0; i < model->block_count; i++) {
        const Block *block = &model->blocks[i];
        if (block->recompute_hidden && (size_t)block->fc1.out > widest) widest = (size_t)block->fc1.out;
    }
    return widest;
}

static void carve_token_layers(Model *model, Arena *arena, int images, int attention_images)
{
    for (int i = 0; i < model->token_layers; i++) {
        t2t_layer_carve_saved(&model->layers[i], arena, images, attention_images);
        model->layer_out[i] = arena_floats(arena, (size_t)images * model_layer_floats(model, i));
    }
}

/* Where the table has a layout of its own, input gradients read copies in it; elsewhere the weights as they are. */
static bool packs_backward(const Model *model)
{
    return model->mode == MODEL_TRAIN && model->step.kernels->gemm_packed;
}

static void carve_block_linears(Model *model, Arena *arena)
{
    Linear *linears[MAX_BLOCK_LINEARS];
    Overlay overlay = overlay_begin(arena);
    for (int i = 0; i < model->block_count; i++) {
        int count = block_linears(&model->blocks[i], linears);
        for (int l = 0; l < count; l++) linear_carve(linears[l], arena, packs_backward(model));
        overlay_next(&overlay, arena);
    }
    overlay_end(&overlay, arena);
}

/* Behind what a block keeps lie the buffers of its backward, in the place of what later blocks keep: it is dead when
 * they are used. */
static void carve_blocks(Model *model, Arena *arena)
{
    size_t rows = (size_t)model->max_batch * (size_t)model->tokens, end = arena->used;
    bool again = model->config.recompute == RECOMPUTE_BLOCKS;
    for (int i = 0; again && i < model->block_count; i++)
        model->x[i + 1] = arena_floats(arena, rows * (size_t)model->blocks[i].out);
    Stored hidden = stored_carve(arena, widest_recomputed_hidden(model) * rows, model->blocks[0].half);
    for (int i = 0; i < model->block_count; i++)
        if (model->blocks[i].recompute_hidden) model->blocks[i].saved.hidden = hidden;
    for (int i = 0; i < model->block_count; i++) {
        size_t start = arena->used, kept;
        block_carve_saved(&model->blocks[i], arena, model->max_batch);
        kept = again ? start : arena->used;
        block_carve_buffers(&model->blocks[i], &model->block_buffers[i], arena, model->max_batch);
        if (arena->used > end) end = arena->used;
        arena->used = kept;
        /* A block that keeps what its norms read in bfloat16 works on the stream in place. */
        if (!again && model->blocks[i].half) model->x[i + 1] = model->x[i];
        if (!again && !model->blocks[i].half)
            model->x[i + 1] = arena_floats(arena, rows * (size_t)model->blocks[i].out);
    }
    if (arena->used < end) arena->used = end;
}

static void carve_training(Model *model, Arena *arena)
{
    const int chunk = model->chunk;
    size_t rows = (size_t)model->max_batch * (size_t)model->tokens;
    carve_block_linears(model, arena);
    carve_token_layers(model, arena, model->config.recompute ? chunk : model->max_batch, model->max_batch);
    model->x[0] = arena_floats(arena, rows * (size_t)model->embed.dim);
    for (int i = 0; i < (model->config.variant == VARIANT_DENSE ? 2 : 1); i++)
        model->dx[i] = arena_floats(arena, rows * widest_stream(model));
    /* The token layers go forward before the blocks and backward after them: both see the same bytes. */
    Overlay overlay = overlay_begin(arena);
    for (int i = 0; i < model->token_layers; i++)
        model->dlayer[i] = arena_floats(arena, (size_t)chunk * model_layer_floats(model, i));
    Overlay inner = overlay_begin(arena);
    for (int i = 0; i < model->token_layers; i++) {
        t2t_layer_carve_buffers(&model->layers[i], &model->layer_buffers[i], arena, chunk, true);
        overlay_next(&inner, arena);
    }
    embed_carve_buffers(&model->embed, &model->embed_buffers, arena, chunk);
    overlay_end(&inner, arena);
    overlay_next(&overlay, arena);
    carve_blocks(model, arena);
    overlay_end(&overlay, arena);
}

static void carve_evaluation(Model *model, Arena *arena)
{
    const int chunk = model->chunk;
    size_t rows = (size_t)model->max_batch * (size_t)model->tokens;
    float *stream[2];
    for (int i = 0; i < 2; i++) stream[i] = arena_floats(arena, rows * widest_stream(model));
    for (int i = 0; i <= model->block_count; i++) model->x[i] = stream[i % 2];
    Overlay overlay = overlay_begin(arena);
    carve_token_layers(model, arena, chunk, chunk);
    for (int i = 0; i < model->token_layers; i++)
        t2t_layer_carve_buffers(&model->layers[i], &model->layer_buffers[i], arena, chunk, false);
    overlay_next(&overlay, arena);
    for (int i = 0; i < model->block_count; i++) {
        block_carve_saved(&model->blocks[i], arena, model->max_batch);
        overlay_next(&overlay, arena);
    }
    overlay_end(&overlay, arena);
    if (model->mode == MODEL_OBSERVE) model->split_rows = arena_floats(arena, observe_floats(model));
}

static size_t scratch_floats(const Model *model)
{
    size_t most = embed_scratch(&model->embed);
    for (int i = 0; i < model->token_layers; i++) {
        size_t need = t2t_layer_scratch(&model->layers[i]);
        if (need > most) most = need;
    }
    for (int i = 0; i < model->block_count; i++) {
        size_t need = block_scratch(&model->blocks[i]);
        if (need > most) most = need;
    }
    return floats_padded(most);
}

void model_carve(Model *model, Arena *arena)
{
    StepContext *step = &model->step;
    for (int i = 0; i < model->linear_count; i++) linear_carve(model->linears[i], arena, packs_backward(model));
    model->samples = arena_carve(arena, (size_t)model->max_batch * sizeof *model->samples);
    step->scratch_size = scratch_floats(model);
    step->scratch = arena_floats(arena, (size_t)pool_threads(step->pool) * step->scratch_size);
    head_carve(&model->head, arena, model->max_batch, model->mode == MODEL_TRAIN);
    if (model->mode == MODEL_TRAIN)
        carve_training(model, arena);
    else
        carve_evaluation(model, arena);
}
