/* The two passes of resize.h with 16-bit multipliers: a 23-bit tap is split as high << 14 + low, each half is
 * multiplied and summed exactly in 32 bits, and the halves are joined at the end. Equal to the portable passes in every
 * bit. */
#include <immintrin.h>
#include <string.h>

#include "data/image/resize.h"

static __m256i join(__m256i low, __m256i high)
{
    return _mm256_add_epi32(_mm256_slli_epi32(high, RESIZE_SPLIT), low);
}

static __m256i two_taps(const int16_t *halves)
{
    int bits;
    memcpy(&bits, halves, sizeof bits);
    return _mm256_set1_epi32(bits);
}

/* `times` perfect shuffles of eight vectors: interleaving the first four with the last four rotates the bits of a
 * byte's number within its lanes, 3 of the vector and 4 of the place, by one. */
static inline __attribute__((always_inline)) void shuffle(__m256i v[8], const int times)
{
    for (int i = 0; i < times; i++) {
        __m256i next[8];
        for (int k = 0; k < 4; k++) {
            next[2 * k] = _mm256_unpacklo_epi8(v[k], v[k + 4]);
            next[2 * k + 1] = _mm256_unpackhi_epi8(v[k], v[k + 4]);
        }
        memcpy(v, next, sizeof next);
    }
}

/* 32 bytes of 8 rows -> 32 columns of 8 bytes: (row, column) to (column, row) is a rotation by three. */
static void turn_in(const uint8_t *const rows[8], size_t at, uint8_t *columns)
{
    __m256i v[8];
    for (int i = 0; i < 8; i++) v[i] = _mm256_loadu_si256((const __m256i *)(rows[i] + at));
    shuffle(v, 3);
    for (int i = 0; i < 8; i++) {
        _mm_store_si128((__m128i *)(columns + 16 * i), _mm256_castsi256_si128(v[i]));
        _mm_store_si128((__m128i *)(columns + 16 * (i + 8)), _mm256_extracti128_si256(v[i], 1));
    }
}

/* And back, the other four of seven: 32 columns of 8 bytes -> 32 bytes of `count` rows. */
static void turn_out(const uint8_t *columns, int count, uint8_t *out, ptrdiff_t stride)
{
    __m256i v[8];
    for (int i = 0; i < 8; i++)
        v[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_load_si128((const __m128i *)(columns + 16 * i))),
                                       _mm_load_si128((const __m128i *)(columns + 16 * (i + 8))), 1);
    shuffle(v, 4);
    for (int i = 0; i < 8 && i < count; i++) _mm256_storeu_si256((__m256i *)(out + i * stride), v[i]);
}

/* What there is of `count` rows, the last one again for those that are missing. */
static void turn_rows(const uint8_t *const in[], int count, size_t bytes, uint8_t *columns)
{
    const uint8_t *rows[RESIZE_STRIP];
    uint8_t rest[RESIZE_STRIP][32] = {{0}}; /* nothing is read past a row's end */
    size_t at = 0;
    for (int i = 0; i < RESIZE_STRIP; i++) rows[i] = in[i < count ? i : count - 1];
    for (; at + 32 <= bytes; at += 32) turn_in(rows, at, columns + RESIZE_STRIP * at);
    if (at == bytes) return;
    for (int i = 0; i < RESIZE_STRIP; i++) {
        memcpy(rest[i], rows[i] + at, bytes - at);
        rows[i] = rest[i];
    }
    turn_in(rows, 0, columns + RESIZE_STRIP * at);
}

/* One channel of one output pixel in 8 rows. Every sum of an image takes the same number of pairs, a constant where
 * this is inlined: a count that changed from pixel to pixel would cost more in mispredicted branches than the zero taps
 * do. */
static inline __attribute__((always_inline)) void sum_column(const int pairs, const int16_t *halves, const uint8_t *in,
                                                             uint8_t *out)
{
    __m256i low = _mm256_setzero_si256(), high = low;
    for (int j = 0; j < 2 * pairs; j += 2, in += 2 * 3 * RESIZE_STRIP) {
        const __m128i a = _mm_loadl_epi64((const __m128i *)in);
        const __m128i b = _mm_loadl_epi64((const __m128i *)(in + 3 * RESIZE_STRIP));
        const __m256i two = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(two, two_taps(halves + j / 4 * 8 + j % 4)));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(two, two_taps(halves + j / 4 * 8 + 4 + j % 4)));
    }
    const __m256i half = _mm256_set1_epi32(1 << (RESIZE_BITS - 1));
    const __m256i sum = _mm256_srai_epi32(_mm256_add_epi32(join(low, high), half), RESIZE_BITS);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    _mm_storel_epi64((__m128i *)out, _mm_packus_epi16(words, words));
}

static inline __attribute__((always_inline)) void sum_columns(const Resizer *resizer, const int pairs)
{
    const ResizeTaps *taps = &resizer->x;
    const int16_t *halves = taps->halves;
    uint8_t *out = resizer->out_columns;
    for (int x = 0; x < taps->outputs; x++, halves += 8 * taps->groups)
        for (int c = 0; c < 3; c++, out += RESIZE_STRIP)
            sum_column(pairs, halves, resizer->in_columns + (3 * taps->spans[x].first + c) * RESIZE_STRIP, out);
}

/* The strip is turned, so that its rows lie side by side and share their taps, and turned back. */
void resize_rows_avx2(const Resizer *resizer, const uint8_t *const rows[], int count, uint8_t *out)
{
    const int pairs = (resizer->x.used + 1) / 2;
    turn_rows(rows, count, 3 * (size_t)resizer->width, resizer->in_columns);
    switch (pairs) {
    case 1:
        sum_columns(resizer, 1);
        break;
    case 2:
        sum_columns(resizer, 2);
        break;
    case 3:
        sum_columns(resizer, 3);
        break;
    case 4:
        sum_columns(resizer, 4);
        break;
    case 5:
        sum_columns(resizer, 5);
        break;
    default:
        sum_columns(resizer, pairs);
    }
    for (ptrdiff_t at = 0; at < resizer->stride; at += 32)
        turn_out(resizer->out_columns + RESIZE_STRIP * at, count, out + at, resizer->stride);
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
        __m256i l = two_taps(halves + j / 4 * 8 + j % 4), h = two_taps(halves + j / 4 * 8 + 4 + j % 4);
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

void resize_columns_avx2(const Resizer *resizer, int output, uint8_t *out)
{
    const ResizeTaps *taps = &resizer->y;
    const ResizeSpan span = taps->spans[output];
    const int16_t *halves = taps->halves + (size_t)output * (size_t)taps->groups * 8;
    const ptrdiff_t stride = resizer->stride;
    const uint8_t *in = resizer->rows + (span.first - resizer->first) * stride;
    const int bytes = 3 * resizer->target.columns;
    int x = 0;
    for (; x + 32 <= bytes; x += 32)
        _mm256_storeu_si256((__m256i *)(out + x), columns_32(span, halves, in + x, stride));
    if (x < bytes) {
        uint8_t tail[32];
        _mm256_storeu_si256((__m256i *)tail, columns_32(span, halves, in + x, stride));
        memcpy(out + x, tail, (size_t)(bytes - x));
    }
}
