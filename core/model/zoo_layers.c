/* The layers of a model and what each costs. */
#include <stdio.h>

#include "core/model/zoo.h"

int64_t macs_total(Macs macs)
{
    return macs.linear + macs.attention + macs.conv;
}

static Macs t2t_layer_macs(const ModelConfig *config, int split)
{
    int64_t side = zoo_split_side(config, split), tokens = side * side, width = config->token_dim;
    int64_t in = zoo_split_width(config, split), m = zoo_performer_features(config);
    bool performer = config->tokens_type == TOKENS_PERFORMER;
    if (config->tokens_type == TOKENS_CONVOLUTION) return (Macs){.linear = tokens * in * width};
    return (Macs){
        .linear = tokens * (3 * in * width + 3 * width * width), /* kqv, proj, two layers of the MLP */
        .attention = performer ? tokens * m * (4 * width + 1) /* features of k and q, k'v, q'(k'v), the denominator */
                               : 2 * tokens * tokens * width,
    };
}

static Macs block_macs(const ModelConfig *config, BlockShape shape)
{
    int64_t tokens = zoo_tokens(config), width = shape.width_in, half = width / 2, hidden = shape.hidden;
    if (shape.transition) return (Macs){.linear = tokens * width * shape.width_out};
    Macs macs = {.attention = 2 * tokens * tokens * width};
    switch (config->variant) {
    case VARIANT_PLAIN:
        macs.linear = tokens * width * (4 * width + 2 * hidden);
        break;
    case VARIANT_SE: /* the gate is computed once per image */
        macs.linear = tokens * width * (4 * width + 2 * hidden) + 2 * width * (width / 16);
        break;
    case VARIANT_DENSE:
        macs.linear = tokens * width * (4 * width + 2 * hidden + config->growth_rate);
        break;
    case VARIANT_GHOST:
        macs.linear = tokens * width * (3 * half + width + width + hidden);
        macs.conv = tokens * (3 * half + 2 * width);
        break;
    }
    return macs;
}

/* Splits before the last feed a token layer each; the last feeds the projection. */
static Layer embedding_layer(const ModelConfig *config, int split)
{
    Layer layer = {.tokens = zoo_split_side(config, split) * zoo_split_side(config, split)};
    if (split < zoo_splits(config) - 1) {
        if (config->tokens_type == TOKENS_CONVOLUTION)
            snprintf(layer.name, sizeof layer.name, "tokens_to_token.soft_split%d", split);
        else
            snprintf(layer.name, sizeof layer.name, "tokens_to_token.attention%d", split + 1);
        layer.width = config->token_dim;
        layer.macs = t2t_layer_macs(config, split);
        return layer;
    }
    bool patch = config->tokens_type == TOKENS_PATCH;
    snprintf(layer.name, sizeof layer.name, patch ? "patch_embed.proj" : "tokens_to_token.project");
    layer.width = config->embed_dim;
    layer.macs.linear = (int64_t)layer.tokens * zoo_split_width(config, split) * config->embed_dim;
    return layer;
}

int zoo_layers(const ModelConfig *config)
{
    return zoo_splits(config) + zoo_blocks(config) + 2;
}

Layer zoo_layer(const ModelConfig *config, int index)
{
    int splits = zoo_splits(config), blocks = zoo_blocks(config), tokens = zoo_tokens(config);
    if (index < splits) return embedding_layer(config, index);
    Layer layer = {.tokens = tokens, .width = zoo_features(config)};
    int block = index - splits;
    if (block < blocks) {
        BlockShape shape = zoo_block(config, block);
        snprintf(layer.name, sizeof layer.name, "blocks.%d", block);
        layer.width = shape.width_out;
        layer.macs = block_macs(config, shape);
    } else if (block == blocks) {
        snprintf(layer.name, sizeof layer.name, "norm");
    } else {
        snprintf(layer.name, sizeof layer.name, "head");
        layer.tokens = 1;
        layer.macs.linear = (int64_t)layer.width * config->num_classes;
        layer.width = config->num_classes;
    }
    return layer;
}

Macs zoo_macs(const ModelConfig *config)
{
    Macs sum = {0};
    for (int i = 0; i < zoo_layers(config); i++) {
        Macs macs = zoo_layer(config, i).macs;
        sum.linear += macs.linear;
        sum.attention += macs.attention;
        sum.conv += macs.conv;
    }
    return sum;
}
