/* What cannot be built is refused here, so that everything behind it may trust a ModelConfig. */
#include <math.h>
#include <stdlib.h>

#include "core/model/zoo.h"

enum {
    MAX_IMG_SIZE = 8192,
    MAX_CHANS = 256,
    MAX_CLASSES = 1 << 20,
    MAX_WIDTH = 1 << 15,
    MAX_DEPTH = 1024,
    MAX_GROWTH = 4096,
    MAX_KERNEL = 256,
    MAX_MLP_RATIO = 64,
};

static Status check_range(const char *key, int value, int low, int high, Error *error)
{
    if (value >= low && value <= high) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "%s: %d is not between %d and %d", key, value, low, high);
}

static Status check_rate(const char *key, double value, Error *error)
{
    if (value >= 0 && value < 1) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "%s: %g is not a rate from 0 up to, but not including, 1", key, value);
}

static Status check_ranges(const ModelConfig *config, Error *error)
{
    Status status = check_range("img_size", config->img_size, 1, MAX_IMG_SIZE, error);
    if (!status) status = check_range("in_chans", config->in_chans, 1, MAX_CHANS, error);
    if (!status) status = check_range("num_classes", config->num_classes, 1, MAX_CLASSES, error);
    if (!status) status = check_range("embed_dim", config->embed_dim, 1, MAX_WIDTH, error);
    if (!status) status = check_range("depth", config->depth, 1, MAX_DEPTH, error);
    if (!status) status = check_range("num_heads", config->num_heads, 1, MAX_WIDTH, error);
    if (!status && config->tokens_type != TOKENS_PATCH) /* half of it are the performer's features */
        status = check_range("token_dim", config->token_dim, 2, MAX_WIDTH, error);
    if (!status) status = check_rate("drop", config->drop, error);
    if (!status) status = check_rate("attn_drop", config->attn_drop, error);
    if (!status) status = check_rate("drop_path", config->drop_path, error);
    if (!status) status = check_rate("token_dropout", config->token_dropout, error);
    if (status) return status;
    if (!(config->mlp_ratio > 0 && config->mlp_ratio <= MAX_MLP_RATIO))
        return error_set(error, STATUS_USAGE, "mlp_ratio: %g is not above 0 and at most %d", config->mlp_ratio,
                         MAX_MLP_RATIO);
    if (!(config->qk_scale >= 0 && isfinite(config->qk_scale)))
        return error_set(error, STATUS_USAGE, "qk_scale: %g is not a positive number, nor 0 for head_dim^-0.5",
                         config->qk_scale);
    if (!(config->norm_eps > 0 && config->norm_eps < 1))
        return error_set(error, STATUS_USAGE, "norm_eps: %g is not between 0 and 1", config->norm_eps);
    return STATUS_OK;
}

/* ---- soft splits */

/* The product of the strides: what the official code divides the image side by. */
static int divisor_of(const ModelConfig *config)
{
    int divisor = 1;
    for (int i = 0; i < zoo_splits(config); i++) divisor *= config->splits[i].stride;
    return divisor;
}

/* Whether every split finds at least one whole window. */
static bool windows_fit(const ModelConfig *config, int img_size)
{
    int side = img_size;
    for (int i = 0; i < zoo_splits(config); i++) {
        SoftSplit split = config->splits[i];
        if (side + 2 * split.padding < split.kernel) return false;
        side = (side + 2 * split.padding - split.kernel) / split.stride + 1;
    }
    return true;
}

static int nearest_img_size(const ModelConfig *config, int divisor)
{
    int down = config->img_size / divisor * divisor;
    if (down > 0 && config->img_size - down <= divisor / 2 && windows_fit(config, down)) return down;
    int up = down + divisor;
    while (up < MAX_IMG_SIZE && !windows_fit(config, up)) up += divisor;
    return up;
}

static Status check_splits(const ModelConfig *config, Error *error)
{
    for (int i = 0; i < zoo_splits(config); i++) {
        SoftSplit split = config->splits[i];
        if (split.kernel < 1 || split.kernel > MAX_KERNEL || split.stride < 1 || split.stride > split.kernel ||
            split.padding < 0 || split.padding >= split.kernel)
            return error_set(error, STATUS_USAGE,
                             "splits: number %d is kernel %d, stride %d, padding %d; needed are a kernel of 1 to %d, a "
                             "stride from 1 to the kernel (else pixels are skipped) and a padding below the kernel",
                             i + 1, split.kernel, split.stride, split.padding, MAX_KERNEL);
    }
    SoftSplit first = config->splits[0];
    if (config->tokens_type == TOKENS_PATCH && (first.stride != first.kernel || first.padding != 0))
        return error_set(error, STATUS_USAGE, "splits: a patch model takes kernel = stride and padding 0, not %d/%d/%d",
                         first.kernel, first.stride, first.padding);
    int divisor = divisor_of(config);
    if (config->img_size % divisor != 0 || !windows_fit(config, config->img_size))
        return error_set(error, STATUS_USAGE,
                         "img_size: the soft splits divide the image by %d, and %d cannot be divided so; the nearest "
                         "that can is %d",
                         divisor, config->img_size, nearest_img_size(config, divisor));
    return STATUS_OK;
}

/* ---- backbone */

static int nearest_heads(int width, int wanted)
{
    for (int off = 1;; off++) {
        if (wanted - off >= 1 && width % (wanted - off) == 0) return wanted - off;
        if (wanted + off <= width && width % (wanted + off) == 0) return wanted + off;
        if (off > width) return 1;
    }
}

static Status check_heads(const ModelConfig *config, Error *error)
{
    for (int block = 0; block < zoo_blocks(config); block++) {
        BlockShape shape = zoo_block(config, block);
        if (shape.width_out < 1 || shape.width_out > MAX_WIDTH)
            return error_set(error, STATUS_USAGE, "growth_rate: block %d would be %d wide; at most %d is possible",
                             block, shape.width_out, MAX_WIDTH);
        if (shape.transition) continue;
        if (shape.width_in % config->num_heads != 0)
            return error_set(error, STATUS_USAGE,
                             "num_heads: %d does not divide the width %d of block %d; the nearest that does is %d",
                             config->num_heads, shape.width_in, block,
                             nearest_heads(shape.width_in, config->num_heads));
        if (shape.hidden < 1)
            return error_set(error, STATUS_USAGE, "mlp_ratio: %g of the width %d of block %d leaves no hidden unit",
                             config->mlp_ratio, shape.width_in, block);
    }
    return STATUS_OK;
}

static Status check_variant(const ModelConfig *config, Error *error)
{
    if (config->tokens_type == TOKENS_PATCH && config->variant != VARIANT_PLAIN)
        return error_set(error, STATUS_USAGE, "variant: %s needs the tokens of a T2T module, not tokens_type patch",
                         zoo_variant_name(config->variant));
    switch (config->variant) {
    case VARIANT_PLAIN:
        return STATUS_OK;
    case VARIANT_SE:
        if (config->embed_dim >= 16) return STATUS_OK;
        return error_set(error, STATUS_USAGE, "embed_dim: %d; the se variant squeezes by 16 and needs at least 16",
                         config->embed_dim);
    case VARIANT_GHOST:
        if (config->embed_dim % 2 != 0)
            return error_set(error, STATUS_USAGE, "embed_dim: %d is odd; the ghost variant halves it",
                             config->embed_dim);
        if (config->mlp_ratio != 3)
            return error_set(error, STATUS_USAGE,
                             "mlp_ratio: %g; the ghost variant joins three parts of embed_dim, so it must be 3",
                             config->mlp_ratio);
        return STATUS_OK;
    case VARIANT_DENSE:
        break;
    }
    Status status = check_range("growth_rate", config->growth_rate, 1, MAX_GROWTH, error);
    if (!status)
        status = check_range("block_config (number of groups)", config->block_groups, 1, MAX_DENSE_GROUPS, error);
    for (int i = 0; i < config->block_groups && !status; i++)
        status = check_range("block_config", config->block_config[i], 1, MAX_DEPTH / MAX_DENSE_GROUPS, error);
    if (!status && config->depth < config->block_groups)
        status = error_set(error, STATUS_USAGE, "depth: %d; the dense variant spaces drop-path rates over at least %d",
                           config->depth, config->block_groups);
    return status;
}

Status zoo_check(const ModelConfig *config, Error *error)
{
    Status status = check_ranges(config, error);
    if (!status) status = check_splits(config, error);
    if (!status) status = check_variant(config, error);
    if (!status) status = check_heads(config, error);
    return status;
}
