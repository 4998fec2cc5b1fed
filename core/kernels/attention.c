#include "core/kernels/attention.h"

#include <math.h>
#include <string.h>
#include "core/base/numeric.h"
#include "core/kernels/packed.h"

/* Scores are computed tile by tile of at most COLS keys. Forward they are a strip of STRIP queries at a time, which stays
 * in the first-level cache from the product that makes it to the one that uses it. Backward sums over the queries of a
 * tile, too, and takes ROWS of them: two such tiles, and one of each operand, share the second-level cache. STRIP and
 * ROWS are multiples of the micro-kernels' rows. */
enum { STRIP = 24, ROWS = 144, COLS = 240 };

typedef struct AttentionScratch {
    float *kt, *vt, *v;      /* a tile of keys and values in panels: (width, COLS) twice, (COLS, width) */
    float *scores, *dscores; /* (ROWS, COLS) */
    float *mask;             /* (ROWS, COLS) */
    float *dq, *dk, *dv;     /* (tokens, width) */
    float *delta;            /* (tokens) */
    float *max, *sum;        /* (tokens) */
    float *correction;       /* (ROWS) */
} AttentionScratch;

static size_t attention_carve(AttentionScratch *scratch, float *base, int tokens, int width)
{
    size_t used = 0, matrix = floats_padded((size_t)tokens * (size_t)width), vector = floats_padded((size_t)tokens);
    size_t tile = ROWS * COLS, transposed = floats_padded(packed_floats(COLS, width)),
           upright = floats_padded(packed_floats(width, COLS));
    struct {
        float **at;
        size_t floats;
    } parts[] = {{&scratch->kt, transposed},
                 {&scratch->vt, transposed},
                 {&scratch->v, upright},
                 {&scratch->scores, tile},
                 {&scratch->dscores, tile},
                 {&scratch->mask, tile},
                 {&scratch->dq, matrix},
                 {&scratch->dk, matrix},
                 {&scratch->dv, matrix},
                 {&scratch->delta, vector},
                 {&scratch->max, vector},
                 {&scratch->sum, vector},
                 {&scratch->correction, floats_padded(ROWS)}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        *parts[i].at = base ? base + used : NULL;
        used += parts[i].floats;
    }
    return used;
}

size_t attention_scratch(int tokens, int width)
{
    AttentionScratch scratch;
    return attention_carve(&scratch, NULL, tokens, width);
}

/* Keys of a tile: `count` of them in tiles of nearly equal size, whole vectors but for the last. */
static int tile_cols(int count)
{
    int tiles = (count + COLS - 1) / COLS, cols = (count + tiles - 1) / tiles;
    return (int)floats_padded((size_t)cols);
}

/* `cols` rows of a matrix (cols, width) in panels: transposed for a product with queries, upright for one with scores. */
static PackedMatrix transposed_tile(const Kernels *kernels, int cols, int width, const float *x, int ld, float *at)
{
    PackedMatrix tile = {at, cols, width};
    packed_fill(kernels, &tile, GEMM_NT, 0, cols, x, ld);
    return tile;
}

static PackedMatrix upright_tile(const Kernels *kernels, int cols, int width, const float *x, int ld, float *at)
{
    PackedMatrix tile = {at, width, cols};
    packed_fill(kernels, &tile, GEMM_NN, 0, width, x, ld);
    return tile;
}

/* The dropout mask of the tile at (i0, j0): 0 or 1/keep, leading dimension COLS. */
static void mask_tile(const Kernels *kernels, const AttentionHead *head, int i0, int rows, int j0, int cols,
                      float *mask)
{
    for (int r = 0; r < rows; r++) {
        float *row = mask + r * COLS;
        for (int c = 0; c < cols; c++) row[c] = 1.0f;
        uint64_t first = (uint64_t)(i0 + r) * (uint64_t)head->tokens + (uint64_t)j0;
        kernels->dropout(cols, head->key, first, head->drop, row, row);
    }
}

static void multiply_tile(int rows, int cols, const float *mask, float *s)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) s[r * COLS + c] *= mask[r * COLS + c];
}

void attention_forward(const Kernels *kernels, const AttentionHead *head, int first, int count, float *out, int ldo,
                       float *lse, float *scratch_base)
{
    int tokens = head->tokens, width = head->width, ld = head->ld, end = first + count;
    AttentionScratch t;
    attention_carve(&t, scratch_base, tokens, width);
    for (int i = first; i < end; i++) {
        t.max[i] = -INFINITY;
        t.sum[i] = 0.0f;
    }
    for (int j = 0, most = tile_cols(tokens); j < tokens; j += most) {
        int cols = min_int(most, tokens - j);
        PackedMatrix kt = transposed_tile(kernels, cols, width, head->k + (int64_t)j * ld, ld, t.kt);
        PackedMatrix v = upright_tile(kernels, cols, width, head->v + (int64_t)j * ld, ld, t.v);
        for (int i = first; i < end; i += STRIP) {
            int rows = min_int(STRIP, end - i);
            float *o = out + (int64_t)i * ldo;
            packed_gemm(kernels, rows, &kt, 0, cols, head->q + (int64_t)i * ld, ld, 0.0f, t.scores, COLS);
            kernels->softmax_step(rows, cols, head->scale, t.scores, COLS, t.max + i, t.sum + i, t.correction);
            if (head->drop > 0.0) {
                mask_tile(kernels, head, i, rows, j, cols, t.mask);
                multiply_tile(rows, cols, t.mask, t.scores);
            }
            if (j > 0) kernels->scale(rows, width, t.correction, o, ldo);
            packed_gemm(kernels, rows, &v, 0, width, t.scores, COLS, j > 0 ? 1.0f : 0.0f, o, ldo);
        }
    }
    for (int i = first; i < end; i++) {
        lse[i] = t.max[i] + logf(t.sum[i]);
        t.sum[i] = 1.0f / t.sum[i];
    }
    kernels->scale(count, width, t.sum + first, out + (int64_t)first * ldo, ldo);
}

/* Asks for rows that are needed soon: they come from the third-level cache, and no hardware guesses where they lie. */
static inline void fetch_rows(int rows, int cols, const float *x, int ld)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c += 16) __builtin_prefetch(x + (int64_t)r * ld + c, 0, 2);
}

static void copy_rows(int rows, int cols, const float *from, float *to, int ldt)
{
    for (int r = 0; r < rows; r++)
        memcpy(to + (int64_t)r * ldt, from + (int64_t)r * cols, (size_t)cols * sizeof(float));
}

void attention_backward(const Kernels *kernels, const AttentionHead *head, int first, int count, const float *out,
                        const float *dout, int ldo, const float *lse, float *dq, int ldq, float *dk, float *dv, int ldg,
                        float *scratch_base)
{
    int tokens = head->tokens, width = head->width, ld = head->ld, end = first + count;
    AttentionScratch t;
    attention_carve(&t, scratch_base, tokens, width);
    /* sum_j p_ij dp_ij = dout_i . out_i, with dropout too: the mask is in both factors once. */
    kernels->row_dots(tokens, width, out, ldo, dout, ldo, t.delta);
    for (int j = first, most = tile_cols(count); j < end; j += most) {
        int cols = min_int(most, end - j);
        const float *at = head->k + (int64_t)j * ld;
        PackedMatrix kt = transposed_tile(kernels, cols, width, at, ld, t.kt);
        PackedMatrix vt = transposed_tile(kernels, cols, width, head->v + (int64_t)j * ld, ld, t.vt);
        PackedMatrix k = upright_tile(kernels, cols, width, at, ld, t.v);
        for (int i = 0; i < tokens; i += ROWS) {
            int rows = min_int(ROWS, tokens - i), next = min_int(ROWS, tokens - i - rows);
            const float *q = head->q + (int64_t)i * ld, *g = dout + (int64_t)i * ldo;
            fetch_rows(next, width, q + (int64_t)rows * ld, ld);
            fetch_rows(next, width, g + (int64_t)rows * ldo, ldo);
            fetch_rows(next, width, t.dq + (int64_t)(i + rows) * width, width);
            packed_gemm(kernels, rows, &kt, 0, cols, q, ld, 0.0f, t.scores, COLS);
            packed_gemm(kernels, rows, &vt, 0, cols, g, ldo, 0.0f, t.dscores, COLS);
            if (head->drop > 0.0) mask_tile(kernels, head, i, rows, j, cols, t.mask);
            kernels->softmax_backward(rows, cols, head->scale, t.scores, COLS, t.dscores, COLS, lse + i, t.delta + i,
                                      head->drop > 0.0 ? t.mask : NULL);
            float later_rows = i > 0 ? 1.0f : 0.0f, later_cols = j > first ? 1.0f : 0.0f;
            kernels->gemm(GEMM_TN, cols, width, rows, t.scores, COLS, g, ldo, later_rows, t.dv + (int64_t)j * width,
                          width);
            kernels->gemm(GEMM_TN, cols, width, rows, t.dscores, COLS, q, ld, later_rows, t.dk + (int64_t)j * width,
                          width);
            packed_gemm(kernels, rows, &k, 0, width, t.dscores, COLS, later_cols, t.dq + (int64_t)i * width, width);
        }
    }
    copy_rows(tokens, width, t.dq, dq, ldq);
    copy_rows(count, width, t.dk + (int64_t)first * width, dk, ldg);
    copy_rows(count, width, t.dv + (int64_t)first * width, dv, ldg);
}
