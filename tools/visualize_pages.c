#include "tools/visualize_pages.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/base/path.h"
#include "core/model/attention_maps.h"

enum { MOST_FEATURES = 64, FEATURE_COLUMNS = 8, TOKEN_CHANNELS = 8, SMALL_TILE = 112, CELL = 4 };

/* ---- the pages of one image */

Status pages_create(Pages *pages, const ModelConfig *config, const char *pattern, Error *error)
{
    int tokens = zoo_tokens(config), side = config->img_size;
    *pages = (Pages){.config = config, .pattern = pattern};
    int blocks = 0;
    for (int i = 0; i < zoo_blocks(config); i++) blocks += !zoo_block(config, i).transition;
    pages->weights =
        memory_alloc((int64_t)config->num_heads * tokens, (size_t)tokens * sizeof(float), "attention", error);
    pages->rolled = memory_alloc(tokens, (size_t)tokens * sizeof(float), "attention", error);
    pages->scratch = memory_alloc(tokens, (size_t)tokens * sizeof(float), "attention", error);
    Status status = error->status;
    if (!status)
        status = tile_page_create(&pages->attention, side, config->num_heads, blocks * config->num_heads, error);
    if (!status) status = tile_page_create(&pages->rollout, side, 2, 2, error);
    /* Of the convolutions the last is the projection, which nobody calls a soft split. */
    int splits = config->tokens_type == TOKENS_CONVOLUTION ? MAX_SPLITS - 1 : MAX_SPLITS;
    if (!status && config->tokens_type != TOKENS_PATCH)
        status = tile_page_create(&pages->tokens, SMALL_TILE, TOKEN_CHANNELS, splits * TOKEN_CHANNELS, error);
    return status;
}

static void free_features(Pages *pages)
{
    for (int i = 0; i < pages->feature_count; i++) tile_page_free(&pages->features[i].page);
    pages->feature_count = 0;
}

void pages_free(Pages *pages)
{
    free_features(pages);
    tile_page_free(&pages->attention);
    tile_page_free(&pages->rollout);
    tile_page_free(&pages->tokens);
    free(pages->weights);
    free(pages->rolled);
    free(pages->scratch);
    *pages = (Pages){0};
}

void pages_begin(Pages *pages, const uint8_t *photo)
{
    int tokens = zoo_tokens(pages->config);
    free_features(pages);
    pages->photo = photo;
    pages->block = 0;
    pages->error = (Error){0};
    memset(pages->rolled, 0, (size_t)tokens * (size_t)tokens * sizeof(float));
    for (int i = 0; i < tokens; i++) pages->rolled[i * tokens + i] = 1;
}

/* The side of the square of tokens, and in *first the class token's place if there is one before them. */
static int grid_side(int rows, int *first)
{
    int side = (int)lround(sqrt((double)rows));
    *first = side * side == rows ? 0 : 1;
    return *first ? (int)lround(sqrt((double)rows - 1)) : side;
}

/* `count` channels, evenly chosen, as tiles from number `tile` on. */
static void draw_channels(TilePage *page, int tile, int count, const Activation *activation)
{
    int first, side = grid_side(activation->rows, &first), cols = activation->cols;
    for (int i = 0; i < count; i++) {
        const float *channel = activation->values + (long)first * cols + (long)i * cols / count;
        tile_page_draw(page, tile + i, &(HeatMap){.values = channel, .rows = side, .cols = side, .step = cols});
    }
}

static void draw_features(Pages *pages, const Activation *activation)
{
    if (pages->feature_count == MAX_FEATURE_LAYERS) return;
    int count = activation->cols < MOST_FEATURES ? activation->cols : MOST_FEATURES;
    FeaturePage *page = &pages->features[pages->feature_count++];
    snprintf(page->layer, sizeof page->layer, "%s", activation->name);
    if (tile_page_create(&page->page, SMALL_TILE, FEATURE_COLUMNS, count, &pages->error) == STATUS_OK)
        draw_channels(&page->page, 0, count, activation);
}

/* Row 0 of each head's weights, but for its first element, says where the class token looks. */
static void draw_attention(Pages *pages, const Activation *activation)
{
    const ModelConfig *config = pages->config;
    int tokens = activation->rows, heads = config->num_heads, width = activation->cols / 3 / heads, first;
    int side = grid_side(tokens, &first);
    double scale = config->qk_scale > 0 ? config->qk_scale : 1 / sqrt(width);
    attention_weights(activation->values, tokens, heads, width, scale, pages->weights);
    for (int h = 0; h < heads; h++) {
        HeatMap map = {pages->weights + (long)h * tokens * tokens + 1, side, side, 1, pages->photo, true};
        tile_page_draw(&pages->attention, pages->block * heads + h, &map);
    }
    attention_rollout(pages->weights, tokens, heads, pages->rolled, pages->scratch);
    pages->block++;
}

void pages_take(void *context, const Activation *activation)
{
    Pages *pages = context;
    const char *name = activation->name;
    static const char split[] = "tokens_to_token.soft_split";
    layer_names_add(&pages->names, name);
    if (strncmp(name, split, strlen(split)) == 0)
        draw_channels(&pages->tokens, (name[strlen(split)] - '0') * TOKEN_CHANNELS, TOKEN_CHANNELS, activation);
    if (fnmatch("blocks.*.attn.qkv", name, 0) == 0) draw_attention(pages, activation);
    if (fnmatch(pages->pattern, name, 0) == 0) draw_features(pages, activation);
}

static void draw_rollout(Pages *pages)
{
    int first, side = grid_side(zoo_tokens(pages->config), &first);
    HeatMap map = {pages->rolled + 1, side, side, 1, pages->photo, true};
    tile_page_photo(&pages->rollout, 0, pages->photo);
    tile_page_draw(&pages->rollout, 1, &map);
}

static Status write_page(const TilePage *page, const char *name, const char *what, Error *error)
{
    char path[PATH_SIZE];
    int length = snprintf(path, sizeof path, "%s.%s.png", name, what);
    if (length >= (int)sizeof path) return error_set(error, STATUS_USAGE, "%s: the name is too long", name);
    return tile_page_write(page, path, error);
}

Status pages_write(Pages *pages, const char *name, Error *error)
{
    Status status = pages->error.status;
    if (status) *error = pages->error;
    if (!status && pages->pattern[0] && pages->feature_count == 0)
        status = layer_names_none(&pages->names, pages->config, pages->pattern, error);
    if (status) return status;
    draw_rollout(pages);
    status = write_page(&pages->attention, name, "attention", error);
    if (!status) status = write_page(&pages->rollout, name, "rollout", error);
    if (!status && pages->tokens.image.pixels) status = write_page(&pages->tokens, name, "tokens", error);
    for (int i = 0; i < pages->feature_count && !status; i++) {
        char what[LAYER_NAME + 16];
        snprintf(what, sizeof what, "features.%s", pages->features[i].layer);
        status = write_page(&pages->features[i].page, name, what, error);
    }
    return status;
}

/* ---- positions */

static float cosine(const float *a, const float *b, int count)
{
    double ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < count; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return aa > 0 && bb > 0 ? (float)(ab / sqrt(aa * bb)) : 0;
}

Status positions_write(const ParamTable *table, const float *weights, const char *folder, Error *error)
{
    const Param *param = params_find(table, "pos_embed");
    int tokens = (int)param->shape[1], dim = (int)param->shape[2], first, side = grid_side(tokens, &first);
    const float *positions = weights + param->offset + (long)first * dim;
    char path[PATH_SIZE];
    TilePage page = {0};
    float *map = memory_alloc((int64_t)side * side, sizeof *map, "positions", error);
    Status status = map ? tile_page_create(&page, side * CELL, side, side * side, error) : error->status;
    for (int i = 0; !status && i < side * side; i++) {
        for (int j = 0; j < side * side; j++)
            map[j] = cosine(positions + (long)i * dim, positions + (long)j * dim, dim);
        tile_page_draw(&page, i, &(HeatMap){.values = map, .rows = side, .cols = side, .step = 1});
    }
    if (!status) status = path_join(path, sizeof path, folder, "positions.png", error);
    if (!status) status = tile_page_write(&page, path, error);
    tile_page_free(&page);
    free(map);
    return status;
}
