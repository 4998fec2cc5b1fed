#include "core/model/zoo.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/suggest.h"

/* ---- the published models */

typedef struct Published {
    const char *name;
    TokensType tokens_type;
    Variant variant;
    int embed_dim, depth, num_heads;
    double mlp_ratio;
    double top1;      /* percent, at 224 pixels; 0: not published */
    const char *note; /* what others call it, where that could be mistaken; or NULL */
} Published;

/* timm's author's own small ViT: it has no bias of queries, keys and values, and PyTorch's epsilon. */
#define OFFICIAL_SMALL "vit_small_patch16_official"

/* clang-format off */
static const Published PUBLISHED[] = {
    /* name                 tokens              backbone        width depth heads mlp top-1   note */
    {"t2t_vit_7",           TOKENS_PERFORMER,   VARIANT_PLAIN,   256,   7,   4,  2,    71.7, NULL},
    {"t2t_vit_10",          TOKENS_PERFORMER,   VARIANT_PLAIN,   256,  10,   4,  2,    75.2, NULL},
    {"t2t_vit_12",          TOKENS_PERFORMER,   VARIANT_PLAIN,   256,  12,   4,  2,    76.5, NULL},
    {"t2t_vit_14",          TOKENS_PERFORMER,   VARIANT_PLAIN,   384,  14,   6,  3,    81.5, NULL},
    {"t2t_vit_19",          TOKENS_PERFORMER,   VARIANT_PLAIN,   448,  19,   7,  3,    81.9, NULL},
    {"t2t_vit_24",          TOKENS_PERFORMER,   VARIANT_PLAIN,   512,  24,   8,  3,    82.3, NULL},
    {"t2t_vit_t_14",        TOKENS_TRANSFORMER, VARIANT_PLAIN,   384,  14,   6,  3,    81.7, NULL},
    {"t2t_vit_t_19",        TOKENS_TRANSFORMER, VARIANT_PLAIN,   448,  19,   7,  3,    82.4, NULL},
    {"t2t_vit_t_24",        TOKENS_TRANSFORMER, VARIANT_PLAIN,   512,  24,   8,  3,    82.6, NULL},
    {"t2t_vit_c_14",        TOKENS_CONVOLUTION, VARIANT_PLAIN,   384,  14,   6,  3,       0, NULL},
    {"t2t_vit_14_resnext",  TOKENS_PERFORMER,   VARIANT_PLAIN,   384,  14,  32,  3,       0, NULL},
    {"t2t_vit_14_wide",     TOKENS_PERFORMER,   VARIANT_PLAIN,   768,   4,  12,  3,       0, NULL},
    {"t2t_vit_dense",       TOKENS_PERFORMER,   VARIANT_DENSE,   128,  12,   8,  2,       0, NULL},
    {"t2t_vit_16_ghost",    TOKENS_PERFORMER,   VARIANT_GHOST,   384,  16,   6,  3,       0, NULL},
    {"t2t_vit_14_se",       TOKENS_PERFORMER,   VARIANT_SE,      384,  14,   6,  3,       0, NULL},
    {"vit_tiny_patch16",    TOKENS_PATCH,       VARIANT_PLAIN,   192,  12,   3,  4,       0, "DeiT-Ti"},
    {"vit_small_patch16",   TOKENS_PATCH,       VARIANT_PLAIN,   384,  12,   6,  4,       0, "DeiT-S"},
    {"vit_base_patch16",    TOKENS_PATCH,       VARIANT_PLAIN,   768,  12,  12,  4,       0, "ViT-B/16, DeiT-B"},
    {"vit_large_patch16",   TOKENS_PATCH,       VARIANT_PLAIN,  1024,  24,  16,  4,       0, "ViT-L/16"},
    {OFFICIAL_SMALL,        TOKENS_PATCH,       VARIANT_PLAIN,   768,   8,   8,  3,       0,
     "vit_small_patch16_224 of the official code and of timm 0.3.4; not DeiT-S"},
};
/* clang-format on */

enum { PUBLISHED_COUNT = sizeof PUBLISHED / sizeof PUBLISHED[0] };

const char *zoo_name(int index)
{
    return index >= 0 && index < PUBLISHED_COUNT ? PUBLISHED[index].name : NULL;
}

static const char *name_at(const void *context, int index)
{
    (void)context;
    return zoo_name(index);
}

/* What every published model has in common, then what its kind adds. */
static ModelConfig config_of(const Published *model)
{
    ModelConfig config = {
        .img_size = 224,
        .in_chans = 3,
        .num_classes = 1000,
        .tokens_type = model->tokens_type,
        .token_dim = 64,
        .splits = {{7, 4, 2}, {3, 2, 1}, {3, 2, 1}},
        .embed_dim = model->embed_dim,
        .depth = model->depth,
        .num_heads = model->num_heads,
        .mlp_ratio = model->mlp_ratio,
        .norm_eps = 1e-5,
        .variant = model->variant,
        .token_dropout = 0.1,
    };
    snprintf(config.name, sizeof config.name, "%s", model->name);
    if (model->variant == VARIANT_DENSE) {
        config.growth_rate = 64;
        config.block_groups = 4;
        memcpy(config.block_config, (int[]){3, 6, 6, 4}, 4 * sizeof(int));
    }
    if (model->tokens_type == TOKENS_PATCH) {
        config.token_dim = 0;
        config.token_dropout = 0;
        config.splits[0] = (SoftSplit){16, 16, 0};
        config.splits[1] = config.splits[2] = (SoftSplit){0};
        bool small = strcmp(model->name, OFFICIAL_SMALL) == 0;
        config.qkv_bias = !small;
        config.norm_eps = small ? 1e-5 : 1e-6;
    }
    return config;
}

Status zoo_find(const char *name, ModelConfig *config, Error *error)
{
    for (int i = 0; i < PUBLISHED_COUNT; i++) {
        if (strcmp(PUBLISHED[i].name, name) != 0) continue;
        *config = config_of(&PUBLISHED[i]);
        return STATUS_OK;
    }
    if (strcmp(name, "vit_small_patch16_224") == 0)
        return error_set(
            error, STATUS_USAGE,
            "vit_small_patch16_224 is two models: DeiT-S in newer timm (0.5.4), 384 wide with 12 blocks, which "
            "is vit_small_patch16 here; and in timm 0.3.4 and the official T2T-ViT code one of 768 and 8 "
            "blocks, which is %s here",
            OFFICIAL_SMALL);
    const char *nearest = suggest_name(name, name_at, NULL);
    error_set(error, STATUS_USAGE, "there is no model '%s'%s%s%s", name, nearest ? "; did you mean " : "",
              nearest ? nearest : "", nearest ? "?" : "");
    char names[1024] = "";
    for (int i = 0; i < PUBLISHED_COUNT; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), " %s", PUBLISHED[i].name);
    return error_add(error, "  models:%s", names);
}

double zoo_published_top1(const ModelConfig *config)
{
    if (config->num_classes != 1000) return NAN;
    if (config->img_size == 384 && strcmp(config->name, "t2t_vit_14") == 0) return 83.3;
    for (int i = 0; i < PUBLISHED_COUNT && config->img_size == 224; i++)
        if (strcmp(PUBLISHED[i].name, config->name) == 0 && PUBLISHED[i].top1 > 0) return PUBLISHED[i].top1;
    return NAN;
}

const char *zoo_note(const ModelConfig *config)
{
    for (int i = 0; i < PUBLISHED_COUNT; i++)
        if (strcmp(PUBLISHED[i].name, config->name) == 0) return PUBLISHED[i].note;
    return NULL;
}

const char *zoo_tokens_type_name(TokensType type)
{
    static const char *const NAMES[] = {"performer", "transformer", "convolution", "patch"};
    return NAMES[type];
}

const char *zoo_variant_name(Variant variant)
{
    static const char *const NAMES[] = {"plain", "se", "ghost", "dense"};
    return NAMES[variant];
}

/* ---- derived sizes */

int zoo_splits(const ModelConfig *config)
{
    return config->tokens_type == TOKENS_PATCH ? 1 : MAX_SPLITS;
}

int zoo_split_side(const ModelConfig *config, int split)
{
    int side = config->img_size;
    for (int i = 0; i <= split; i++)
        side = (side + 2 * config->splits[i].padding - config->splits[i].kernel) / config->splits[i].stride + 1;
    return side;
}

int zoo_split_width(const ModelConfig *config, int split)
{
    int channels = split == 0 ? config->in_chans : config->token_dim;
    return channels * config->splits[split].kernel * config->splits[split].kernel;
}

int zoo_performer_features(const ModelConfig *config)
{
    return config->token_dim / 2;
}

int zoo_tokens(const ModelConfig *config)
{
    int side = zoo_split_side(config, zoo_splits(config) - 1);
    return side * side + 1;
}

int zoo_features(const ModelConfig *config)
{
    return zoo_block(config, zoo_blocks(config) - 1).width_out;
}

int zoo_blocks(const ModelConfig *config)
{
    if (config->variant != VARIANT_DENSE) return config->depth;
    int blocks = config->block_groups - 1; /* the transitions */
    for (int i = 0; i < config->block_groups; i++) blocks += config->block_config[i];
    return blocks;
}

/* torch.linspace(0, end, count)[index] */
static double linspace(double end, int count, int index)
{
    return count > 1 ? end * index / (count - 1) : 0;
}

static BlockShape dense_block(const ModelConfig *config, int block)
{
    int width = config->embed_dim;
    for (int group = 0;; group++) {
        int blocks = config->block_config[group];
        if (block < blocks) {
            width += block * config->growth_rate;
            return (BlockShape){
                .width_in = width,
                .width_out = width + config->growth_rate,
                .hidden = (int)(width * config->mlp_ratio),
                .drop_path = linspace(config->drop_path, config->depth, group),
            };
        }
        width += blocks * config->growth_rate;
        if (block == blocks) return (BlockShape){.width_in = width, .width_out = width / 2, .transition = true};
        width /= 2;
        block -= blocks + 1;
    }
}

BlockShape zoo_block(const ModelConfig *config, int block)
{
    if (config->variant == VARIANT_DENSE) return dense_block(config, block);
    return (BlockShape){
        .width_in = config->embed_dim,
        .width_out = config->embed_dim,
        .hidden = (int)(config->embed_dim * config->mlp_ratio),
        .drop_path = linspace(config->drop_path, config->depth, block),
    };
}
