/* simd_gemm.h: the matrix product with one micro-kernel, for the instruction sets where it beats BLIS on this model's
 * shapes (few hundred rows, k of 64 to 1200). Included by simd_body.h.
 *
 * A micro-kernel keeps MICRO_ROWS x 2 vectors of C in registers; each step along k loads two vectors of a row of B and
 * multiplies them by MICRO_ROWS broadcast elements of A (Goto, van de Geijn, ACM TOMS 2008). Nothing is packed: rows
 * tiles are small enough that A and a panel of B lie in the second-level cache, and the loads run ahead of the
 * multiplications. What must come from further away is asked for early, a few cache lines every few steps along k: C,
 * the next panel of B, which no hardware prefetcher can guess, and of weight gradients the next block of A. The columns
 * that do not fill a vector are copied, zero-padded, to the stack. So are whole panels where a vector is half a cache
 * line: their rows would fall on few sets of the first-level cache, and a kernel that does half the work between two
 * loads waits for them.
 */
#include <limits.h>

#include "core/kernels/gemm.h"

enum {
    MICRO_ROWS = LANES == 16 ? 12 : 6, /* 24 of 32, or 12 of 16 registers hold C */
    PANEL = 2 * LANES,
    CACHE_LINE = 64,               /* bytes */
    ROUND = LANES == 16 ? 16 : 64, /* steps along k between two looks at what to fetch */
    TRAILS = 2,
    TRAIL_DEPTH = 128, /* a shorter k is over before fetching ahead pays */
    /* Of k at a time: a panel of B, and of TN both operands, stay in the second-level cache; a packed panel in the
     * first. */
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

/* Memory that will be needed soon, line by line: `rows` rows of `bytes` each. Every round of a micro-kernel asks for
 * `pace` lines: many at once would keep the loads of its operands waiting. Inlined, since a compiler drops calls of a
 * function that does nothing but prefetch. */
typedef struct Trail {
    const char *row;
    int64_t stride;
    int rows, bytes, at, pace;
} Trail;

INLINE void trail_go(Trail *trail)
{
    for (int i = 0; i < trail->pace && trail->rows > 0; i++) {
        __builtin_prefetch(trail->row + trail->at, 0, 2);
        trail->at += CACHE_LINE;
        if (trail->at < trail->bytes) continue;
        trail->at = 0;
        trail->row += trail->stride;
        trail->rows--;
    }
}

/* C (rows, vectors * LANES) = A B + beta C; of the last vector only `last` columns are written. */
INLINE void micro(const int rows, const int vectors, int depth, Operand at, const float *b, int64_t ldb, float beta,
                  float *c, int64_t ldc, int last, Trail *wanted)
{
    Vec sum[MICRO_ROWS][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[i][v] = (Vec){0};
    /* Four pointers and one stride reach all rows: a pointer for each would not leave registers for the loop. */
    const float *third[4] = {at.a, at.a + 3 * at.row, at.a + 6 * at.row, at.a + 9 * at.row};
    const float *next = c;
    int rounds = depth / ROUND, share = rounds > 1 ? (rows + rounds - 2) / (rounds - 1) : rows;
    for (int p = depth, left = rows; p > 0;) {
        int steps = p < ROUND ? p : ROUND;
        for (int i = 0; i < share && left > 0; i++, left--, next += ldc) {
            __builtin_prefetch(next, 1);
            if (vectors > 1) __builtin_prefetch(next + LANES + last - 1, 1);
        }
        if (wanted)
            for (int t = 0; t < TRAILS; t++) trail_go(&wanted[t]);
        p -= steps;
        do {
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
        } while (--steps);
    }
    if (last == LANES && beta == 0.0f)
        micro_finish(rows, vectors, ADD_NOTHING, sum, beta, c, ldc, last);
    else if (last == LANES && beta == 1.0f)
        micro_finish(rows, vectors, ADD_C, sum, beta, c, ldc, last);
    else
        micro_finish(rows, vectors, ADD_ANY, sum, beta, c, ldc, last);
}

/* Kernels of fewer rows finish what is left of m. */
#define MICRO_KERNEL(rows, vectors)                                                                                    \
    static __attribute__((noinline)) void micro_##rows##x##vectors(                                                    \
        int depth, const float *a, int64_t row, int64_t step, const float *b, int64_t ldb, float beta, float *c,       \
        int64_t ldc, int last, Trail *wanted)                                                                          \
    {                                                                                                                  \
        micro(rows, vectors, depth, (Operand){a, row, step}, b, ldb, beta, c, ldc, last, wanted);                      \
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

/* Plain arguments: a structure goes over the stack by vector stores, which wait in one queue with the multiplications
 * of the micro-kernel before, so that this one's first loads would too. */
typedef void (*MicroKernel)(int depth, const float *a, int64_t row, int64_t step, const float *b, int64_t ldb,
                            float beta, float *c, int64_t ldc, int last, Trail *wanted);

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

/* One panel of at most two vectors of columns, all rows; `wanted` are TRAILS of what comes after it, or NULL. */
static void gemm_panel(int m, int cols, int depth, Operand at, const float *b, int64_t ldb, float beta, float *c,
                       int64_t ldc, Trail *wanted)
{
    const MicroRows *kernel = MICRO;
    int last = cols > LANES ? cols - LANES : cols;
    for (int i = 0; i < m; i += kernel->rows) {
        while (kernel->rows > m - i) kernel++;
        (cols > LANES ? kernel->two : kernel->one)(depth, at.a + i * at.row, at.row, at.step, b, ldb, beta, c + i * ldc,
                                                   ldc, last, wanted);
    }
}

/* The same through a dense, zero-padded copy: of any columns, or of one vector of B transposed. */
static void gemm_copied(bool transposed, int m, int cols, int depth, Operand at, const float *b, int64_t ldb,
                        float beta, float *c, int64_t ldc, Trail *wanted)
{
    float padded[DEPTH_NN * PANEL];
    int width = cols > LANES ? PANEL : LANES;
    if (transposed) {
        if (cols < LANES) memset(padded, 0, (size_t)depth * LANES * sizeof(float));
        simd_transpose(cols, depth, b, (int)ldb, padded, LANES);
    } else if (cols == PANEL) {
        for (int p = 0; p < depth; p++)
            for (int v = 0; v < PANEL; v += LANES) store(padded + p * PANEL + v, load(b + p * ldb + v));
    } else {
        int whole = width - LANES;
        for (int p = 0; p < depth; p++) {
            if (whole) store(padded + p * width, load(b + p * ldb));
            store(padded + p * width + whole, load_part(b + p * ldb + whole, cols - whole));
        }
    }
    gemm_panel(m, cols, depth, at, padded, width, beta, c, ldc, wanted);
}

/* Rows may begin anywhere within a cache line, unless their distance is a number of lines. */
static Trail trail_make(const float *from, int64_t ld, int rows, int floats, int rounds)
{
    bool aligned = ld % (CACHE_LINE / (int)sizeof(float)) == 0;
    int before = aligned ? (int)((uintptr_t)from % CACHE_LINE) : 0,
        after = aligned ? 0 : CACHE_LINE - (int)sizeof(float);
    int bytes = before + floats * (int)sizeof(float) + after;
    int lines = rows * ((bytes + CACHE_LINE - 1) / CACHE_LINE);
    return (Trail){(const char *)from - before, ld * (int64_t)sizeof(float), rows, bytes, 0, lines / rounds + 1};
}

/* How far a product has come. */
typedef struct Place {
    int m, n, k;
    int p, depth; /* the block of k */
    int j;        /* the panel of columns */
} Place;

/* What to fetch while a panel is computed: the next one; of TN also a share of the next block of A. */
static Trail *plan_trails(GemmForm form, Place at, const float *a, int lda, const float *b, int ldb,
                          Trail wanted[TRAILS])
{
    if (at.depth < TRAIL_DEPTH || form == GEMM_NT) return NULL;
    int left = at.k - at.p - at.depth, end = at.j + PANEL < at.n ? at.j + PANEL : at.n;
    int rounds = (at.m + MICRO_ROWS - 1) / MICRO_ROWS * ((at.depth + ROUND - 1) / ROUND);
    if (left > at.depth) left = at.depth;
    wanted[0] = wanted[1] = (Trail){0};
    if (end < at.n)
        wanted[0] =
            trail_make(b + (int64_t)at.p * ldb + end, ldb, at.depth, at.n - end < PANEL ? at.n - end : PANEL, rounds);
    else if (left > 0)
        wanted[0] = trail_make(b + (int64_t)(at.p + at.depth) * ldb, ldb, left, at.n < PANEL ? at.n : PANEL, rounds);
    if (form == GEMM_TN && left > 0) {
        int64_t first = (int64_t)left * at.j / at.n, next = (int64_t)left * end / at.n;
        wanted[1] = trail_make(a + (at.p + at.depth + first) * lda, lda, (int)(next - first), at.m, rounds);
    }
    return wanted;
}

static void simd_gemm(GemmForm form, int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta,
                      float *c, int ldc)
{
    Operand at = {a, form == GEMM_TN ? 1 : lda, form == GEMM_TN ? lda : 1};
    int64_t step_b = form == GEMM_NT ? 1 : ldb, column_b = form == GEMM_NT ? ldb : 1;
    int most = form == GEMM_TN ? DEPTH_TN : DEPTH_NN, blocks = k > 0 ? (k + most - 1) / most : 1;
    int depth = (k + blocks - 1) / blocks, width = form == GEMM_NT ? LANES : PANEL, p = 0;
    if (m == 0) return;
    do { /* once even without depth: C = beta C */
        int steps = k - p < depth ? k - p : depth;
        Operand block = {a + p * at.step, at.row, at.step};
        float keep = p > 0 ? 1.0f : beta;
        for (int j = 0; j < n; j += width) {
            int cols = n - j < width ? n - j : width;
            const float *panel = b + p * step_b + j * column_b;
            Trail memory[TRAILS], *wanted = plan_trails(form, (Place){m, n, k, p, steps, j}, a, lda, b, ldb, memory);
            if (form == GEMM_NT || cols % LANES != 0 || (cols == PANEL && m >= PACK_ROWS))
                gemm_copied(form == GEMM_NT, m, cols, steps, block, panel, ldb, keep, c + j, ldc, wanted);
            else
                gemm_panel(m, cols, steps, block, panel, ldb, keep, c + j, ldc, wanted);
        }
        p += depth;
    } while (p < k);
}
