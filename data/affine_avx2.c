/* affine.h's transform with the channels of a pixel side by side in four doubles: the same operations in the same order
 * (this file is compiled without contraction to fused multiply-add), hence the same bytes. Where a coordinate falls on a
 * pixel's centre, as in half of the shears' and translations' directions, sampling across it would add 0 * something and
 * is left out. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "data/affine.h"

typedef struct Source {
    const uint8_t *in;
    int width, height;
} Source;

static int clamp(int value, int size)
{
    return value < 0 ? 0 : value >= size ? size - 1 : value;
}

static __m256d pixel(const uint8_t *in)
{
    int bytes; /* three channels and a byte that is ignored */
    memcpy(&bytes, in, sizeof bytes);
    return _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes)));
}

static __m256d linear(__m256d a, __m256d b, __m256d d)
{
    return _mm256_add_pd(a, _mm256_mul_pd(_mm256_sub_pd(b, a), d));
}

static __m256d cubic(const __m256d v[4], __m256d d)
{
    __m256d difference = _mm256_sub_pd(v[0], v[1]);
    __m256d p2 = _mm256_sub_pd(v[2], v[0]);
    __m256d p3 = _mm256_sub_pd(_mm256_add_pd(_mm256_add_pd(difference, difference), v[2]), v[3]);
    __m256d p4 = _mm256_add_pd(_mm256_sub_pd(_mm256_sub_pd(v[1], v[0]), v[2]), v[3]);
    __m256d sum = _mm256_add_pd(p3, _mm256_mul_pd(d, p4));
    sum = _mm256_add_pd(p2, _mm256_mul_pd(d, sum));
    return _mm256_add_pd(v[1], _mm256_mul_pd(d, sum));
}

static __m256d row_linear(const uint8_t *row, int left, int right, double dx)
{
    if (dx == 0.0) return pixel(row + left);
    return linear(pixel(row + left), pixel(row + right), _mm256_set1_pd(dx));
}

static __m256d sample_linear(const Source *source, int x, int y, double dx, double dy)
{
    int64_t stride = 3 * (int64_t)source->width;
    int left = 3 * clamp(x, source->width), right = 3 * clamp(x + 1, source->width);
    __m256d near = row_linear(source->in + stride * clamp(y, source->height), left, right, dx);
    if (dy == 0.0) return near;
    __m256d far = row_linear(source->in + stride * clamp(y + 1, source->height), left, right, dx);
    return linear(near, far, _mm256_set1_pd(dy));
}

static __m256d row_cubic(const uint8_t *row, const int at[4], double dx)
{
    if (dx == 0.0) return pixel(row + at[1]);
    __m256d v[4] = {pixel(row + at[0]), pixel(row + at[1]), pixel(row + at[2]), pixel(row + at[3])};
    return cubic(v, _mm256_set1_pd(dx));
}

static __m256d sample_cubic(const Source *source, int x, int y, double dx, double dy)
{
    int64_t stride = 3 * (int64_t)source->width;
    int at[4];
    for (int i = 0; i < 4; i++) at[i] = 3 * clamp(x - 1 + i, source->width);
    if (dy == 0.0) return row_cubic(source->in + stride * clamp(y, source->height), at, dx);
    __m256d column[4];
    for (int j = 0; j < 4; j++) column[j] = row_cubic(source->in + stride * clamp(y - 1 + j, source->height), at, dx);
    return cubic(column, _mm256_set1_pd(dy));
}

/* Truncated to three bytes; packing saturates. */
static void store(__m256d value, uint8_t *out)
{
    __m128i integers = _mm256_cvttpd_epi32(value), words = _mm_packs_epi32(integers, integers);
    int bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    memcpy(out, &bytes, 3);
}

void affine_avx2(const Affine *affine, const uint8_t *in, int width, int height, bool is_cubic, const uint8_t fill[3],
                 uint8_t *out)
{
    const double *m = affine->m;
    const Source source = {in, width, height};
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++, out += 3) {
            double sx = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2], sy = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];
            if (!(sx >= 0.0 && sx < width && sy >= 0.0 && sy < height)) {
                memcpy(out, fill, 3);
                continue;
            }
            sx -= 0.5;
            sy -= 0.5;
            int ix = (int)floor(sx), iy = (int)floor(sy);
            double dx = sx - ix, dy = sy - iy;
            store(is_cubic ? sample_cubic(&source, ix, iy, dx, dy) : sample_linear(&source, ix, iy, dx, dy), out);
        }
    }
}
#endif
