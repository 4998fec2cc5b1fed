#include "tests/support/models.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

const char *const TINY_MODELS[] = {
    "tiny_performer",
    "tiny_performer_qkvbias",
    "tiny_performer_img48",
    "tiny_convolution",
    "tiny_transformer",
    "tiny_transformer_qkvbias",
    "tiny_transformer_qkscale",
    "tiny_se",
    "tiny_ghost",
    "tiny_dense",
    "tiny_vit",
    NULL,
};

static ModelConfig published(const char *name)
{
    ModelConfig config;
    Error error = {0};
    cr_assert_eq(zoo_find(name, &config, &error), STATUS_OK, "%s", error.message);
    return config;
}

static ModelConfig tiny_vit(void)
{
    ModelConfig config = published("vit_tiny_patch16");
    snprintf(config.name, sizeof config.name, "tiny_vit");
    config.img_size = 32;
    config.num_classes = 10;
    config.splits[0] = (SoftSplit){8, 8, 0};
    config.embed_dim = 32;
    config.depth = config.num_heads = 2;
    return config;
}

static ModelConfig tiny(const char *name)
{
    ModelConfig config = published(strcmp(name, "tiny_dense") == 0 ? "t2t_vit_dense" : "t2t_vit_14");
    snprintf(config.name, sizeof config.name, "%s", name);
    config.img_size = 32;
    config.num_classes = 10;
    config.embed_dim = 32;
    config.num_heads = 2;
    config.mlp_ratio = 2;
    config.token_dim = 32;
    if (strstr(name, "transformer")) config.tokens_type = TOKENS_TRANSFORMER;
    config.qkv_bias = strstr(name, "qkvbias") != NULL;
    if (strcmp(name, "tiny_dense") == 0) {
        config.token_dim = 64;
        config.growth_rate = 16;
        config.block_groups = 2;
        config.block_config[0] = config.block_config[1] = 2;
        return config;
    }
    config.depth = 2;
    bool convolution = strcmp(name, "tiny_convolution") == 0;
    if (convolution) config.tokens_type = TOKENS_CONVOLUTION;
    if (convolution || strcmp(name, "tiny_performer_img48") == 0 || strcmp(name, "tiny_transformer_qkscale") == 0) {
        config.depth = 1;
        config.token_dim = 16;
    }
    if (strcmp(name, "tiny_performer_img48") == 0) config.img_size = 48;
    if (strcmp(name, "tiny_transformer_qkscale") == 0) config.qk_scale = 0.1767766952966369;
    if (strcmp(name, "tiny_se") == 0 || strcmp(name, "tiny_ghost") == 0) config.token_dim = 64;
    if (strcmp(name, "tiny_se") == 0) config.variant = VARIANT_SE;
    if (strcmp(name, "tiny_ghost") == 0) {
        config.variant = VARIANT_GHOST;
        config.mlp_ratio = 3;
    }
    return config;
}

ModelConfig golden_model(const char *name)
{
    if (strcmp(name, "tiny_vit") == 0) return tiny_vit();
    if (strncmp(name, "tiny_", 5) == 0) return tiny(name);
    if (strcmp(name, "t2t_vit_14_384") == 0) {
        ModelConfig config = published("t2t_vit_14");
        config.img_size = 384;
        return config;
    }
    return published(name);
}
