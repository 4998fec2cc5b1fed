/* simd_body.h: the kernels of kernels.h written once with GCC vector extensions. A file that includes this sets
 * LANES (floats in a vector), and VECTOR_REGISTERS where it wants the matrix product too, and ends with its
 * KERNELS_TABLEs; it is compiled for one instruction set.
 * A row's last, partial vector goes through a zero-filled copy; lanes past the end never reach memory.
 */
#include <math.h>
#include <string.h>

#include "core/kernels/kernels.h"
#include "core/base/rng.h"
#if LANES > 4
#include <immintrin.h>
#elif defined(VECTOR_REGISTERS)
#include <arm_neon.h>
#endif

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t VecInt __attribute__((vector_size(LANES * 4)));
typedef uint64_t VecLong __attribute__((vector_size(LANES * 4)));
typedef float VecMem __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE Vec splat(float x)
{
    return x - (Vec){0};
}

INLINE Vec load(const float *p)
{
    return *(const VecMem *)p;
}

INLINE void store(float *p, Vec v)
{
    *(VecMem *)p = v;
}

#include "core/kernels/simd_transpose.h"

INLINE VecInt first_lanes(int64_t n)
{
    VecInt lane = {0};
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return lane < (int32_t)n;
}

INLINE Vec load_part(const float *p, int64_t n)
{
#if LANES == 16
    return (Vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif LANES == 8
    return (Vec)_mm256_maskload_ps(p, (__m256i)first_lanes(n));
#else
    Vec v = {0};
    memcpy(&v, p, (size_t)n * sizeof(float));
    return v;
#endif
}

INLINE void store_part(float *p, Vec v, int64_t n)
{
#if LANES == 16
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#elif LANES == 8
    _mm256_maskstore_ps(p, (__m256i)first_lanes(n), (__m256)v);
#else
    memcpy(p, &v, (size_t)n * sizeof(float));
#endif
}

INLINE Vec select_vec(VecInt mask, Vec yes, Vec no)
{
    return (Vec)((mask & (VecInt)yes) | (~mask & (VecInt)no));
}

/* a > b ? a : b: a NaN in a is passed over. Compilers do not see that this is one instruction. */
INLINE Vec max_vec(Vec a, Vec b)
{
#if LANES == 16
    return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (Vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return select_vec(a > b, a, b);
#endif
}

INLINE float sum_lanes(Vec v)
{
#if LANES > 8
    v += SWAP_LANES(v, 8);
#endif
#if LANES > 4
    v += SWAP_LANES(v, 4);
#endif
    v += SWAP_LANES(v, 2);
    v += SWAP_LANES(v, 1);
    return v[0];
}

INLINE float max_lanes(Vec v)
{
#if LANES > 8
    v = max_vec(v, SWAP_LANES(v, 8));
#endif
#if LANES > 4
    v = max_vec(v, SWAP_LANES(v, 4));
#endif
    v = max_vec(v, SWAP_LANES(v, 2));
    v = max_vec(v, SWAP_LANES(v, 1));
    return v[0];
}

#define LOG2_E 1.44269504f

/* e^x within 2 ulp: x = n ln 2 + r, a polynomial for e^r, and 2^n in two factors, so that results overflow to infinity
 * and fade to zero as they should. Below -126 ln 2 the results are denormal; they are cut to zero, since no sum here
 * can tell and denormals are slow. */
INLINE Vec exp_vec(Vec x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits */
    Vec clamped = select_vec(x > splat(89.0f), splat(89.0f), x);
    Vec shifted = clamped * LOG2_E + magic;
    Vec n = shifted - magic;
    VecInt exponent = (VecInt)shifted - (VecInt)splat(magic);
    Vec r = clamped - n * 0.693145752f;
    r = r - n * 1.42860677e-6f;
    Vec p = r * 1.98412698e-4f + 1.38888889e-3f; /* Taylor to degree 7: |r| <= ln 2 / 2, rest below 6e-9 */
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    VecInt half = exponent >> 1;
    Vec scale1 = (Vec)((half + 127) << 23), scale2 = (Vec)((exponent - half + 127) << 23);
    return (Vec)((VecInt)(p * scale1 * scale2) & ~(x < splat(-87.3f))); /* NaN stays NaN */
}

/* 2^x for x <= 127 within 2 ulp: a whole power, and a polynomial of least relative error (8e-8) for what is within a
 * half. Nothing is below 2^-100: no sum of softmax can tell, and products with it do not become denormal. NaN stays
 * NaN. */
INLINE Vec exp2_vec(Vec x)
{
    const float magic = 12582912.0f;
    Vec clamped = max_vec(splat(-100.0f), x);
    Vec shifted = clamped + magic, r = clamped - (shifted - magic);
    Vec p = r * 1.32764725e-3f + 9.67554096e-3f;
    p = p * r + 5.55071309e-2f;
    p = p * r + 2.40221202e-1f;
    p = p * r + 6.93146944e-1f;
    p = p * r + 1.00000012f;
    return (Vec)((VecInt)p + ((VecInt)shifted << 23)); /* to the exponent; magic's own bits are shifted out */
}

/* Phi(x), the normal distribution, and e = exp(-x^2 / 2). For a >= 0, Phi(-a) = e t P(t), t = 1 / (1 + 0.21 a): the
 * form of Abramowitz and Stegun 7.1.26 with a polynomial fitted to 1.4e-8, relative, for all a <= 13. */
INLINE Vec normal_cdf(Vec x, Vec *e)
{
    Vec a = (Vec)((VecInt)x & 0x7FFFFFFF);
    *e = exp_vec(x * x * -0.5f);
    Vec t = 1.0f / (a * 0.21f + 1.0f);
    Vec p = t * -7.204896630e-2f + 2.855273982e-1f;
    p = p * t - 3.343457874e-1f;
    p = p * t + 3.542172678e-1f;
    p = p * t - 9.737719585e-2f;
    p = p * t + 1.264137868e-1f;
    p = p * t + 6.877414972e-2f;
    p = p * t + 8.513179870e-2f;
    p = p * t + 8.370755010e-2f;
    Vec tail = *e * t * p;
    return select_vec(x > splat(0.0f), 1.0f - tail, tail);
}

INLINE Vec gelu_vec(Vec x)
{
    Vec e;
    return x * normal_cdf(x, &e);
}

INLINE Vec gelu_slope(Vec x, Vec *y)
{
    Vec e, cdf = normal_cdf(x, &e);
    *y = x * cdf;
    return cdf + x * e * 0.398942280f; /* 1 / sqrt(2 pi) */
}

static void simd_gelu(int64_t n, const float *x, float *y)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) store(y + i, gelu_vec(load(x + i)));
    if (i < n) store_part(y + i, gelu_vec(load_part(x + i, n - i)), n - i);
}

static void simd_gelu_backward(int64_t n, const float *x, const float *dy, float *y, float *dx)
{
    Vec value;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        Vec gradient = load(dy + i) * gelu_slope(load(x + i), &value);
        if (y) store(y + i, value);
        store(dx + i, gradient);
    }
    if (i < n) {
        Vec gradient = load_part(dy + i, n - i) * gelu_slope(load_part(x + i, n - i), &value);
        if (y) store_part(y + i, value, n - i);
        store_part(dx + i, gradient, n - i);
    }
}

static void simd_bias_gelu(int rows, int cols, const float *bias, float *x, int ldx, float *y, int ldy)
{
    for (int r = 0; r < rows; r++, x += ldx, y += ldy) {
        if (!bias) {
            simd_gelu(cols, x, y);
            continue;
        }
        int c = 0;
        for (; c + LANES <= cols; c += LANES) {
            Vec v = load(x + c) + load(bias + c);
            store(x + c, v);
            store(y + c, gelu_vec(v));
        }
        if (c < cols) {
            Vec v = load_part(x + c, cols - c) + load_part(bias + c, cols - c);
            store_part(x + c, v, cols - c);
            store_part(y + c, gelu_vec(v), cols - c);
        }
    }
}

static void simd_layernorm_apply(int rows, int cols, const float *x, int ldx, const float *mean, const float *rstd,
                                 const float *weight, const float *bias, float *y, int ldy)
{
    for (int r = 0; r < rows; r++, x += ldx, y += ldy) {
        float m = mean[r], s = rstd[r];
        int c = 0;
        for (; c + LANES <= cols; c += LANES) store(y + c, (load(x + c) - m) * s * load(weight + c) + load(bias + c));
        if (c < cols) {
            int64_t n = cols - c;
            store_part(y + c, (load_part(x + c, n) - m) * s * load_part(weight + c, n) + load_part(bias + c, n), n);
        }
    }
}

static void simd_layernorm(int rows, int cols, const float *x, int ldx, float eps, const float *weight,
                           const float *bias, float *y, int ldy, float *mean, float *rstd)
{
    int whole = cols / LANES * LANES, part = cols - whole;
    VecInt tail = first_lanes(part);
    for (int r = 0; r < rows; r++) {
        const float *row = x + (int64_t)r * ldx;
        Vec sum = part ? load_part(row + whole, part) : (Vec){0}, square = {0};
        for (int c = 0; c < whole; c += LANES) sum += load(row + c);
        float m = sum_lanes(sum) / (float)cols;
        for (int c = 0; c < whole; c += LANES) {
            Vec d = load(row + c) - m;
            square += d * d;
        }
        if (part) {
            Vec d = (Vec)((VecInt)(load_part(row + whole, part) - m) & tail);
            square += d * d;
        }
        mean[r] = m;
        rstd[r] = 1.0f / sqrtf(sum_lanes(square) / (float)cols + eps);
        simd_layernorm_apply(1, cols, row, ldx, mean + r, rstd + r, weight, bias, y + (int64_t)r * ldy, ldy);
    }
}

static void simd_layernorm_backward(int rows, int cols, const float *x, int ldx, const float *mean, const float *rstd,
                                    const float *weight, const float *dy, int lddy, bool add, float *dx, int lddx,
                                    float *dweight, float *dbias)
{
    int whole = cols / LANES * LANES, part = cols - whole;
    for (int r = 0; r < rows; r++, x += ldx, dy += lddy, dx += lddx) {
        float m = mean[r], s = rstd[r];
        Vec sum_g = {0}, sum_gx = {0};
        for (int c = 0; c < whole; c += LANES) {
            Vec d = load(dy + c), normal = (load(x + c) - m) * s, g = d * load(weight + c);
            store(dweight + c, load(dweight + c) + d * normal);
            store(dbias + c, load(dbias + c) + d);
            sum_g += g;
            sum_gx += g * normal;
        }
        if (part) { /* d is zero past the end, so nothing is added there */
            Vec d = load_part(dy + whole, part), normal = (load_part(x + whole, part) - m) * s;
            Vec g = d * load_part(weight + whole, part);
            store_part(dweight + whole, load_part(dweight + whole, part) + d * normal, part);
            store_part(dbias + whole, load_part(dbias + whole, part) + d, part);
            sum_g += g;
            sum_gx += g * normal;
        }
        float mean_g = sum_lanes(sum_g) / (float)cols, mean_gx = sum_lanes(sum_gx) / (float)cols;
        for (int c = 0; c < whole; c += LANES) {
            Vec normal = (load(x + c) - m) * s;
            Vec gradient = (load(dy + c) * load(weight + c) - mean_g - normal * mean_gx) * s;
            store(dx + c, add ? load(dx + c) + gradient : gradient);
        }
        if (part) {
            Vec normal = (load_part(x + whole, part) - m) * s;
            Vec g = load_part(dy + whole, part) * load_part(weight + whole, part);
            Vec gradient = (g - mean_g - normal * mean_gx) * s;
            store_part(dx + whole, add ? load_part(dx + whole, part) + gradient : gradient, part);
        }
    }
}

INLINE float row_max(int cols, const float *x)
{
    Vec lowest = splat(-INFINITY), largest[2] = {lowest, lowest};
    int c = 0;
    for (; c + 2 * LANES <= cols; c += 2 * LANES) {
        largest[0] = max_vec(load(x + c), largest[0]);
        largest[1] = max_vec(load(x + c + LANES), largest[1]);
    }
    for (; c < cols; c += LANES) {
        int n = cols - c < LANES ? cols - c : LANES;
        largest[0] = max_vec(select_vec(first_lanes(n), load_part(x + c, n), lowest), largest[0]);
    }
    return max_lanes(max_vec(largest[0], largest[1]));
}

/* x = 2^(factor * x - shift); returns the sum. */
INLINE float row_exp(int cols, float factor, float shift, float *x)
{
    Vec total = {0};
    int c = 0;
    for (; c + LANES <= cols; c += LANES) {
        Vec e = exp2_vec(load(x + c) * factor - shift);
        store(x + c, e);
        total += e;
    }
    if (c < cols) {
        Vec e = exp2_vec(load_part(x + c, cols - c) * factor - shift);
        store_part(x + c, e, cols - c);
        total += (Vec)((VecInt)e & first_lanes(cols - c));
    }
    return sum_lanes(total);
}

/* As many rows at a time as a vector has lanes, all maxima before the first exponential: a row's own would have to
 * wait. */
static void simd_softmax_step(int rows, int cols, float scale, float *s, int lds, float *max, float *sum,
                              float *correction)
{
    for (int r = 0; r < rows; r += LANES) {
        int n = rows - r < LANES ? rows - r : LANES;
        float values[LANES] = {0}, *block = s + (int64_t)r * lds;
        for (int i = 0; i < n; i++) values[i] = row_max(cols, block + (int64_t)i * lds);
        Vec before = load_part(max + r, n), now = max_vec(load(values) * scale, before);
        Vec change = select_vec(before == now, splat(1.0f), exp_vec(before - now));
        store_part(max + r, now, n);
        store_part(correction + r, change, n);
        store(values, now * LOG2_E);
        for (int i = 0; i < n; i++) values[i] = row_exp(cols, scale * LOG2_E, values[i], block + (int64_t)i * lds);
        store_part(sum + r, load_part(sum + r, n) * change + load(values), n);
    }
}

static void simd_softmax_backward(int rows, int cols, float scale, float *s, int lds, float *ds, int ldds,
                                  const float *lse, const float *delta, const float *mask)
{
    int whole = cols / LANES * LANES, part = cols - whole;
    float factor = scale * LOG2_E;
    for (int r = 0; r < rows; r++, s += lds, ds += ldds) {
        const float *keep = mask ? mask + (int64_t)r * lds : NULL;
        float shift = lse[r] * LOG2_E, mean = delta[r];
        for (int c = 0; c < whole; c += LANES) {
            Vec p = exp2_vec(load(s + c) * factor - shift), d = load(ds + c), dropped = p;
            if (keep) {
                d *= load(keep + c);
                dropped *= load(keep + c);
            }
            store(s + c, dropped);
            store(ds + c, p * (d - mean) * scale);
        }
        if (part) {
            Vec p = exp2_vec(load_part(s + whole, part) * factor - shift), d = load_part(ds + whole, part), dropped = p;
            if (keep) {
                d *= load_part(keep + whole, part);
                dropped *= load_part(keep + whole, part);
            }
            store_part(s + whole, dropped, part);
            store_part(ds + whole, p * (d - mean) * scale, part);
        }
    }
}

INLINE float dot(const float *a, const float *b, int n)
{
    Vec sum = {0};
    int c = 0;
    for (; c + LANES <= n; c += LANES) sum += load(a + c) * load(b + c);
    if (c < n) sum += load_part(a + c, n - c) * load_part(b + c, n - c);
    return sum_lanes(sum);
}

static void simd_row_dots(int rows, int cols, const float *a, int lda, const float *b, int ldb, float *dots)
{
    for (int r = 0; r < rows; r++) dots[r] = dot(a + (int64_t)r * lda, b + (int64_t)r * ldb, cols);
}

static void simd_features(int rows, int cols, float *f, int ldf, const float *x, int ldx, int width)
{
    float norm = 1.0f / sqrtf((float)cols);
    for (int r = 0; r < rows; r++, f += ldf, x += ldx) {
        float half = 0.5f * dot(x, x, width);
        int c = 0;
        for (; c + LANES <= cols; c += LANES) store(f + c, exp_vec(load(f + c) - half) * norm);
        if (c < cols) store_part(f + c, exp_vec(load_part(f + c, cols - c) - half) * norm, cols - c);
    }
}

static void simd_features_backward(int rows, int cols, const float *f, int ldf, float *df, int lddf, const float *x,
                                   int ldx, int width, bool add, float *dx, int lddx)
{
    for (int r = 0; r < rows; r++, f += ldf, df += lddf, x += ldx, dx += lddx) {
        Vec sum = {0};
        int c = 0;
        for (; c + LANES <= cols; c += LANES) {
            Vec d = load(df + c) * load(f + c);
            store(df + c, d);
            sum += d;
        }
        if (c < cols) {
            Vec d = load_part(df + c, cols - c) * load_part(f + c, cols - c);
            store_part(df + c, d, cols - c);
            sum += d;
        }
        float total = sum_lanes(sum);
        for (c = 0; c + LANES <= width; c += LANES)
            store(dx + c, (add ? load(dx + c) : (Vec){0}) - load(x + c) * total);
        if (c < width) {
            Vec before = add ? load_part(dx + c, width - c) : (Vec){0};
            store_part(dx + c, before - load_part(x + c, width - c) * total, width - c);
        }
    }
}

static void simd_add_bias(int rows, int cols, const float *bias, float *x, int ldx)
{
    for (int r = 0; r < rows; r++, x += ldx) {
        int c = 0;
        for (; c + LANES <= cols; c += LANES) store(x + c, load(x + c) + load(bias + c));
        if (c < cols) store_part(x + c, load_part(x + c, cols - c) + load_part(bias + c, cols - c), cols - c);
    }
}

static void simd_residual(int rows, int cols, const float *y, int ldy, const float *bias, float scale,
                          const float *residual, int ldr, float *out, int ldo)
{
    for (int r = 0; r < rows; r++, y += ldy, residual += ldr, out += ldo) {
        int c = 0;
        for (; c + LANES <= cols; c += LANES) {
            Vec v = load(y + c);
            if (bias) v += load(bias + c);
            store(out + c, load(residual + c) + v * scale);
        }
        if (c < cols) {
            Vec v = load_part(y + c, cols - c);
            if (bias) v += load_part(bias + c, cols - c);
            store_part(out + c, load_part(residual + c, cols - c) + v * scale, cols - c);
        }
    }
}

static void simd_column_sums(int rows, int cols, const float *x, int ldx, float *sums)
{
    int c = 0;
    for (; c + LANES <= cols; c += LANES) {
        Vec sum = load(sums + c);
        for (int r = 0; r < rows; r++) sum += load(x + (int64_t)r * ldx + c);
        store(sums + c, sum);
    }
    for (; c < cols; c++) {
        float sum = sums[c];
        for (int r = 0; r < rows; r++) sum += x[(int64_t)r * ldx + c];
        sums[c] = sum;
    }
}

static void simd_scale(int rows, int cols, const float *factors, float *x, int ldx)
{
    for (int r = 0; r < rows; r++, x += ldx) {
        int c = 0;
        for (; c + LANES <= cols; c += LANES) store(x + c, load(x + c) * factors[r]);
        for (; c < cols; c++) x[c] *= factors[r];
    }
}

/* rng_at for LANES / 2 counters in a row. */
INLINE VecLong draws(uint64_t key, uint64_t counter)
{
    VecLong z = {0};
    for (int i = 0; i < LANES / 2; i++) z[i] = (uint64_t)i + 1;
    z = key + (z + counter) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void simd_dropout(int64_t n, uint64_t key, uint64_t first, double p, const float *x, float *y)
{
    typedef uint32_t VecBits __attribute__((vector_size(LANES * 4)));
    uint32_t threshold = (uint32_t)(p * 0x1p32);
    float keep = (float)(1.0 / (1.0 - p));
    int64_t i = 0;
    if (first % 2 && n > 0) {
        uint32_t bits = (uint32_t)(rng_at(key, first / 2) >> 32);
        y[0] = bits >= threshold ? x[0] * keep : 0.0f;
        i = 1;
    }
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (; i + LANES <= n; i += LANES) {
        VecBits bits = (VecBits)draws(key, (first + (uint64_t)i) / 2);
        VecInt kept = (VecInt)(bits >= ((VecBits){0} + threshold));
        store(y + i, (Vec)((VecInt)(load(x + i) * keep) & kept));
    }
#endif
    for (; i < n; i++) {
        uint64_t index = first + (uint64_t)i;
        uint32_t bits = (uint32_t)(rng_at(key, index / 2) >> (index % 2 * 32));
        y[i] = bits >= threshold ? x[i] * keep : 0.0f;
    }
}

static int64_t simd_multiply_add(int64_t rounds)
{
#if VECTOR_REGISTERS == 32
    enum { CHAINS = 24 }; /* independent, so that latency is hidden: of four cycles, in up to four units */
#else
    enum { CHAINS = 12 };
#endif
    Vec sum[CHAINS], factor = splat(0.9999f), term = splat(1e-5f);
#pragma GCC unroll 24
    for (int i = 0; i < CHAINS; i++) sum[i] = splat((float)i);
    for (int64_t round = 0; round < rounds; round++) {
#pragma GCC unroll 24
        for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * factor + term;
    }
#pragma GCC unroll 24
    for (int i = 1; i < CHAINS; i++) sum[0] += sum[i];
    return sum_lanes(sum[0]) > 0.0f ? rounds * CHAINS * LANES * 2 : 0;
}

#if defined(VECTOR_REGISTERS)
#include "core/kernels/simd_gemm.h"
#endif

/* A table of everything above with one gemm. */
#define KERNELS_TABLE(symbol, table_name, table_gemm, ...)                                                             \
    const Kernels symbol = {.name = table_name,                                                                        \
                            .gemm = table_gemm,                                                                        \
                            .gelu = simd_gelu,                                                                         \
                            .gelu_backward = simd_gelu_backward,                                                       \
                            .bias_gelu = simd_bias_gelu,                                                               \
                            .layernorm = simd_layernorm,                                                               \
                            .layernorm_apply = simd_layernorm_apply,                                                   \
                            .layernorm_backward = simd_layernorm_backward,                                             \
                            .softmax_step = simd_softmax_step,                                                         \
                            .softmax_backward = simd_softmax_backward,                                                 \
                            .features = simd_features,                                                                 \
                            .features_backward = simd_features_backward,                                               \
                            .add_bias = simd_add_bias,                                                                 \
                            .residual = simd_residual,                                                                 \
                            .column_sums = simd_column_sums,                                                           \
                            .row_dots = simd_row_dots,                                                                 \
                            .scale = simd_scale,                                                                       \
                            .dropout = simd_dropout,                                                                   \
                            .transpose = simd_transpose,                                                               \
                            .multiply_add = simd_multiply_add,                                                         \
                            __VA_ARGS__}
