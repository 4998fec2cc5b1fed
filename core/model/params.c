#include "core/model/params.h"

#include <fnmatch.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"

enum { OFFSET_MULTIPLE = 16 }; /* floats: a cache line */

typedef struct Builder {
    ParamTable *table;
    int capacity;
    int group;
    char prefix[64]; /* e.g. "blocks.3.attn." */
    Status status;
    Error *error;
} Builder;

static void set_prefix(Builder *builder, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void set_prefix(Builder *builder, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(builder->prefix, sizeof builder->prefix, format, arguments);
    va_end(arguments);
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* timm's add_weight_decay with the models' no_weight_decay() = {pos_embed, cls_token}. */
static bool decays(const Param *param)
{
    return param->trainable && param->ndim > 1 && !ends_with(param->name, ".bias") &&
           strcmp(param->name, "cls_token") != 0 && strcmp(param->name, "pos_embed") != 0;
}

/* Shape ends at the first 0. */
static void add(Builder *builder, const char *name, ParamInit init, const int64_t shape[4])
{
    ParamTable *table = builder->table;
    if (table->count == builder->capacity) {
        int capacity = builder->capacity ? 2 * builder->capacity : 128;
        builder->status = memory_resize((void **)&table->items, capacity, sizeof *table->items, "a table of parameters",
                                        builder->error);
        if (builder->status) return;
        builder->capacity = capacity;
    }
    Param *param = &table->items[table->count++];
    *param = (Param){.numel = 1, .offset = table->size, .group = builder->group, .init = init};
    snprintf(param->name, sizeof param->name, "%s%s", builder->prefix, name);
    while (param->ndim < 4 && shape[param->ndim] > 0) {
        param->shape[param->ndim] = shape[param->ndim];
        param->numel *= shape[param->ndim++];
    }
    param->trainable = init != INIT_SINUSOID && init != INIT_ORTHOGONAL;
    param->decay = decays(param);
    param->head = strncmp(param->name, "head.", 5) == 0;
    table->size += (param->numel + OFFSET_MULTIPLE - 1) / OFFSET_MULTIPLE * OFFSET_MULTIPLE;
    table->numel += param->numel;
    if (param->trainable) table->trainable += param->numel;
}

#define SHAPE(...) ((const int64_t[4]){__VA_ARGS__})

static void add_linear(Builder *builder, const char *name, int64_t out, int64_t in, bool bias)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    add(builder, full, INIT_NORMAL, SHAPE(out, in));
    snprintf(full, sizeof full, "%s.bias", name);
    if (bias) add(builder, full, INIT_ZERO, SHAPE(out));
}

static void add_norm(Builder *builder, const char *name, int64_t width)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    add(builder, full, INIT_ONE, SHAPE(width));
    snprintf(full, sizeof full, "%s.bias", name);
    add(builder, full, INIT_ZERO, SHAPE(width));
}

static void add_conv(Builder *builder, const char *name, int64_t out, int64_t in, int64_t kernel)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    add(builder, full, INIT_UNIFORM, SHAPE(out, in, kernel, kernel));
    snprintf(full, sizeof full, "%s.bias", name);
    add(builder, full, INIT_UNIFORM, SHAPE(out));
}

/* models/token_performer.py */
static void add_token_performer(Builder *builder, const ModelConfig *config, int64_t in)
{
    int64_t width = config->token_dim;
    add(builder, "w", INIT_ORTHOGONAL, SHAPE(zoo_performer_features(config), width));
    add_linear(builder, "kqv", 3 * width, in, true);
    add_linear(builder, "proj", width, width, true);
    add_norm(builder, "norm1", in);
    add_norm(builder, "norm2", width);
    add_linear(builder, "mlp.0", width, width, true);
    add_linear(builder, "mlp.2", width, width, true);
}

/* models/token_transformer.py; its qkv never has a bias. */
static void add_token_transformer(Builder *builder, const ModelConfig *config, int64_t in)
{
    int64_t width = config->token_dim;
    add_norm(builder, "norm1", in);
    add_linear(builder, "attn.qkv", 3 * width, in, false);
    add_linear(builder, "attn.proj", width, width, true);
    add_norm(builder, "norm2", width);
    add_linear(builder, "mlp.fc1", width, width, true);
    add_linear(builder, "mlp.fc2", width, width, true);
}

/* models/t2t_vit.py, tokens_type "convolution" */
static void add_convolutions(Builder *builder, const ModelConfig *config)
{
    int64_t width = config->token_dim;
    set_prefix(builder, "tokens_to_token.");
    add_conv(builder, "soft_split0", width, config->in_chans, config->splits[0].kernel);
    add_conv(builder, "soft_split1", width, width, config->splits[1].kernel);
    add_conv(builder, "project", config->embed_dim, width, config->splits[2].kernel);
}

static void add_embedding(Builder *builder, const ModelConfig *config)
{
    bool patch = config->tokens_type == TOKENS_PATCH;
    int64_t width = config->embed_dim;
    add(builder, "cls_token", INIT_NORMAL, SHAPE(1, 1, width));
    add(builder, "pos_embed", patch ? INIT_NORMAL : INIT_SINUSOID, SHAPE(1, zoo_tokens(config), width));
    if (patch) {
        add_conv(builder, "patch_embed.proj", width, config->in_chans, config->splits[0].kernel);
        return;
    }
    if (config->tokens_type == TOKENS_CONVOLUTION) {
        add_convolutions(builder, config);
        return;
    }
    for (int split = 0; split < MAX_SPLITS - 1; split++) {
        set_prefix(builder, "tokens_to_token.attention%d.", split + 1);
        int64_t in = zoo_split_width(config, split);
        if (config->tokens_type == TOKENS_PERFORMER)
            add_token_performer(builder, config, in);
        else
            add_token_transformer(builder, config, in);
    }
    set_prefix(builder, "tokens_to_token.");
    add_linear(builder, "project", width, zoo_split_width(config, MAX_SPLITS - 1), true);
}

/* models/t2t_vit_ghost.py: each of q, k, v is half computed, half scaled from the other half. */
static void add_ghost_attention(Builder *builder, const ModelConfig *config)
{
    int64_t width = config->embed_dim, half = width / 2;
    add_linear(builder, "attn.q", half, width, config->qkv_bias);
    add_linear(builder, "attn.k", half, width, config->qkv_bias);
    add_linear(builder, "attn.v", half, width, config->qkv_bias);
    add(builder, "attn.cheap_operation_q.weight", INIT_UNIFORM, SHAPE(half, 1, 1));
    add(builder, "attn.cheap_operation_k.weight", INIT_UNIFORM, SHAPE(half, 1, 1));
    add(builder, "attn.cheap_operation_v.weight", INIT_UNIFORM, SHAPE(half, 1, 1));
}

static void add_block(Builder *builder, const ModelConfig *config, BlockShape shape)
{
    int64_t width = shape.width_in;
    bool ghost = config->variant == VARIANT_GHOST;
    if (shape.transition) {
        add_linear(builder, "linear", shape.width_out, width, true);
        return;
    }
    add_norm(builder, "norm1", width);
    if (ghost)
        add_ghost_attention(builder, config);
    else
        add_linear(builder, "attn.qkv", 3 * width, width, config->qkv_bias);
    add_linear(builder, "attn.proj", width, width, true);
    if (config->variant == VARIANT_SE) {
        add_linear(builder, "attn.se_layer.fc.0", width / 16, width, false);
        add_linear(builder, "attn.se_layer.fc.2", width, width / 16, false);
    }
    add_norm(builder, "norm2", width);
    add_linear(builder, "mlp.fc1", ghost ? width : shape.hidden, width, true);
    add_linear(builder, "mlp.fc2", width, shape.hidden, true);
    if (ghost) {
        add(builder, "mlp.cheap_operation2.weight", INIT_UNIFORM, SHAPE(width, 1, 1));
        add(builder, "mlp.cheap_operation3.weight", INIT_UNIFORM, SHAPE(width, 1, 1));
    }
    if (config->variant == VARIANT_DENSE) add_linear(builder, "dense_linear", config->growth_rate, width, true);
}

Status params_build(ParamTable *table, const ModelConfig *config, Error *error)
{
    *table = (ParamTable){0};
    Builder builder = {.table = table, .error = error};
    add_embedding(&builder, config);
    for (int block = 0; block < zoo_blocks(config); block++) {
        builder.group++;
        set_prefix(&builder, "blocks.%d.", block);
        add_block(&builder, config, zoo_block(config, block));
    }
    builder.group++;
    set_prefix(&builder, "%s", "");
    add_norm(&builder, "norm", zoo_features(config));
    add_linear(&builder, "head", config->num_classes, zoo_features(config), true);
    table->groups = builder.group + 1;
    if (builder.status) params_free(table);
    return builder.status;
}

void params_free(ParamTable *table)
{
    free(table->items);
    *table = (ParamTable){0};
}

int params_freeze(ParamTable *table, const char *pattern)
{
    int matched = 0;
    for (int i = 0; i < table->count; i++) {
        Param *param = &table->items[i];
        if (!param->trainable || fnmatch(pattern, param->name, 0) != 0) continue;
        param->frozen = true;
        matched++;
    }
    return matched;
}

void params_decay_all(ParamTable *table)
{
    for (int i = 0; i < table->count; i++) table->items[i].decay = table->items[i].trainable;
}

const Param *params_find(const ParamTable *table, const char *name)
{
    for (int i = 0; i < table->count; i++)
        if (strcmp(table->items[i].name, name) == 0) return &table->items[i];
    return NULL;
}

int64_t params_find_nonfinite(const ParamTable *table, const float *vector, const Param **where)
{
    for (int i = 0; i < table->count; i++) {
        const Param *param = &table->items[i];
        for (int64_t j = param->offset; j < param->offset + param->numel; j++) {
            if (isfinite(vector[j])) continue;
            *where = param;
            return j;
        }
    }
    return -1;
}
