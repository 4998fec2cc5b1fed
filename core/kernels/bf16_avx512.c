/* Products with VDPBF16PS: a vector of 16 columns of C takes a pair of k a time. */
#include "core/kernels/bf16_tiles.h"

enum { HIGH = 8 };

/* 8 rows of C: as many chains as it takes to hide the latency of the instruction. `half` of a tile of A, `a` its rows. */
static inline __attribute__((always_inline)) void vector_rows(const int wide, int blocks, const uint16_t *a,
                                                              const uint16_t *b, bool add, float *c, int64_t ldc)
{
    __m512 sum[HIGH][2];
#pragma GCC unroll 8
    for (int i = 0; i < HIGH; i++)
#pragma GCC unroll 2
        for (int v = 0; v < wide; v++) sum[i][v] = add ? _mm512_loadu_ps(c + i * ldc + v * 16) : _mm512_setzero_ps();
    for (int block = 0; block < blocks; block++, a += STRIP_BLOCK, b += STRIP_BLOCK)
        for (int pair = 0; pair < TILE_SIDE; pair++) {
            __m512bh row[2];
#pragma GCC unroll 2
            for (int v = 0; v < wide; v++) row[v] = (__m512bh)_mm512_load_si512(b + v * TILE + pair * TILE_DEPTH);
#pragma GCC unroll 8
            for (int i = 0; i < HIGH; i++) {
                int two;
                memcpy(&two, a + i * TILE_DEPTH + 2 * pair, sizeof two);
                __m512bh x = (__m512bh)_mm512_set1_epi32(two);
#pragma GCC unroll 2
                for (int v = 0; v < wide; v++) sum[i][v] = _mm512_dpbf16_ps(sum[i][v], x, row[v]);
            }
        }
#pragma GCC unroll 8
    for (int i = 0; i < HIGH; i++)
#pragma GCC unroll 2
        for (int v = 0; v < wide; v++) _mm512_storeu_ps(c + i * ldc + v * 16, sum[i][v]);
}

static void vector_run(int blocks, int high, int wide, const uint16_t *a, const uint16_t *b, bool add, float *c,
                       int64_t ldc)
{
    for (int i = 0; i < high * TILE_SIDE; i += HIGH, c += HIGH * ldc) {
        const uint16_t *rows = a + i / TILE_SIDE * TILE + i % TILE_SIDE * TILE_DEPTH;
        if (wide == 2)
            vector_rows(2, blocks, rows, b, add, c, ldc);
        else
            vector_rows(1, blocks, rows, b, add, c, ldc);
    }
}

static const Bf16Micro VECTOR_MICRO = {.run = vector_run};

BF16_KERNELS(avx512_bf16, VECTOR_MICRO);
