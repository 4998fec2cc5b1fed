/* The fused layers (block, dense transition, token layers) against the goldens of single operations. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/block.h"
#include "core/model/t2t_layer.h"
#include "tests/support/golden.h"

/* What a test allocates stays until its process ends; this list keeps leak checkers informed. */
static void *kept[64];
static int kept_count;

static void *keep(void *memory)
{
    cr_assert_lt(kept_count, 64);
    return kept[kept_count++] = memory;
}

/* A golden's `param.*` tensors as a parameter table, with its weights and room for gradients. */
typedef struct Fixture {
    Safetensors file;
    ParamTable table;
    float *weights, *x, *dy, *y, *dx;
    Arena arena;
    StepContext step;
} Fixture;

enum { IMAGES = 2 };

static Fixture open_layer(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "ops/%s", name);
    Fixture layer = {.file = golden_open(path)};
    Error error = {0};
    keep(layer.file.entries);
    keep(layer.file.metadata);
    layer.table.items = keep(calloc((size_t)layer.file.count, sizeof *layer.table.items));
    for (int i = 0; i < layer.file.count; i++) {
        const SafetensorsEntry *entry = &layer.file.entries[i];
        if (strncmp(entry->name, "param.", 6) != 0) continue;
        Param *param = &layer.table.items[layer.table.count++];
        snprintf(param->name, sizeof param->name, "%s", entry->name + 6);
        param->numel = entry->numel;
        param->offset = layer.table.size;
        layer.table.size += (entry->numel + 15) / 16 * 16;
    }
    layer.weights = keep(calloc((size_t)layer.table.size, sizeof(float)));
    for (int i = 0; i < layer.table.count; i++) {
        char full[128];
        int64_t count;
        snprintf(full, sizeof full, "param.%s", layer.table.items[i].name);
        float *values = golden_floats(&layer.file, full, &count);
        memcpy(layer.weights + layer.table.items[i].offset, values, (size_t)count * sizeof(float));
        free(values);
    }
    int64_t x_size, y_size;
    layer.x = keep(golden_floats(&layer.file, "in.x", &x_size));
    layer.dy = keep(golden_floats(&layer.file, "grad_out", &y_size));
    layer.y = keep(calloc((size_t)y_size, sizeof(float)));
    layer.dx = keep(calloc((size_t)x_size, sizeof(float)));
    layer.step = (StepContext){.kernels = kernels_best(), .weights = layer.weights, .batch = IMAGES};
    layer.step.grads = keep(calloc((size_t)layer.table.size, sizeof(float)));
    cr_assert_eq(pool_create(&layer.step.pool, 2, &error), STATUS_OK);
    return layer;
}

static void expect(const Fixture *layer, const char *name, const float *got)
{
    int64_t count;
    float *want = golden_floats(&layer->file, name, &count);
    double error = max_abs_difference(got, want, count) / max_abs(want, count);
    cr_assert_lt(error, 3e-6, "%s: %s is off by %g of its largest", layer->file.path, name, error);
    free(want);
}

static void expect_all(const Fixture *layer)
{
    expect(layer, "out.y", layer->y);
    expect(layer, "grad.x", layer->dx);
    for (int i = 0; i < layer->table.count; i++) {
        char full[128];
        const Param *param = &layer->table.items[i];
        snprintf(full, sizeof full, "grad.%s", param->name);
        if (strcmp(param->name, "w") != 0) expect(layer, full, layer->step.grads + param->offset);
    }
    pool_free(layer->step.pool);
}

static void carve_scratch(Fixture *layer, size_t floats)
{
    layer->step.scratch_size = floats;
    layer->step.scratch = arena_floats(&layer->arena, 2 * floats);
}

/* ---- blocks */

static void carve_block(Fixture *layer, Block *block, BlockBuffers *buffers)
{
    Linear *linears[MAX_BLOCK_LINEARS];
    int count = block_linears(block, linears);
    for (int i = 0; i < count; i++) linear_carve(linears[i], &layer->arena, layer->step.kernels->gemm_packed);
    block_carve_saved(block, &layer->arena, IMAGES);
    block_carve_buffers(block, buffers, &layer->arena, IMAGES);
    carve_scratch(layer, block_scratch(block));
    if (layer->arena.base) {
        linears_pack(&layer->step, linears, count, false);
        linears_pack(&layer->step, linears, count, true);
    }
}

static void start_block(Fixture *layer, Block *block, BlockBuffers *buffers, const char *prefix,
                        const ModelConfig *config, BlockShape shape)
{
    ParamLookup lookup = {.table = &layer->table, .prefix = prefix};
    Error error = {0};
    block_build(block, &lookup, config, &shape, 3, 9);
    cr_assert_null(lookup.missing, "no %s%s", prefix, lookup.missing);
    layer->arena = (Arena){0};
    carve_block(layer, block, buffers);
    cr_assert_eq(arena_allocate(&layer->arena, &error), STATUS_OK);
    carve_block(layer, block, buffers);
}

Test(layers, block)
{
    Fixture layer = open_layer("block_d32_h2");
    ModelConfig config = {.num_heads = 2, .norm_eps = 1e-5};
    Block block;
    BlockBuffers buffers;
    start_block(&layer, &block, &buffers, "", &config, (BlockShape){.width_in = 32, .width_out = 32, .hidden = 96});
    block_forward(&block, &layer.step, layer.x, layer.y);
    memcpy(layer.dx, layer.dy, IMAGES * 9 * 32 * sizeof(float));
    block_backward(&block, &layer.step, &buffers, layer.x, layer.dx, layer.dx);
    expect_all(&layer);
}

static const ModelConfig DENSE = {.num_heads = 4, .norm_eps = 1e-5, .variant = VARIANT_DENSE, .growth_rate = 16};

Test(layers, dense_block)
{
    Fixture layer = open_layer("dense_block");
    Block block;
    BlockBuffers buffers;
    start_block(&layer, &block, &buffers, "", &DENSE, (BlockShape){.width_in = 32, .width_out = 48, .hidden = 64});
    block_forward(&block, &layer.step, layer.x, layer.y);
    block_backward(&block, &layer.step, &buffers, layer.x, layer.dy, layer.dx);
    expect_all(&layer);
}

Test(layers, dense_transition)
{
    Fixture layer = open_layer("dense_transition");
    Block block;
    BlockBuffers buffers;
    start_block(&layer, &block, &buffers, "", &DENSE,
                (BlockShape){.width_in = 48, .width_out = 24, .transition = true});
    block_forward(&block, &layer.step, layer.x, layer.y);
    block_backward(&block, &layer.step, &buffers, layer.x, layer.dy, layer.dx);
    expect_all(&layer);
}

Test(layers, dense_block_then_transition)
{
    Fixture layer = open_layer("dense_block_then_transition");
    Block block, transition;
    BlockBuffers buffers, transition_buffers;
    enum { ROWS = IMAGES * 9 };
    float *between = keep(calloc(ROWS * 48, sizeof(float))), *dbetween = keep(calloc(ROWS * 48, sizeof(float)));
    start_block(&layer, &block, &buffers, "0.", &DENSE, (BlockShape){.width_in = 32, .width_out = 48, .hidden = 64});
    StepContext step = layer.step; /* its scratch goes with this block */
    start_block(&layer, &transition, &transition_buffers, "1.", &DENSE,
                (BlockShape){.width_in = 48, .width_out = 24, .transition = true});
    block_forward(&block, &step, layer.x, between);
    block_forward(&transition, &layer.step, between, layer.y);
    block_backward(&transition, &layer.step, &transition_buffers, between, layer.dy, dbetween);
    block_backward(&block, &step, &buffers, layer.x, dbetween, layer.dx);
    expect_all(&layer);
}

/* ---- token layers */

static void carve_token_layer(Fixture *layer, T2TLayer *token, T2TBuffers *buffers)
{
    Linear *linears[5];
    int count = t2t_layer_linears(token, linears);
    for (int i = 0; i < count; i++) linear_carve(linears[i], &layer->arena, layer->step.kernels->gemm_packed);
    t2t_layer_carve_saved(token, &layer->arena, IMAGES, IMAGES);
    t2t_layer_carve_buffers(token, buffers, &layer->arena, IMAGES, true);
    carve_scratch(layer, t2t_layer_scratch(token));
    if (layer->arena.base) {
        linears_pack(&layer->step, linears, count, false);
        linears_pack(&layer->step, linears, count, true);
    }
}

/* The goldens begin after the soft split: a split of 1 x 1 windows over a grid of tokens hands them through. */
static void check_token_layer(const char *name, TokensType type, int channels, int kernel, int side, int width)
{
    Fixture layer = open_layer(name);
    ParamLookup lookup = {.table = &layer.table, .prefix = ""};
    Error error = {0};
    ModelConfig config = {.img_size = side * kernel,
                          .in_chans = channels,
                          .tokens_type = type,
                          .token_dim = width,
                          .splits = {{kernel, kernel, 0}}};
    T2TLayer token;
    T2TBuffers buffers = {0};
    t2t_layer_build(&token, &lookup, &config, 0);
    cr_assert_null(lookup.missing, "no %s", lookup.missing);
    token.split = split_tokens(token.in, side, 1, 1, 0);
    token.pixels = false;
    token.source_size = (int64_t)token.in * side * side;
    carve_token_layer(&layer, &token, &buffers);
    cr_assert_eq(arena_allocate(&layer.arena, &error), STATUS_OK);
    carve_token_layer(&layer, &token, &buffers);
    TokenChunk chunk = {.images = IMAGES};
    t2t_layer_forward(&token, &layer.step, &buffers, chunk, false, layer.x, layer.y);
    t2t_layer_backward(&token, &layer.step, &buffers, chunk, false, layer.x, layer.dy, layer.dx);
    expect_all(&layer);
}

Test(layers, token_performer)
{
    check_token_layer("token_performer_72_24", TOKENS_PERFORMER, 8, 3, 4, 24);
    check_token_layer("token_performer_147_64", TOKENS_PERFORMER, 3, 7, 8, 64);
}

Test(layers, token_transformer)
{
    check_token_layer("token_transformer_72_24", TOKENS_TRANSFORMER, 8, 3, 4, 24);
    check_token_layer("token_transformer_147_64", TOKENS_TRANSFORMER, 3, 7, 8, 64);
}

/* ---- chunks and tiles */

Test(layers, a_chunk_has_rows_for_all_threads)
{
    cr_expect_eq(t2t_chunk_images(96 * 96), 8, "384 pixels");
    cr_expect_eq(t2t_chunk_images(56 * 56), 8, "224 pixels");
    cr_expect_eq(t2t_chunk_images(32 * 32), 24, "32 pixels, stride 1");
    cr_expect_eq(t2t_chunk_images(16 * 16), 64, "32 pixels, stride 2");
    cr_expect_eq(t2t_chunk_images(1), 64);
}

Test(layers, t2t_tiles_cover_every_row_once)
{
    for (int tokens = 1; tokens < 1000; tokens += 1 + tokens / 7)
        for (int images = 1; images <= CHUNK_MOST; images++) {
            T2TTiles tiles = t2t_tiles(tokens);
            int64_t next = 0;
            for (int64_t i = 0; i < t2t_tiles_count(&tiles, images); i++) {
                T2TTile tile = t2t_tile(&tiles, images, i);
                cr_assert_eq(tile.first, next, "%d tokens, tile %d", tokens, (int)i);
                cr_assert(tile.rows > 0 && tile.rows <= tiles.rows && tile.rows % tile.images == 0);
                next += tile.rows;
            }
            cr_assert_eq(next, (int64_t)images * tokens);
        }
}
