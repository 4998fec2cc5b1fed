/* simd_micro.h: the micro-kernels of the matrix product: one body, compiled for each shape of C that a processor may
 * want. Included by simd_gemm.h.
 *
 * A micro-kernel keeps rows x vectors of C in registers; each step along k loads `vectors` vectors of a row of B and
 * multiplies them by `rows` broadcast elements of A (Goto, van de Geijn, ACM TOMS 2008). Every element of C is one
 * sequence of fused multiply-adds along k, whatever the shape: shapes differ in time, never in bits.
 */

typedef struct Operand { /* element (i, p) of A lies at a + i * row + p * step */
    const float *a;
    int64_t row, step;
} Operand;

/* Memory that will be needed soon, line by line: `rows` rows of `bytes` each. Every round of a micro-kernel asks for
 * `pace` lines: many at once would keep the loads of its operands waiting. Inlined, since a compiler drops calls of a
 * function that does nothing but prefetch. */
typedef struct PrefetchStream {
    const char *row;
    int64_t stride;
    int rows, bytes, at, pace;
} PrefetchStream;

INLINE void prefetch_some(PrefetchStream *stream)
{
    for (int i = 0; i < stream->pace && stream->rows > 0; i++) {
        __builtin_prefetch(stream->row + stream->at, 0, 2);
        stream->at += CACHE_LINE;
        if (stream->at < stream->bytes) continue;
        stream->at = 0;
        stream->row += stream->stride;
        stream->rows--;
    }
}

enum { ADD_NOTHING, ADD_C, ADD_ANY }; /* beta of 0, 1, or any */

/* Of the last vector all columns, or `last` of them. */
INLINE void micro_finish(const int rows, const int vectors, const int mode, const bool part,
                         Vec sum[MOST_ROWS][MOST_VECTORS], float beta, float *c, int64_t ldc, int last)
{
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            float *to = c + i * ldc + v * LANES;
            const bool masked = part && v == vectors - 1;
            Vec before = {0}, after = sum[i][v];
            if (mode != ADD_NOTHING) before = masked ? load_part(to, last) : load(to);
            if (mode == ADD_C) after = before + after;
            if (mode == ADD_ANY) after = multiply_add(before, splat(beta), after);
            if (masked)
                store_part(to, after, last);
            else
                store(to, after);
        }
}

/* C (rows, vectors * LANES) = A B + beta C; of the last vector only `last` columns are written. */
INLINE void micro(const int rows, const int vectors, int depth, Operand at, const float *b, int64_t ldb, float beta,
                  float *c, int64_t ldc, int last, PrefetchStream *wanted)
{
    Vec sum[MOST_ROWS][MOST_VECTORS];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sum[i][v] = (Vec){0};
    /* Four pointers and one stride reach all rows: a pointer for each would not leave registers for the loop. */
    const float *third[4] = {at.a, at.a + 3 * at.row, at.a + 6 * at.row, at.a + 9 * at.row};
    const float *next = c;
    int rounds = depth / ROUND, share = rounds > 1 ? (rows + rounds - 2) / (rounds - 1) : rows;
    for (int p = depth, left = rows; p > 0;) {
        int steps = p < ROUND ? p : ROUND;
        for (int i = 0; i < share && left > 0; i++, left--, next += ldc) {
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) __builtin_prefetch(next + v * LANES, 1);
            if (vectors > 2) __builtin_prefetch(next + (vectors - 1) * LANES + last - 1, 1);
        }
        if (wanted)
            for (int t = 0; t < STREAMS; t++) prefetch_some(&wanted[t]);
        p -= steps;
        do {
            Vec row[MOST_VECTORS];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) row[v] = load(b + v * LANES);
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                Vec x = splat(third[i / 3][i % 3 * at.row]);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++) sum[i][v] = multiply_add(row[v], x, sum[i][v]);
            }
#pragma GCC unroll 4
            for (int i = 0; i < (rows + 2) / 3; i++) third[i] += at.step;
            b += ldb;
        } while (--steps);
    }
    const bool part = last < LANES;
    if (beta == 0.0f && !part)
        micro_finish(rows, vectors, ADD_NOTHING, false, sum, beta, c, ldc, last);
    else if (beta == 0.0f)
        micro_finish(rows, vectors, ADD_NOTHING, true, sum, beta, c, ldc, last);
    else if (beta == 1.0f && !part)
        micro_finish(rows, vectors, ADD_C, false, sum, beta, c, ldc, last);
    else
        micro_finish(rows, vectors, ADD_ANY, true, sum, beta, c, ldc, last);
}

/* Plain arguments: a structure goes over the stack by vector stores, which wait in one queue with the multiplications
 * of the micro-kernel before, so that this one's first loads would too. */
typedef void (*MicroKernel)(int depth, const float *a, int64_t row, int64_t step, const float *b, int64_t ldb,
                            float beta, float *c, int64_t ldc, int last, PrefetchStream *wanted);

typedef struct MicroRows {
    int rows;
    MicroKernel run;
} MicroRows;

#define MICRO_KERNEL(rows, vectors)                                                                                    \
    static __attribute__((noinline)) void micro_##rows##x##vectors(                                                    \
        int depth, const float *a, int64_t row, int64_t step, const float *b, int64_t ldb, float beta, float *c,       \
        int64_t ldc, int last, PrefetchStream *wanted)                                                                 \
    {                                                                                                                  \
        micro(rows, vectors, depth, (Operand){a, row, step}, b, ldb, beta, c, ldc, last, wanted);                      \
    }

/* 24 of 32, or 12 of 16 registers hold C. For each number of vectors the highest first; fewer rows finish what is left
 * of m. */
#if VECTOR_REGISTERS == 32
MICRO_KERNEL(12, 1)
MICRO_KERNEL(8, 1)
MICRO_KERNEL(12, 2)
MICRO_KERNEL(8, 2)
MICRO_KERNEL(8, 3)
MICRO_KERNEL(6, 3)
#else
MICRO_KERNEL(6, 1)
MICRO_KERNEL(6, 2)
#endif
MICRO_KERNEL(4, 1)
MICRO_KERNEL(4, 2)
MICRO_KERNEL(4, 3)
MICRO_KERNEL(3, 3)
MICRO_KERNEL(2, 1)
MICRO_KERNEL(2, 2)
MICRO_KERNEL(2, 3)
MICRO_KERNEL(1, 1)
MICRO_KERNEL(1, 2)
MICRO_KERNEL(1, 3)

static const MicroRows MICRO[MOST_VECTORS][7] = {
#if VECTOR_REGISTERS == 32
    {{12, micro_12x1}, {8, micro_8x1}, {4, micro_4x1}, {2, micro_2x1}, {1, micro_1x1}},
    {{12, micro_12x2}, {8, micro_8x2}, {4, micro_4x2}, {2, micro_2x2}, {1, micro_1x2}},
    {{8, micro_8x3}, {6, micro_6x3}, {4, micro_4x3}, {3, micro_3x3}, {2, micro_2x3}, {1, micro_1x3}},
#else
    {{6, micro_6x1}, {4, micro_4x1}, {2, micro_2x1}, {1, micro_1x1}},
    {{6, micro_6x2}, {4, micro_4x2}, {2, micro_2x2}, {1, micro_1x2}},
    {{4, micro_4x3}, {3, micro_3x3}, {2, micro_2x3}, {1, micro_1x3}},
#endif
};

/* What suits a processor; see simd_avx512.c, simd_avx2.c and simd_neon.c. */
typedef struct Shape {
    int vectors;    /* of a panel of B; 2 for weight gradients */
    int pack_rows;  /* from so many rows of C on, a panel of B is copied before it is used */
    int strip_cols; /* from so many columns of C on, A of a weight gradient is */
} Shape;
