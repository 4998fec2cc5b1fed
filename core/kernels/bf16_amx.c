/* Products with TDPBF16PS: 2 x 2 tiles of C, each of them 16 x 16, take 32 of k a time.
 *
 * Tiles are a thread's own: a product configures them at its start and releases them at its end, so that no state is
 * left for whoever runs next on the thread, nor for the kernel to save when threads change. All have the full size:
 * operands are padded, and C's edge goes through memory of 32 x 32. The process must have the kernel's permission:
 * bf16_choose asks for it.
 */
#include "core/kernels/bf16_tiles.h"

typedef struct TileConfig { /* what LDTILECFG reads */
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} TileConfig;

static void tiles_begin(void)
{
    TileConfig config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = TILE_DEPTH * sizeof(uint16_t);
        config.rows[i] = TILE_SIDE;
    }
    _tile_loadconfig(&config);
}

static void tiles_end(void)
{
    _tile_release();
}

/* Tiles 0 to 3 hold C, 4 and 5 A, 6 and 7 B; the names of tiles are part of the instruction. */
#define TILES_OF(name, high, wide)                                                                                     \
    static void name(int blocks, const uint16_t *a, const uint16_t *b, bool add, float *c, size_t stride)              \
    {                                                                                                                  \
        float *below = (float *)((char *)c + TILE_SIDE * stride);                                                      \
        if (add) {                                                                                                     \
            _tile_loadd(0, c, stride);                                                                                 \
            if (wide > 1) _tile_loadd(1, c + TILE_SIDE, stride);                                                       \
            if (high > 1) _tile_loadd(2, below, stride);                                                               \
            if (high > 1 && wide > 1) _tile_loadd(3, below + TILE_SIDE, stride);                                       \
        } else {                                                                                                       \
            _tile_zero(0);                                                                                             \
            _tile_zero(1);                                                                                             \
            _tile_zero(2);                                                                                             \
            _tile_zero(3);                                                                                             \
        }                                                                                                              \
        for (int i = 0; i < blocks; i++, a += STRIP_BLOCK, b += STRIP_BLOCK) {                                         \
            _tile_loadd(4, a, 64);                                                                                     \
            _tile_loadd(6, b, 64);                                                                                     \
            if (high > 1) _tile_loadd(5, a + TILE, 64);                                                                \
            if (wide > 1) _tile_loadd(7, b + TILE, 64);                                                                \
            _tile_dpbf16ps(0, 4, 6);                                                                                   \
            if (high > 1) _tile_dpbf16ps(2, 5, 6);                                                                     \
            if (wide > 1) _tile_dpbf16ps(1, 4, 7);                                                                     \
            if (high > 1 && wide > 1) _tile_dpbf16ps(3, 5, 7);                                                         \
        }                                                                                                              \
        _tile_stored(0, c, stride);                                                                                    \
        if (wide > 1) _tile_stored(1, c + TILE_SIDE, stride);                                                          \
        if (high > 1) _tile_stored(2, below, stride);                                                                  \
        if (high > 1 && wide > 1) _tile_stored(3, below + TILE_SIDE, stride);                                          \
    }

TILES_OF(tiles_1x1, 1, 1)
TILES_OF(tiles_1x2, 1, 2)
TILES_OF(tiles_2x1, 2, 1)
TILES_OF(tiles_2x2, 2, 2)

static void tiles_run(int blocks, int high, int wide, const uint16_t *a, const uint16_t *b, bool add, float *c,
                      int64_t ldc)
{
    size_t stride = (size_t)ldc * sizeof *c;
    if (high == 2 && wide == 2)
        tiles_2x2(blocks, a, b, add, c, stride);
    else if (high == 2)
        tiles_2x1(blocks, a, b, add, c, stride);
    else if (wide == 2)
        tiles_1x2(blocks, a, b, add, c, stride);
    else
        tiles_1x1(blocks, a, b, add, c, stride);
}

static const Bf16Micro TILE_MICRO = {.run = tiles_run, .begin = tiles_begin, .end = tiles_end};

BF16_KERNELS(amx, TILE_MICRO);
