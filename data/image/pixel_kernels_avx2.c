#include <immintrin.h>
#include <stdint.h>

static void normalise_streamed(const uint8_t *pixels, int64_t count, float shift, float scale, float *out);
#define PIXEL_KERNELS pixel_kernels_avx2
#define NORMALISE     normalise_streamed
#include "data/image/pixel_kernels_body.h"

/* Bytes 0, 3, 6 and 9 as 32-bit integers. */
static __m128i four_values(const uint8_t *pixels)
{
    const __m128i order = _mm_setr_epi8(0, -1, -1, -1, 3, -1, -1, -1, 6, -1, -1, -1, 9, -1, -1, -1);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)pixels), order);
}

static void normalise_streamed(const uint8_t *pixels, int64_t count, float shift, float scale, float *out)
{
    const __m256 shifts = _mm256_set1_ps(shift), scales = _mm256_set1_ps(scale);
    int64_t i = 0;
    while (i < count && (uintptr_t)(out + i) % 32 != 0) {
        normalise(pixels + 3 * i, 1, shift, scale, out + i);
        i++;
    }
    for (; i + 10 <= count; i += 8) { /* the second load ends 28 bytes on */
        __m256i values = _mm256_set_m128i(four_values(pixels + 3 * i + 12), four_values(pixels + 3 * i));
        _mm256_stream_ps(out + i, _mm256_div_ps(_mm256_sub_ps(_mm256_cvtepi32_ps(values), shifts), scales));
    }
    normalise(pixels + 3 * i, count - i, shift, scale, out + i);
    _mm_sfence(); /* streamed stores are ordered with no others */
}
