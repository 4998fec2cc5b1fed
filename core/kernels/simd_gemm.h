/* simd_gemm.h: the matrix product with one micro-kernel, for the instruction sets where it beats BLIS on this model's
 * shapes (few hundred rows, k of 64 to 1200). Included by simd_body.h.
 *
 * A micro-kernel keeps MICRO_ROWS x 2 vectors of C in registers; each step along k loads two vectors of a row of B and
 * multiplies them by MICRO_ROWS broadcast elements of A (Goto, van de Geijn, ACM TOMS 2008). Nothing is packed: rows
 * tiles are small enough that A and a panel of B lie in the second-level cache, and the loads run ahead of the
 * multiplications. What must come from further away is asked for early: C when a micro-kernel begins, and the next
 * panel of B, which no hardware prefetcher can guess, while this one is used. The columns that do not fill a vector are
 * copied, zero-padded, to the stack. So are whole panels where a vector is half a cache line: their rows would fall on
 * few sets of the first-level cache, and a kernel that does half the work between two loads waits for them.
 */
#include <limits.h>

#include "core/kernels/gemm.h"

enum {
    MICRO_ROWS = LANES == 16 ? 12 : 6, /* 24 of 32, or 12 of 16 registers hold C */
    PANEL = 2 * LANES,
    /* Of k at a time: a panel of B, and of TN both operands, stay in the second-level cache; a packed panel in the first. */
    DEPTH_NN = LANES == 16 ? 512 : 256,
    DEPTH_TN = 256,
    PACK_ROWS = LANES == 16 ? INT_MAX : 96, /* from so many rows of C on, packing a panel pays */
};

typedef struct Operand { /* element (i, p) of A lies at a + i * row + p * step */
    const float *a;
    int64_t row, step;
} Operand;

enum { ADD_NOTHING, ADD_C, ADD_ANY }; /* beta of 0, 1, or any, with a last vector that may be partial */

INLINE void micro_finish(const int rows, const int vectors, const int mode, Vec sum[MICRO_ROWS][2], float beta,
                         float *c, int64_t ldc, int last)
{
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            float *to = c + i * ldc + v * LANES;
            if (mode == ADD_NOTHING)
                store(to, sum[i][v]);
            else if (mode == ADD_C)
                store(to, load(to) + sum[i][v]);
            else if (v == vectors - 1 && last < LANES)
                store_part(to, beta == 0.0f ? sum[i][v] : sum[i][v] + load_part(to, last) * beta, last);
            else
                store(to, beta == 0.0f ? sum[i][v] : sum[i][v] + load(to) * beta);
        }
}

/* C (rows, vectors * LANES) = A B + beta C; of the last vector only `last` columns are written. */
INLINE void micro(const int rows, const int vectors, int depth, Operand at, const float *b, int64_t ldb, float beta,
                  float *c, int64_t ldc, int last)
{
    Vec sum[MICRO_ROWS][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[i][v] = (Vec){0};
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
        __builtin_prefetch(c + i * ldc, 1);
        if (vectors > 1) __builtin_prefetch(c + i * ldc + LANES + last - 1, 1);
    }
    /* Four pointers and one stride reach all rows: a pointer for each would not leave registers for the loop. */
    const float *third[4] = {at.a, at.a + 3 * at.row, at.a + 6 * at.row, at.a + 9 * at.row};
    for (int p = 0; p < depth; p++) {
        Vec row[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) row[v] = load(b + v * LANES);
#pragma GCC unroll 12
        for (int i = 0; i < rows; i++) {
            float x = third[i / 3][i % 3 * at.row];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) sum[i][v] += row[v] * x;
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) third[i] += at.step;
        b += ldb;
    }
    /* Or the rows' addresses that fetching C took are kept through the loop, in vector registers: reading them back would
     * wait for the multiplications. */
    __asm__("" : "+r"(c), "+r"(ldc));
    if (last == LANES && beta == 0.0f)
        micro_finish(rows, vectors, ADD_NOTHING, sum, beta, c, ldc, last);
    else if (last == LANES && beta == 1.0f)
        micro_finish(rows, vectors, ADD_C, sum, beta, c, ldc, last);
    else
        micro_finish(rows, vectors, ADD_ANY, sum, beta, c, ldc, last);
}

/* Kernels of fewer rows finish what is left of m. */
#define MICRO_KERNEL(rows, vectors)                                                                                    \
    static __attribute__((noinline)) void micro_##rows##x##vectors(int depth, const float *a, int64_t row,             \
                                                                   int64_t step, const float *b, int64_t ldb,          \
                                                                   float beta, float *c, int64_t ldc, int last)        \
    {                                                                                                                  \
        micro(rows, vectors, depth, (Operand){a, row, step}, b, ldb, beta, c, ldc, last);                              \
    }
#if LANES == 16
MICRO_KERNEL(12, 2)
MICRO_KERNEL(12, 1)
MICRO_KERNEL(8, 2)
MICRO_KERNEL(8, 1)
#else
MICRO_KERNEL(6, 2)
MICRO_KERNEL(6, 1)
#endif
MICRO_KERNEL(4, 2)
MICRO_KERNEL(4, 1)
MICRO_KERNEL(2, 2)
MICRO_KERNEL(2, 1)
MICRO_KERNEL(1, 2)
MICRO_KERNEL(1, 1)

/* Plain arguments: a structure goes over the stack by vector stores, which wait in one queue with the multiplications of
 * the micro-kernel before, so that this one's first loads would too. */
typedef void (*MicroKernel)(int depth, const float *a, int64_t row, int64_t step, const float *b, int64_t ldb,
                            float beta, float *c, int64_t ldc, int last);

typedef struct MicroRows {
    int rows;
    MicroKernel one, two; /* vectors */
} MicroRows;

static const MicroRows MICRO[] = {
#if LANES == 16
    {12, micro_12x1, micro_12x2}, {8, micro_8x1, micro_8x2},
#else
    {6, micro_6x1, micro_6x2},
#endif
    {4, micro_4x1, micro_4x2},    {2, micro_2x1, micro_2x2}, {1, micro_1x1, micro_1x2},
};

/* Rows from .. to - 1 of a panel of B, to the second-level cache. */
static void fetch_rows(const float *panel, int64_t ldb, int from, int to)
{
    for (int p = from; p < to; p++) {
        __builtin_prefetch(panel + p * ldb, 0, 2);
        __builtin_prefetch(panel + p * ldb + PANEL - 1, 0, 2);
    }
}

/* One panel of at most two vectors of columns, all rows. `next` is the panel after this one, or NULL: each micro-kernel
 * is preceded by its share of fetching that. */
static void gemm_panel(int m, int cols, int depth, Operand at, const float *b, int64_t ldb, float beta, float *c,
                       int64_t ldc, const float *next)
{
    const MicroRows *kernel = MICRO;
    int last = cols > LANES ? cols - LANES : cols;
    for (int i = 0; i < m; i += kernel->rows) {
        while (kernel->rows > m - i) kernel++;
        if (next) fetch_rows(next, ldb, depth * i / m, depth * (i + kernel->rows) / m);
        (cols > LANES ? kernel->two : kernel->one)(depth, at.a + i * at.row, at.row, at.step, b, ldb, beta, c + i * ldc,
                                                   ldc, last);
    }
}

/* The same through a zero-padded copy of one vector of columns: of those that do not fill it, and of B transposed. */
static void gemm_copied(bool transposed, int m, int cols, int depth, Operand at, const float *b, int ldb, float beta,
                        float *c, int64_t ldc)
{
    float padded[DEPTH_NN * LANES];
    if (transposed) {
        if (cols < LANES) memset(padded, 0, (size_t)depth * LANES * sizeof(float));
        simd_transpose(cols, depth, b, ldb, padded, LANES);
    } else {
        for (int p = 0; p < depth; p++) store(padded + p * LANES, load_part(b + (int64_t)p * ldb, cols));
    }
    gemm_panel(m, cols, depth, at, padded, LANES, beta, c, ldc, NULL);
}

/* The same through a dense copy of a whole panel. */
static void gemm_packed(int m, int depth, Operand at, const float *b, int64_t ldb, float beta, float *c, int64_t ldc)
{
    float packed[DEPTH_NN * PANEL];
    for (int p = 0; p < depth; p++)
        for (int v = 0; v < PANEL; v += LANES) store(packed + p * PANEL + v, load(b + p * ldb + v));
    gemm_panel(m, PANEL, depth, at, packed, PANEL, beta, c, ldc, NULL);
}

static void simd_gemm(GemmForm form, int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta,
                      float *c, int ldc)
{
    Operand at = {a, form == GEMM_TN ? 1 : lda, form == GEMM_TN ? lda : 1};
    int64_t step_b = form == GEMM_NT ? 1 : ldb, column_b = form == GEMM_NT ? ldb : 1;
    int most = form == GEMM_TN ? DEPTH_TN : DEPTH_NN, blocks = k > 0 ? (k + most - 1) / most : 1;
    int depth = (k + blocks - 1) / blocks, p = 0;
    do { /* once even without depth: C = beta C */
        Operand block = {a + p * at.step, at.row, at.step};
        const float *rows = b + p * step_b;
        int steps = k - p < depth ? k - p : depth, j = 0;
        float keep = p > 0 ? 1.0f : beta;
        for (; form != GEMM_NT && m >= PACK_ROWS && j + PANEL <= n; j += PANEL)
            gemm_packed(m, steps, block, rows + j, ldb, keep, c + j, ldc);
        for (; form != GEMM_NT && j + PANEL <= n; j += PANEL) {
            const float *next = j + 2 * PANEL <= n   ? rows + j + PANEL
                                : p + 2 * depth <= k ? rows + depth * step_b
                                                     : NULL;
            gemm_panel(m, PANEL, steps, block, rows + j, ldb, keep, c + j, ldc, next);
        }
        for (; form != GEMM_NT && j + LANES <= n; j += LANES)
            gemm_panel(m, LANES, steps, block, rows + j, ldb, keep, c + j, ldc, NULL);
        for (; j < n; j += LANES)
            gemm_copied(form == GEMM_NT, m, n - j < LANES ? n - j : LANES, steps, block, rows + j * column_b, ldb, keep,
                        c + j, ldc);
        p += depth;
    } while (p < k);
}
