#include "core/model/observe.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/base/numeric.h"
#include "core/model/model_internal.h"

void model_observe(Model *model, ActivationTake take, void *context)
{
    model->take = take;
    model->take_context = context;
}

size_t observe_floats(const Model *model)
{
    size_t most = (size_t)model->embed.patches * (size_t)model->embed.in;
    for (int i = 0; i < model->token_layers; i++) {
        size_t need = (size_t)model->layers[i].tokens * (size_t)model->layers[i].in;
        if (need > most) most = need;
    }
    return most;
}

__attribute__((format(printf, 6, 7))) static void tell(const Model *model, TokenChunk chunk, int rows, int cols,
                                                       const float *values, const char *format, ...)
{
    char name[96];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    Activation activation = {name, chunk.first, chunk.images, rows, cols, values};
    model->take(model->take_context, &activation);
}

/* The layers split their source tile by tile and keep nothing of it, so it is split once more here. */
static void tell_split(const Model *model, TokenChunk chunk, const SplitShape *split, int64_t source_size,
                       const float *source, int index)
{
    int tokens = split->out_side * split->out_side, width = split_width(split);
    for (int i = 0; i < chunk.images; i++) {
        TokenChunk image = {.first = chunk.first + i, .images = 1};
        split_rows(split, source + i * source_size, 0, tokens, model->split_rows, width);
        tell(model, image, tokens, width, model->split_rows, "tokens_to_token.soft_split%d", index);
    }
}

void observe_token_layer(const Model *model, int index, TokenChunk chunk, const float *source, const float *out)
{
    if (!model->take) return;
    const T2TLayer *layer = &model->layers[index];
    if (layer->convolution) { /* the official modules of these are called as the soft splits of the others */
        tell(model, chunk, layer->tokens, layer->width, out, "tokens_to_token.soft_split%d", index);
        return;
    }
    const float *qkv = stored_floats(layer->saved.qkv) + (int64_t)chunk.slot * layer->tokens * 3 * layer->width;
    tell_split(model, chunk, &layer->split, layer->source_size, source, index);
    tell(model, chunk, layer->tokens, 3 * layer->width, qkv, "tokens_to_token.attention%d.%s", index + 1,
         layer->performer ? "kqv" : "attn.qkv");
    tell(model, chunk, layer->tokens, layer->width, out, "tokens_to_token.attention%d", index + 1);
}

void observe_embed(const Model *model, TokenChunk chunk, const float *source, const float *out)
{
    if (!model->take) return;
    const Embed *embed = &model->embed;
    bool convolution = model->config.tokens_type == TOKENS_CONVOLUTION;
    if (!embed->pixels && !convolution)
        tell_split(model, chunk, &embed->split, embed->source_size, source, model->token_layers);
    tell(model, chunk, 1 + embed->patches, embed->dim, out, "pos_drop");
}

void observe_block(const Model *model, int index)
{
    if (!model->take) return;
    const Block *block = &model->blocks[index];
    TokenChunk all = {.images = model->step.batch};
    if (!block->transition) {
        tell(model, all, block->tokens, 3 * block->dim, stored_floats(block->saved.qkv), "blocks.%d.attn.qkv", index);
        tell(model, all, block->tokens, block->fc1.out, stored_floats(block->saved.hidden), "blocks.%d.mlp.fc1", index);
    }
    tell(model, all, block->tokens, block->out, model->x[index + 1], "blocks.%d", index);
}
