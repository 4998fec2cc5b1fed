/* bf16_body.h: products of bfloat16 written once: how operands are laid out, and in which blocks they meet. Each of the
 * bf16_*.c brings what multiplies (a Bf16Micro) and the two functions that fill a tile, and makes its table.
 *
 * The layout is AMX's, and serves the others as well. A strip is 32 rows of A, or 32 columns of B, by k: for each 32 of
 * k two tiles of 1 KB, one for each half of the strip.
 *
 *     tile of A: [16 rows][32 of k]           tile of B: [16 pairs of k][16 columns][2]
 *
 * Where rows, columns or k end within a tile the rest of it is zero: sums are the same with it.
 */
#include <stdbool.h>
#include <string.h>

#include "core/kernels/bf16.h"

enum {
    TILE_SIDE = 16,                /* rows or columns */
    TILE_DEPTH = 32,               /* of k */
    TILE = TILE_SIDE * TILE_DEPTH, /* elements */
    STRIP_SIDE = 2 * TILE_SIDE,    /* rows or columns */
    STRIP_BLOCK = 2 * TILE,        /* elements for each 32 of k */
    DEPTH_PACKED = 24,
    DEPTH_GEMM = 16, /* of k at a time, in 32s; strips of A and B share the second-level cache */
    MOST_STRIPS_A = 7,
    MOST_STRIPS_B = 13,
};

/* One operand where it lies. */
typedef struct Bf16Source {
    const void *at;
    int64_t ld;
    bool stored;  /* bfloat16; else float32 */
    bool along_k; /* k runs along its rows; else across them */
} Bf16Source;

typedef struct Bf16Micro {
    /* C (16 high, 16 wide) = (or +=, when `add`) the product of a strip of A and one of B, `blocks` times 32 of k. */
    void (*run)(int blocks, int high, int wide, const uint16_t *a, const uint16_t *b, bool add, float *c, int64_t ldc);
    void (*begin)(void), (*end)(void); /* around the runs of one product; NULL: nothing to do */
} Bf16Micro;

/* Elements first .. first + count - 1 (rows of A, columns of B) and p .. p + depth - 1 of k: a tile of A or of B. */
static void bf16_tile(const Bf16Source *from, bool of_b, int first, int count, int p, int depth, uint16_t *out);

static int bf16_least(int a, int b)
{
    return a < b ? a : b;
}

static int bf16_blocks(int k)
{
    return (k + TILE_DEPTH - 1) / TILE_DEPTH;
}

/* `count` rows or columns from `first` on as strips, which follow each other; k from p on. Tiles are filled along the
 * rows of the source, 32 of k after 32: so memory is read in its order. */
static void bf16_strips(const Bf16Source *from, bool of_b, int first, int count, int p, int depth, uint16_t *out)
{
    int64_t strip = (int64_t)bf16_blocks(depth) * STRIP_BLOCK;
    for (int q = 0; q < depth; q += TILE_DEPTH, out += STRIP_BLOCK)
        for (int i = 0; i < count; i += TILE_SIDE)
            bf16_tile(from, of_b, first + i, bf16_least(TILE_SIDE, count - i), p + q, bf16_least(TILE_DEPTH, depth - q),
                      out + i / STRIP_SIDE * strip + i % STRIP_SIDE / TILE_SIDE * TILE);
}

static void bf16_copy(int rows, int cols, const float *from, int64_t ldf, float *to, int64_t ldt)
{
    for (int r = 0; r < rows; r++) memcpy(to + r * ldt, from + r * ldf, (size_t)cols * sizeof(float));
}

/* C (rows, cols) of a strip of A and columns skip .. skip + cols - 1 of a strip of B. */
static void bf16_meet(const Bf16Micro *micro, int blocks, int rows, int skip, int cols, const uint16_t *a,
                      const uint16_t *b, bool add, float *c, int64_t ldc)
{
    int high = (rows + TILE_SIDE - 1) / TILE_SIDE, wide = (skip + cols + TILE_SIDE - 1) / TILE_SIDE;
    if (rows % TILE_SIDE == 0 && skip == 0 && cols % TILE_SIDE == 0) {
        micro->run(blocks, high, wide, a, b, add, c, ldc);
        return;
    }
    float edge[STRIP_SIDE * STRIP_SIDE] __attribute__((aligned(64)));
    if (add) {
        memset(edge, 0, sizeof edge);
        bf16_copy(rows, cols, c, ldc, edge + skip, STRIP_SIDE);
    }
    micro->run(blocks, high, wide, a, b, add, edge, STRIP_SIDE);
    bf16_copy(rows, cols, edge + skip, STRIP_SIDE, c, ldc);
}

/* C (m, count) of strips of A, and of columns first .. of strips of B `stride` elements apart. A strip of B stays in the
 * first-level cache while those of A pass. */
static void bf16_multiply(const Bf16Micro *micro, int blocks, int m, int first, int count, const uint16_t *a,
                          const uint16_t *b, int64_t stride, bool add, float *c, int64_t ldc)
{
    int cols;
    for (int j = first; j < first + count; j += cols, c += cols) {
        int skip = j % STRIP_SIDE;
        cols = bf16_least(STRIP_SIDE - skip, first + count - j);
        const uint16_t *strip = b + j / STRIP_SIDE * stride;
        for (int i = 0; i < m; i += STRIP_SIDE)
            bf16_meet(micro, blocks, bf16_least(STRIP_SIDE, m - i), skip, cols,
                      a + (int64_t)i / STRIP_SIDE * blocks * STRIP_BLOCK, strip, add, c + i * ldc, ldc);
    }
}

/* What a product does to C before it is added to: returns whether it is added to at all. */
static bool bf16_scale(int m, int n, float beta, float *c, int64_t ldc)
{
    if (beta != 0.0f && beta != 1.0f)
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) c[i * ldc + j] *= beta;
    return beta != 0.0f;
}

/* Of all `blocks` of k at a time: nearly equal parts. */
static int bf16_part(int blocks, int most)
{
    int parts = blocks > 0 ? (blocks + most - 1) / most : 1;
    return (blocks + parts - 1) / parts * TILE_DEPTH;
}

static void bf16_gemm_with(const Bf16Micro *micro, int m, int n, int k, Bf16Source a, Bf16Source b, float beta,
                           float *c, int ldc)
{
    uint16_t strips_a[MOST_STRIPS_A * DEPTH_GEMM * STRIP_BLOCK] __attribute__((aligned(64)));
    uint16_t strips_b[MOST_STRIPS_B * DEPTH_GEMM * STRIP_BLOCK] __attribute__((aligned(64)));
    bool add = bf16_scale(m, n, beta, c, ldc);
    int p = 0, part = bf16_part(bf16_blocks(k), DEPTH_GEMM), rows, cols;
    if (m <= 0 || n <= 0) return;
    if (micro->begin) micro->begin();
    do {
        int depth = bf16_least(part, k - p), blocks = bf16_blocks(depth);
        for (int j = 0; j < n; j += cols) {
            cols = bf16_least(MOST_STRIPS_B * STRIP_SIDE, n - j);
            bf16_strips(&b, true, j, cols, p, depth, strips_b);
            for (int i = 0; i < m; i += rows) {
                rows = bf16_least(MOST_STRIPS_A * STRIP_SIDE, m - i);
                bf16_strips(&a, false, i, rows, p, depth, strips_a);
                bf16_multiply(micro, blocks, rows, 0, cols, strips_a, strips_b, (int64_t)blocks * STRIP_BLOCK,
                              add || p > 0, c + (int64_t)i * ldc + j, ldc);
            }
        }
        p += part;
    } while (p < k);
    if (micro->end) micro->end();
}

static void bf16_gemm_packed_with(const Bf16Micro *micro, int m, const PackedMatrix *b, int first, int count,
                                  Bf16Source a, float beta, float *c, int ldc)
{
    uint16_t strips_a[MOST_STRIPS_A * DEPTH_PACKED * STRIP_BLOCK] __attribute__((aligned(64)));
    bool add = bf16_scale(m, count, beta, c, ldc);
    int k = b->k, all = bf16_blocks(k), p = 0, part = bf16_part(all, DEPTH_PACKED), rows;
    if (m <= 0 || count <= 0) return;
    if (micro->begin) micro->begin();
    do {
        int depth = bf16_least(part, k - p), blocks = bf16_blocks(depth);
        const uint16_t *strips_b = (const uint16_t *)b->at + (int64_t)p / TILE_DEPTH * STRIP_BLOCK;
        for (int i = 0; i < m; i += rows) {
            rows = bf16_least(MOST_STRIPS_A * STRIP_SIDE, m - i);
            bf16_strips(&a, false, i, rows, p, depth, strips_a);
            bf16_multiply(micro, blocks, rows, first, count, strips_a, strips_b, (int64_t)all * STRIP_BLOCK,
                          add || p > 0, c + (int64_t)i * ldc, ldc);
        }
        p += part;
    } while (p < k);
    if (micro->end) micro->end();
}

/* Strips of all of b; `first` is a multiple of 16. */
static void bf16_pack_with(GemmForm form, const PackedMatrix *b, int first, int count, const float *from, int ld)
{
    Bf16Source source = {from, ld, false, form == GEMM_NT};
    int blocks = bf16_blocks(b->k);
    for (int j = 0; j < count; j += TILE_SIDE) {
        int column = first + j;
        uint16_t *to = (uint16_t *)b->at + (int64_t)column / STRIP_SIDE * blocks * STRIP_BLOCK +
                       column % STRIP_SIDE / TILE_SIDE * TILE;
        for (int p = 0; p < b->k; p += TILE_DEPTH, to += STRIP_BLOCK)
            bf16_tile(&source, true, j, bf16_least(TILE_SIDE, count - j), p, bf16_least(TILE_DEPTH, b->k - p), to);
    }
}

/* The functions of a table, by name, and the table. */
#define BF16_KERNELS(name, micro)                                                                                      \
    static void gemm_##name(GemmForm form, int m, int n, int k, const float *a, int lda, const float *b, int ldb,      \
                            float beta, float *c, int ldc)                                                             \
    {                                                                                                                  \
        bf16_gemm_with(&micro, m, n, k, (Bf16Source){a, lda, false, form != GEMM_TN},                                  \
                       (Bf16Source){b, ldb, false, form == GEMM_NT}, beta, c, ldc);                                    \
    }                                                                                                                  \
    static void gemm_packed_##name(int m, const PackedMatrix *b, int first, int count, const float *a, int lda,        \
                                   float beta, float *c, int ldc)                                                      \
    {                                                                                                                  \
        bf16_gemm_packed_with(&micro, m, b, first, count, (Bf16Source){a, lda, false, true}, beta, c, ldc);            \
    }                                                                                                                  \
    static void gradient_stored_##name(int m, int n, int k, const uint16_t *a, int lda, const uint16_t *b, int ldb,    \
                                       float beta, float *c, int ldc)                                                  \
    {                                                                                                                  \
        bf16_gemm_with(&micro, m, n, k, (Bf16Source){a, lda, true, false}, (Bf16Source){b, ldb, true, false}, beta, c, \
                       ldc);                                                                                           \
    }                                                                                                                  \
    static void packed_stored_##name(int m, const PackedMatrix *b, int first, int count, const uint16_t *a, int lda,   \
                                     float beta, float *c, int ldc)                                                    \
    {                                                                                                                  \
        bf16_gemm_packed_with(&micro, m, b, first, count, (Bf16Source){a, lda, true, true}, beta, c, ldc);             \
    }                                                                                                                  \
    const Bf16Kernels bf16_kernels_##name = {                                                                          \
        #name,       gemm_##name, bf16_pack_with, gemm_packed_##name, gradient_stored_##name, packed_stored_##name,    \
        bf16_narrow, bf16_widen}
