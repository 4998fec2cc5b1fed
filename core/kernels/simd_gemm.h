/* simd_gemm.h: the matrix product around the micro-kernels, for the instruction sets where it beats BLIS on this
 * model's shapes (few hundred rows, k of 64 to 1200). Included by simd_body.h.
 *
 * C is computed panel by panel of B's columns, and of each panel by micro-kernels of a few rows. Tiles of rows are small
 * enough that A and a panel of B lie in the second-level cache, and the loads run ahead of the multiplications. What
 * must come from further away is asked for early, a few cache lines every few steps along k: C, the next panel of B,
 * which no hardware prefetcher can guess, and of weight gradients the next block of A. Columns that do not fill a vector
 * are copied, zero-padded, to the stack. What else is copied is the shape's to say (simd_micro.h): where two
 * multiply-adds issue a cycle, or a vector is half a cache line, rows of B that are far apart cost more than the copy.
 */
#include <limits.h>

#include "core/kernels/gemm.h"

enum {
    MOST_ROWS = 12,
    MOST_VECTORS = 3,
    CACHE_LINE = 64,               /* bytes */
    ROUND = LANES == 16 ? 16 : 64, /* steps along k between two looks at what to fetch */
    STREAMS = 2,
    STREAM_DEPTH = 128, /* a shorter k is over before fetching ahead pays */
    /* Of k at a time: a panel of B, and the rows of A that meet it, stay in the first-level cache. Sums are cut here: to
     * change this changes bits, and it is the same for all instruction sets so that they agree in every bit. */
    DEPTH = 192,
    GRADIENT_VECTORS = 2, /* of a panel of TN */
    STRIP = VECTOR_REGISTERS == 32 ? 12 : 6,
    STRIP_ROWS = 192, /* of A are packed at a time */
};

#include "core/kernels/simd_micro.h"

/* How many of the n columns that are left the next panel of `vectors` vectors has: all it can, but the last two share
 * what is left, as a panel of one vector waits for each of its sums. */
static int panel_width(int vectors, int n)
{
    int left = (n + LANES - 1) / LANES;
    if (left == vectors + 1 && vectors > 2) vectors = (left + 1) / 2;
    return n < vectors * LANES ? n : vectors * LANES;
}

/* One panel of columns, all rows. With `strips` A lies as pack_strips left it, otherwise where `at` says; `wanted` are
 * STREAMS of what comes after the panel, or NULL. */
static void gemm_panel(int m, int cols, int depth, Operand at, const float *strips, const float *b, int64_t ldb,
                       float beta, float *c, int64_t ldc, PrefetchStream *wanted)
{
    int vectors = (cols + LANES - 1) / LANES, last = cols - (vectors - 1) * LANES;
    const MicroRows *kernel = MICRO[vectors - 1];
    for (int i = 0; i < m; i += kernel->rows) {
        while (kernel->rows > m - i) kernel++;
        if (strips)
            kernel->run(depth, strips + (int64_t)i * depth, 1, kernel->rows, b, ldb, beta, c + i * ldc, ldc, last,
                        wanted);
        else
            kernel->run(depth, at.a + i * at.row, at.row, at.step, b, ldb, beta, c + i * ldc, ldc, last, wanted);
    }
}

/* A (depth, m) as the micro-kernels of one and two vectors will read it: for each of them its rows' elements side by
 * side, step by step. */
static void pack_strips(int m, int depth, const float *a, int64_t lda, float *out)
{
    const MicroRows *kernel = MICRO[GRADIENT_VECTORS - 1];
    for (int i = 0; i < m; i += kernel->rows, a += kernel->rows) {
        while (kernel->rows > m - i) kernel++;
        int rows = kernel->rows;
        if (rows == STRIP)
            for (int p = 0; p < depth; p++, out += STRIP) memcpy(out, a + p * lda, STRIP * sizeof(float));
        else
            for (int p = 0; p < depth; p++)
                for (int r = 0; r < rows; r++) *out++ = a[p * lda + r];
    }
}

/* A dense, zero-padded copy of a panel, or of one vector of B transposed. Returns its leading dimension. */
static int pack_panel(bool transposed, int cols, int depth, const float *b, int64_t ldb, float *out)
{
    int whole = cols / LANES * LANES, rest = cols - whole, width = rest ? whole + LANES : whole;
    if (transposed) {
        if (rest)
            for (int p = 0; p < depth; p++) store(out + p * width + whole, (Vec){0});
        simd_transpose(cols, depth, b, (int)ldb, out, width);
        return width;
    }
    for (int p = 0; p < depth; p++) {
        for (int v = 0; v < whole; v += LANES) store(out + p * width + v, load(b + p * ldb + v));
        if (rest) store(out + p * width + whole, load_part(b + p * ldb + whole, rest));
    }
    return width;
}

/* Rows may begin anywhere within a cache line, unless their distance is a number of lines. */
static PrefetchStream stream_make(const float *from, int64_t ld, int rows, int floats, int rounds)
{
    bool aligned = ld % (CACHE_LINE / (int)sizeof(float)) == 0;
    int before = aligned ? (int)((uintptr_t)from % CACHE_LINE) : 0,
        after = aligned ? 0 : CACHE_LINE - (int)sizeof(float);
    int bytes = before + floats * (int)sizeof(float) + after;
    int lines = rows * ((bytes + CACHE_LINE - 1) / CACHE_LINE);
    return (PrefetchStream){(const char *)from - before, ld * (int64_t)sizeof(float), rows, bytes, 0,
                            lines / rounds + 1};
}

/* How far a product has come. */
typedef struct Place {
    int m, n, k;
    int p, depth; /* the block of k */
    int j, cols;  /* the panel of columns */
} Place;

/* What to fetch while a panel is computed: the block after it; of TN also a share of the next block of A. False: so
 * little is computed meanwhile that nothing is fetched. */
static bool plan_streams(int vectors, GemmForm form, Place at, const float *a, int lda, const float *b, int ldb,
                         PrefetchStream wanted[STREAMS])
{
    if (at.depth < STREAM_DEPTH || form == GEMM_NT) return false;
    int left = at.k - at.p - at.depth, end = at.j + at.cols, most = MICRO[vectors - 1][0].rows;
    int rounds = (at.m + most - 1) / most * ((at.depth + ROUND - 1) / ROUND);
    if (left > at.depth) left = at.depth;
    wanted[0] = wanted[1] = (PrefetchStream){0};
    if (form == GEMM_NN && left > 0) {
        wanted[0] = stream_make(b + (int64_t)(at.p + at.depth) * ldb + at.j, ldb, left, at.cols, rounds);
    } else if (end < at.n) {
        int64_t first = form == GEMM_NN ? 0 : at.p;
        wanted[0] = stream_make(b + first * ldb + end, ldb, at.depth, panel_width(vectors, at.n - end), rounds);
    } else if (left > 0) {
        wanted[0] = stream_make(b + (int64_t)(at.p + at.depth) * ldb, ldb, left, panel_width(vectors, at.n), rounds);
    }
    if (form == GEMM_TN && left > 0) {
        int64_t first = (int64_t)left * at.j / at.n, next = (int64_t)left * end / at.n;
        wanted[1] = stream_make(a + (at.p + at.depth + first) * lda, lda, (int)(next - first), at.m, rounds);
    }
    return true;
}

/* Of k at a time: nearly equal parts of at most DEPTH. */
static int block_depth(int k)
{
    int blocks = k > 0 ? (k + DEPTH - 1) / DEPTH : 1;
    return (k + blocks - 1) / blocks;
}

/* One block of k of one panel of columns. */
static void gemm_block(const Shape *shape, int vectors, GemmForm form, Place at, const float *a, int lda,
                       const float *strips, const float *b, int ldb, float beta, float *c, int ldc)
{
    float panel[DEPTH * MOST_VECTORS * LANES];
    int64_t ld = ldb;
    const float *from = b + (form == GEMM_NT ? at.p + (int64_t)at.j * ldb : (int64_t)at.p * ldb + at.j);
    Operand block = {a + (form == GEMM_TN ? (int64_t)at.p * lda : at.p), form == GEMM_TN ? 1 : lda,
                     form == GEMM_TN ? lda : 1};
    PrefetchStream wanted[STREAMS];
    const bool fetches = plan_streams(vectors, form, at, a, lda, b, ldb, wanted);
    if (form == GEMM_NT || at.cols % LANES != 0 || at.m >= shape->pack_rows) {
        ld = pack_panel(form == GEMM_NT, at.cols, at.depth, from, ldb, panel);
        from = panel;
    }
    gemm_panel(at.m, at.cols, at.depth, block, strips, from, ld, at.p > 0 ? 1.0f : beta, c + at.j, ldc,
               fetches ? wanted : NULL);
}

/* Panel by panel, so that C stays near between its blocks. */
static void gemm_rows(const Shape *shape, GemmForm form, Place at, const float *a, int lda, const float *b, int ldb,
                      float beta, float *c, int ldc)
{
    int depth = block_depth(at.k);
    for (at.j = 0; at.j < at.n; at.j += at.cols) {
        int left = at.n - at.j;
        at.cols = form == GEMM_NN ? panel_width(shape->vectors, left) : left < LANES ? left : LANES;
        at.p = 0;
        do { /* once even without depth: C = beta C */
            at.depth = at.k - at.p < depth ? at.k - at.p : depth;
            gemm_block(shape, shape->vectors, form, at, a, lda, NULL, b, ldb, beta, c, ldc);
            at.p += depth;
        } while (at.p < at.k);
    }
}

/* TN: block by block, since a block of A is packed, or read across its rows, for all panels. */
static void gemm_gradient(const Shape *shape, Place at, const float *a, int lda, const float *b, int ldb, float beta,
                          float *c, int ldc)
{
    float strips[DEPTH * STRIP_ROWS];
    int depth = block_depth(at.k);
    bool packs = at.n >= shape->strip_cols;
    do {
        at.depth = at.k - at.p < depth ? at.k - at.p : depth;
        if (packs) pack_strips(at.m, at.depth, a + (int64_t)at.p * lda, lda, strips);
        for (at.j = 0; at.j < at.n; at.j += at.cols) {
            at.cols = panel_width(GRADIENT_VECTORS, at.n - at.j);
            gemm_block(shape, GRADIENT_VECTORS, GEMM_TN, at, a, lda, packs ? strips : NULL, b, ldb, beta, c, ldc);
        }
        at.p += depth;
    } while (at.p < at.k);
}

static void gemm_with(const Shape *shape, GemmForm form, int m, int n, int k, const float *a, int lda, const float *b,
                      int ldb, float beta, float *c, int ldc)
{
    Place at = {.m = m, .n = n, .k = k};
    if (m == 0) return;
    if (form != GEMM_TN) {
        gemm_rows(shape, form, at, a, lda, b, ldb, beta, c, ldc);
        return;
    }
    int high = n >= shape->strip_cols ? STRIP_ROWS : m;
    for (int i = 0; i < m; i += high) {
        at.m = m - i < high ? m - i : high;
        gemm_gradient(shape, at, a + i, lda, b, ldb, beta, c + (int64_t)i * ldc, ldc);
    }
}

/* The gemm of a table: a `Shape` by name. */
#define GEMM_OF(name, ...)                                                                                             \
    static void gemm_##name(GemmForm form, int m, int n, int k, const float *a, int lda, const float *b, int ldb,      \
                            float beta, float *c, int ldc)                                                             \
    {                                                                                                                  \
        static const Shape shape = {__VA_ARGS__};                                                                      \
        gemm_with(&shape, form, m, n, k, a, lda, b, ldb, beta, c, ldc);                                                \
    }

#include "core/kernels/simd_packed.h"
