/* bf16_tiles.h: filling tiles with AVX-512, for processors with AVX512_BF16, which all that have AMX_BF16 are. */
#include <immintrin.h>

#include "core/kernels/bf16_body.h"

static __mmask16 bf16_first16(int count)
{
    return count >= 16 ? 0xffff : count > 0 ? (__mmask16)((1u << count) - 1) : 0;
}

static __m512i bf16_rounded(__m512 high, __m512 low)
{
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* 32 of k of one row, of which `depth` are there. */
static __m512i bf16_line(const Bf16Source *from, int row, int p, int depth)
{
    int64_t at = row * from->ld + p;
    if (from->stored)
        return _mm512_maskz_loadu_epi16(depth >= 32 ? 0xffffffff : (__mmask32)((1u << depth) - 1),
                                        (const uint16_t *)from->at + at);
    const float *x = (const float *)from->at + at;
    if (depth >= TILE_DEPTH) return bf16_rounded(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x));
    return bf16_rounded(_mm512_maskz_loadu_ps(bf16_first16(depth - 16), x + 16),
                        _mm512_maskz_loadu_ps(bf16_first16(depth), x));
}

/* Rows p and p + 1 of what has k across its rows, 16 columns side by side: pairs. `depth` tells whether p + 1 is there. */
static __m512i bf16_pairs(const Bf16Source *from, int column, int count, int p, int depth)
{
    int64_t at = p * from->ld + column;
    __mmask16 low = bf16_first16(count), high = depth > 1 ? low : 0;
    const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                                6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const char *ahead = (const char *)from->at + (at + TILE_DEPTH * from->ld) * (from->stored ? 2 : 4);
    __m512i both;
    __builtin_prefetch(ahead); /* of the next 32 rows: no hardware guesses so far */
    __builtin_prefetch(ahead + from->ld * (from->stored ? 2 : 4));
    if (from->stored) {
        const uint16_t *x = (const uint16_t *)from->at + at;
        both = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_maskz_loadu_epi16(low, x)),
                                  _mm256_maskz_loadu_epi16(high, x + from->ld), 1);
    } else {
        const float *x = (const float *)from->at + at;
        both = bf16_rounded(_mm512_maskz_loadu_ps(high, x + from->ld), _mm512_maskz_loadu_ps(low, x));
    }
    return _mm512_permutexvar_epi16(interleave, both);
}

/* 16 x 16 elements of 32 bits: within groups of 4 rows and 4 columns, then groups among each other. */
static inline __attribute__((always_inline)) void bf16_transpose(__m512i x[16])
{
    __m512i t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        x[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        x[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        x[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        x[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        x[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        x[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        x[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        x[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

static void bf16_tile(const Bf16Source *from, bool of_b, int first, int count, int p, int depth, uint16_t *out)
{
    __m512i x[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) x[i] = _mm512_setzero_si512();
    if (from->along_k)
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            if (i < count) x[i] = bf16_line(from, first + i, p, depth);
        }
    else
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            if (2 * i < depth) x[i] = bf16_pairs(from, first, count, p + 2 * i, depth - 2 * i);
        }
    if (from->along_k == of_b) bf16_transpose(x);
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) _mm512_store_si512(out + i * TILE_DEPTH, x[i]);
}

static void bf16_narrow(int rows, int cols, const float *x, int ldx, uint16_t *y, int ldy)
{
    for (int r = 0; r < rows; r++, x += ldx, y += ldy)
        for (int c = 0; c < cols; c += 16) {
            __mmask16 mask = bf16_first16(cols - c);
            _mm256_mask_storeu_epi16(y + c, mask, (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x + c)));
        }
}

static void bf16_widen(int rows, int cols, const uint16_t *x, int ldx, float *y, int ldy)
{
    for (int r = 0; r < rows; r++, x += ldx, y += ldy)
        for (int c = 0; c < cols; c += 16) {
            __mmask16 mask = bf16_first16(cols - c);
            __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x + c));
            _mm512_mask_storeu_ps(y + c, mask, (__m512)_mm512_slli_epi32(wide, 16));
        }
}
