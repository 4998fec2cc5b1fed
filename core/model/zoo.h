/* zoo.h: what a model is, and the published ones by name.
 *
 * A ModelConfig is plain data: copy it, change a field, check it. Sources: Yuan et al., "Tokens-to-Token ViT", ICCV
 * 2021, and its official code (models/t2t_vit*.py); ViT baselines: timm's vision_transformer.py.
 */
#ifndef CORE_MODEL_ZOO_H
#define CORE_MODEL_ZOO_H

#include <stdbool.h>
#include <stdint.h>
#include "core/base/status.h"
#include "core/kernels/bf16.h"

typedef enum TokensType {
    TOKENS_PERFORMER,   /* T2T module with Performer token layers */
    TOKENS_TRANSFORMER, /* T2T module with full-attention token layers */
    TOKENS_CONVOLUTION, /* T2T-ViT_c: three convolutions, with nothing between them */
    TOKENS_PATCH,       /* plain ViT: one convolution of kernel = stride = splits[0].kernel; learned positions */
} TokensType;

typedef enum Variant { VARIANT_PLAIN, VARIANT_SE, VARIANT_GHOST, VARIANT_DENSE } Variant;

typedef struct SoftSplit {
    int kernel, stride, padding;
} SoftSplit;

enum { MAX_SPLITS = 3, MAX_DENSE_GROUPS = 8 };

/* What training computes a second time in backward rather than keep it. Results have the same bits whatever the
 * choice. */
typedef enum Recompute {
    RECOMPUTE_NONE,
    RECOMPUTE_TOKENS, /* the token layers but their attention, of all images but a chunk (t2t_layer.h) */
    RECOMPUTE_MLP,    /* and the first layer of each MLP */
    RECOMPUTE_BLOCKS, /* the token layers and whole blocks: of a block only its input is kept */
} Recompute;

typedef struct ModelConfig {
    char name[64];
    int img_size; /* square */
    int in_chans;
    int num_classes;
    TokensType tokens_type;
    int token_dim;                   /* width inside the T2T module */
    SoftSplit splits[MAX_SPLITS];    /* default 7/4/2, 3/2/1, 3/2/1 */
    int embed_dim, depth, num_heads; /* dense: depth only spaces the drop-path rates */
    double mlp_ratio;
    bool qkv_bias;
    double qk_scale; /* 0: head_dim^-0.5 */
    double norm_eps; /* 1e-5; the ViT baselines: 1e-6 */
    Variant variant;
    int growth_rate;                    /* dense only */
    int block_config[MAX_DENSE_GROUPS]; /* dense only: blocks per group */
    int block_groups;                   /* dense only */
    double drop, attn_drop, drop_path;  /* training only */
    double token_dropout;               /* the performer's two dropouts in training: 0.1 */
    Recompute recompute;
    Precision precision; /* of the operands of matrix products */
} ModelConfig;

/* Fills *config with the published model of that name at 224 pixels and 1000 classes. An unknown name is
 * STATUS_USAGE and names the nearest one. */
Status zoo_find(const char *name, ModelConfig *config, Error *error);
const char *zoo_name(int index); /* the names in order; NULL past the last */

/* Top-1 on ImageNet's validation images in percent, as the authors' repository gives it for this name and image size; NAN
 * where it gives none. Whether the rest of the architecture is the published one is not looked at. */
double zoo_published_top1(const ModelConfig *config);

/* What others call the model of that name, where the name could be mistaken; else NULL. */
const char *zoo_note(const ModelConfig *config);

/* Refuses a shape that cannot be built (heads that do not divide embed_dim, splits that do not fit img_size ...),
 * saying which key, why, and a value that fits. */
Status zoo_check(const ModelConfig *config, Error *error);

int zoo_splits(const ModelConfig *config);                 /* 3; 1 for TOKENS_PATCH */
int zoo_split_side(const ModelConfig *config, int split);  /* tokens along one side after soft split 0, 1, 2 */
int zoo_split_width(const ModelConfig *config, int split); /* width of such a token: channels x kernel x kernel */
int zoo_performer_features(const ModelConfig *config);     /* m, rows of the performer's w: token_dim / 2 */
int zoo_tokens(const ModelConfig *config);                 /* tokens of the backbone, class token included */
int zoo_features(const ModelConfig *config);               /* width that the head reads */

/* One entry of the state_dict's `blocks`: a transformer block or, between groups of the dense model, a transition. */
typedef struct BlockShape {
    int width_in, width_out;
    int hidden;       /* of the MLP: int(width_in * mlp_ratio); 0 for a transition */
    bool transition;  /* dense only: Linear, then GELU, to half the width */
    double drop_path; /* linspace(0, drop_path, depth); dense: by group, not by block */
} BlockShape;

int zoo_blocks(const ModelConfig *config); /* depth; dense: blocks and transitions */
BlockShape zoo_block(const ModelConfig *config, int block);

typedef struct Macs {
    /* Forward multiply-accumulates per image; no softmax, norm, bias. linear holds the convolutions that make tokens;
     * conv is the ghost model's scaling of channels. */
    int64_t linear, attention, conv;
} Macs;
Macs zoo_macs(const ModelConfig *config);
int64_t macs_total(Macs macs);

/* The model as a list: token layers, projection, blocks, norm, head. A layer owns the tensors `<name>.*`. */
typedef struct Layer {
    char name[64];
    int tokens, width; /* of its output */
    Macs macs;
} Layer;

int zoo_layers(const ModelConfig *config);
Layer zoo_layer(const ModelConfig *config, int index);

const char *zoo_tokens_type_name(TokensType type);
const char *zoo_variant_name(Variant variant);

#endif
