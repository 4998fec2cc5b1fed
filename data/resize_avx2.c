/* The two passes of resize.h with 16-bit multipliers: a 23-bit tap is split as high << 14 + low, each half is multiplied
 * and summed exactly in 32 bits, and the halves are joined at the end. Equal to the portable passes in every bit. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "data/resize.h"

static __m256i join(__m256i low, __m256i high)
{
    return _mm256_add_epi32(_mm256_slli_epi32(high, RESIZE_SPLIT), low);
}

static __m256i four_taps(const int16_t *halves)
{
    long long bits;
    memcpy(&bits, halves, sizeof bits);
    return _mm256_set1_epi64x(bits);
}

/* Four pixels of three bytes -> 16-bit pairs of neighbours: (r0 r1)(r2 r3)(g0 g1)(g2 g3) | (b0 b1)(b2 b3) 0 0 */
static __m256i four_pixels(const uint8_t *in)
{
    const __m256i order = _mm256_setr_epi8(0, -1, 3, -1, 6, -1, 9, -1, 1, -1, 4, -1, 7, -1, 10, -1, /**/
                                           2, -1, 5, -1, 8, -1, 11, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)in)), order);
}

/* Two rows at a time, which share the taps. Every sum takes the same number of groups, a constant where this is inlined:
 * a count that changed from pixel to pixel would cost more in mispredicted branches than the zero taps do. */
static inline __attribute__((always_inline)) void two_rows(const ResizeTaps *taps, const int groups,
                                                           const uint8_t *in_a, const uint8_t *in_b, uint8_t *out_a,
                                                           uint8_t *out_b)
{
    const __m256i half = _mm256_set1_epi32(1 << (RESIZE_BITS - 1));
    const __m128i order = _mm_setr_epi8(0, 1, 4, -1, 2, 3, 6, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const int16_t *halves = taps->halves;
    for (int x = 0; x < taps->outputs; x++, halves += 8 * taps->groups) {
        const uint8_t *a = in_a + 3 * taps->spans[x].first, *b = in_b + 3 * taps->spans[x].first;
        __m256i low_a = _mm256_setzero_si256(), high_a = low_a, low_b = low_a, high_b = low_a;
        for (int g = 0; g < groups; g++) {
            __m256i low = four_taps(halves + 8 * g), high = four_taps(halves + 8 * g + 4);
            __m256i pixels_a = four_pixels(a + 12 * g), pixels_b = four_pixels(b + 12 * g);
            low_a = _mm256_add_epi32(low_a, _mm256_madd_epi16(pixels_a, low));
            high_a = _mm256_add_epi32(high_a, _mm256_madd_epi16(pixels_a, high));
            low_b = _mm256_add_epi32(low_b, _mm256_madd_epi16(pixels_b, low));
            high_b = _mm256_add_epi32(high_b, _mm256_madd_epi16(pixels_b, high));
        }
        __m256i sum = _mm256_hadd_epi32(join(low_a, high_a), join(low_b, high_b)); /* ra ga rb gb | ba 0 bb 0 */
        sum = _mm256_srai_epi32(_mm256_add_epi32(sum, half), RESIZE_BITS);
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        long long pixels = _mm_cvtsi128_si64(_mm_shuffle_epi8(_mm_packus_epi16(words, words), order));
        memcpy(out_a + 3 * x, &pixels, 4); /* the fourth byte belongs to the next pixel, or to the row's padding */
        memcpy(out_b + 3 * x, (const char *)&pixels + 4, 4);
    }
}

void resize_rows_avx2(const ResizeTaps *taps, const uint8_t *in, ptrdiff_t in_stride, int count, uint8_t *out,
                      ptrdiff_t out_stride)
{
    for (int y = 0; y < count; y += 2) {
        int other = y + 1 < count ? y + 1 : y;
        const uint8_t *in_a = in + y * in_stride, *in_b = in + other * in_stride;
        uint8_t *out_a = out + y * out_stride, *out_b = out + other * out_stride;
        if (taps->used == 1)
            two_rows(taps, 1, in_a, in_b, out_a, out_b);
        else if (taps->used == 2)
            two_rows(taps, 2, in_a, in_b, out_a, out_b);
        else if (taps->used == 3)
            two_rows(taps, 3, in_a, in_b, out_a, out_b);
        else
            two_rows(taps, taps->used, in_a, in_b, out_a, out_b);
    }
}

/* 32 columns of one output row. */
static __m256i columns_32(const ResizeSpan span, const int16_t *halves, const uint8_t *in, ptrdiff_t stride)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i low[4] = {zero, zero, zero, zero}, high[4] = {zero, zero, zero, zero};
    for (int j = 0; j < span.count; j += 2) {
        const uint8_t *next = in + (j + 1 < span.count ? j + 1 : j) * stride; /* its tap is zero past the end */
        __m256i a = _mm256_loadu_si256((const __m256i *)(in + j * stride));
        __m256i b = _mm256_loadu_si256((const __m256i *)next);
        int tap_low, tap_high; /* two 16-bit halves each */
        memcpy(&tap_low, halves + j / 4 * 8 + j % 4, sizeof tap_low);
        memcpy(&tap_high, halves + j / 4 * 8 + 4 + j % 4, sizeof tap_high);
        __m256i l = _mm256_set1_epi32(tap_low), h = _mm256_set1_epi32(tap_high);
        __m256i near = _mm256_unpacklo_epi8(a, b), far = _mm256_unpackhi_epi8(a, b);
        __m256i pairs[4] = {_mm256_unpacklo_epi8(near, zero), _mm256_unpackhi_epi8(near, zero),
                            _mm256_unpacklo_epi8(far, zero), _mm256_unpackhi_epi8(far, zero)};
        for (int i = 0; i < 4; i++) {
            low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(pairs[i], l));
            high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(pairs[i], h));
        }
    }
    const __m256i half = _mm256_set1_epi32(1 << (RESIZE_BITS - 1));
    for (int i = 0; i < 4; i++) low[i] = _mm256_srai_epi32(_mm256_add_epi32(join(low[i], high[i]), half), RESIZE_BITS);
    /* The packs work within 128-bit lanes, as the unpacks did: together they restore the order. */
    return _mm256_packus_epi16(_mm256_packs_epi32(low[0], low[1]), _mm256_packs_epi32(low[2], low[3]));
}

void resize_columns_avx2(const ResizeTaps *taps, int output, const uint8_t *in, ptrdiff_t in_stride, int first_row,
                         uint8_t *out, int bytes)
{
    const ResizeSpan span = taps->spans[output];
    const int16_t *halves = taps->halves + (size_t)output * (size_t)taps->groups * 8;
    in += (span.first - first_row) * in_stride;
    int x = 0;
    for (; x + 32 <= bytes; x += 32)
        _mm256_storeu_si256((__m256i *)(out + x), columns_32(span, halves, in + x, in_stride));
    if (x < bytes) {
        uint8_t tail[32];
        _mm256_storeu_si256((__m256i *)tail, columns_32(span, halves, in + x, in_stride));
        memcpy(out + x, tail, (size_t)(bytes - x));
    }
}
#endif
