/* affine.h's transform in vectors of four doubles: the same operations in the same order (this file is compiled without
 * contraction to fused multiply-add), hence the same bytes. In general the channels of a pixel lie side by side. Shears
 * and translations along one axis keep to the pixels' centres on the other, where sampling across would add 0 *
 * something and is left out; they do four pixels at a time. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "data/image/affine.h"

typedef struct Source {
    const uint8_t *in;
    int width, height;
} Source;

static int avx2_clamp(int value, int size)
{
    return value < 0 ? 0 : value >= size ? size - 1 : value;
}

static __m256d pixel(const uint8_t *in)
{
    int bytes; /* three channels and a byte that is ignored */
    memcpy(&bytes, in, sizeof bytes);
    return _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes)));
}

static __m256d avx2_linear(__m256d a, __m256d b, __m256d d)
{
    return _mm256_add_pd(a, _mm256_mul_pd(_mm256_sub_pd(b, a), d));
}

static __m256d avx2_cubic(const __m256d v[4], __m256d d)
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
    return avx2_linear(pixel(row + left), pixel(row + right), _mm256_set1_pd(dx));
}

static __m256d sample_linear(const Source *source, int x, int y, double dx, double dy)
{
    int64_t stride = 3 * (int64_t)source->width;
    int left = 3 * avx2_clamp(x, source->width), right = 3 * avx2_clamp(x + 1, source->width);
    __m256d near = row_linear(source->in + stride * avx2_clamp(y, source->height), left, right, dx);
    if (dy == 0.0) return near;
    __m256d far = row_linear(source->in + stride * avx2_clamp(y + 1, source->height), left, right, dx);
    return avx2_linear(near, far, _mm256_set1_pd(dy));
}

static __m256d row_cubic(const uint8_t *row, const int at[4], double dx)
{
    if (dx == 0.0) return pixel(row + at[1]);
    __m256d v[4] = {pixel(row + at[0]), pixel(row + at[1]), pixel(row + at[2]), pixel(row + at[3])};
    return avx2_cubic(v, _mm256_set1_pd(dx));
}

static inline __m256d inner_cubic(const uint8_t *in, int64_t stride, double dx, double dy)
{
    const __m256d each = _mm256_set1_pd(dx);
    __m256d column[4];
    for (int j = 0; j < 4; j++, in += stride) {
        const __m256d v[4] = {pixel(in), pixel(in + 3), pixel(in + 6), pixel(in + 9)};
        column[j] = avx2_cubic(v, each);
    }
    return avx2_cubic(column, _mm256_set1_pd(dy));
}

static __m256d sample_cubic(const Source *source, int x, int y, double dx, double dy)
{
    const int64_t stride = 3 * (int64_t)source->width;
    if (x >= 1 && x + 3 <= source->width && y >= 1 && y + 3 <= source->height) /* all samples inside */
        return inner_cubic(source->in + stride * (y - 1) + 3 * (x - 1), stride, dx, dy);
    int at[4];
    for (int i = 0; i < 4; i++) at[i] = 3 * avx2_clamp(x - 1 + i, source->width);
    if (dy == 0.0) return row_cubic(source->in + stride * avx2_clamp(y, source->height), at, dx);
    __m256d column[4];
    for (int j = 0; j < 4; j++)
        column[j] = row_cubic(source->in + stride * avx2_clamp(y - 1 + j, source->height), at, dx);
    return avx2_cubic(column, _mm256_set1_pd(dy));
}

/* Truncated to three bytes; packing saturates. */
static void store(__m256d value, uint8_t *out)
{
    __m128i integers = _mm256_cvttpd_epi32(value), words = _mm_packs_epi32(integers, integers);
    int bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    memcpy(out, &bytes, 3);
}

/* ---- along one axis */

enum { CHUNK = 256, OUTSIDE = INT32_MIN, STEP = 4 };

/* Where a part of a row is read: */
typedef struct Places {
    int at[CHUNK];   /* the pixel before it, as its row (along y) or as what its column lies ahead (along x) */
    double d[CHUNK]; /* the rest */
} Places;

static void find_places(const double m[3], int size, bool down, int y, int begin, int count, Places *places)
{
    for (int i = 0; i < count; i++) {
        double s = m[0] * (begin + i + 0.5) + m[1] * (y + 0.5) + m[2];
        bool inside = s >= 0.0 && s < size;
        s = inside ? s - 0.5 : 0.0;
        double before = floor(s);
        places->d[i] = s - before;
        places->at[i] = inside ? (int)before - (down ? 0 : begin + i) : OUTSIDE;
    }
}

static __m256d four_bytes(const uint8_t *in)
{
    int bytes;
    memcpy(&bytes, in, sizeof bytes);
    return _mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(bytes)));
}

/* Four pixels; taps: where their samples begin, two or four of them. */
static void sample_step(const uint8_t *const taps[4], const double *d, bool is_cubic, uint8_t *out)
{
    const __m256d four = _mm256_loadu_pd(d);
    const __m256d each[3] = {_mm256_permute4x64_pd(four, 0x40), _mm256_permute4x64_pd(four, 0xa5),
                             _mm256_permute4x64_pd(four, 0xfe)}; /* 0001 1122 2333 */
    for (int i = 0; i < 3; i++) {
        const __m256d v[4] = {four_bytes(taps[0] + 4 * i), four_bytes(taps[1] + 4 * i), four_bytes(taps[2] + 4 * i),
                              four_bytes(taps[3] + 4 * i)};
        __m128i integers = _mm256_cvttpd_epi32(is_cubic ? avx2_cubic(v, each[i]) : avx2_linear(v[1], v[2], each[i]));
        __m128i words = _mm_packs_epi32(integers, integers);
        int bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
        memcpy(out + 4 * i, &bytes, 4);
    }
}

/* The samples of four pixels from (x, y) on; false when not all lie inside their rows. A linear step takes the middle
 * two. */
static bool find_taps(const Source *source, bool down, int x, int y, int at, const uint8_t *taps[4])
{
    const int64_t stride = 3 * (int64_t)source->width;
    if (down) {
        for (int j = 0; j < 4; j++) taps[j] = source->in + stride * avx2_clamp(at - 1 + j, source->height) + 3 * x;
        return x + STEP <= source->width;
    }
    const int first = x + at - 1;
    if (first < 0 || first + 3 + STEP > source->width) return false;
    for (int j = 0; j < 4; j++) taps[j] = source->in + stride * y + 3 * (first + j);
    return true;
}

static void one_pixel(const Source *source, bool down, int x, int y, int at, double d, bool is_cubic, uint8_t *out)
{
    const int ix = down ? x : x + at, iy = down ? at : y;
    const double dx = down ? 0.0 : d, dy = down ? d : 0.0;
    store(is_cubic ? sample_cubic(source, ix, iy, dx, dy) : sample_linear(source, ix, iy, dx, dy), out);
}

/* Four pixels at a time, of which only as many count as are read from the same row, or equally far ahead: what is
 * written behind them is written again. */
static void transform_part(const Source *source, const Places *places, bool down, int begin, int y, int count,
                           bool is_cubic, const uint8_t fill[3], uint8_t *out)
{
    for (int i = 0; i < count;) {
        const uint8_t *taps[4];
        const int at = places->at[i];
        if (at == OUTSIDE) {
            memcpy(out + 3 * i++, fill, 3);
        } else if (i + STEP <= count && find_taps(source, down, begin + i, y, at, taps)) {
            sample_step(taps, places->d + i, is_cubic, out + 3 * i);
            int done = 1;
            while (done < STEP && places->at[i + done] == at) done++;
            i += done;
        } else {
            one_pixel(source, down, begin + i, y, at, places->d[i], is_cubic, out + 3 * i);
            i++;
        }
    }
}

static void transform_axis(const Source *source, const double m[3], bool down, bool is_cubic, const uint8_t fill[3],
                           uint8_t *out)
{
    Places places;
    for (int y = 0; y < source->height; y++) {
        for (int begin = 0; begin < source->width; begin += CHUNK) {
            const int count = source->width - begin < CHUNK ? source->width - begin : CHUNK;
            find_places(m, down ? source->height : source->width, down, y, begin, count, &places);
            transform_part(source, &places, down, begin, y, count, is_cubic, fill, out);
            out += 3 * count;
        }
    }
}

/* ---- in general */

void affine_avx2(const Affine *affine, const uint8_t *in, int width, int height, bool is_cubic, const uint8_t fill[3],
                 uint8_t *out)
{
    const double *m = affine->m;
    const Source source = {in, width, height};
    const bool keeps_x = m[0] == 1.0 && m[1] == 0.0 && m[2] == 0.0, keeps_y = m[3] == 0.0 && m[4] == 1.0 && m[5] == 0.0;
    if (keeps_x || keeps_y) {
        transform_axis(&source, keeps_x ? m + 3 : m, keeps_x, is_cubic, fill, out);
        return;
    }
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
