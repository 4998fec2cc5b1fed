/* simd_body.h: the kernels of kernels.h written once with GCC vector extensions. A file that includes this sets
 * LANES (floats in a vector), and VECTOR_REGISTERS where it wants the matrix product too, and ends with its
 * KERNELS_TABLEs; it is compiled for one instruction set.
 * A row's last, partial vector goes through a zero-filled copy; lanes past the end never reach memory.
 *
 * Vectors of different width give the same bits where multiply-adds are fused (all but the generic table): what is fused
 * is said (multiply_add; the compiler fuses nothing, see the Makefile), and sums over a row are of 16 lanes whatever the
 * vector (WideSum).
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

/* a * b + c; where the processor can, rounded once. */
INLINE Vec multiply_add(Vec a, Vec b, Vec c)
{
#if LANES == 16
    return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif LANES == 8
    return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(VECTOR_REGISTERS)
    return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

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

/* The sums of 16 lanes: lane l adds up elements l, l + 16, ... of a row. */
enum { WIDE = 16, PARTS = WIDE / LANES };

typedef struct WideSum {
    Vec part[PARTS];
} WideSum;

/* Of the 16: l and l + 8, then l and l + 4, 2, 1. */
INLINE float sum_lanes(WideSum sum)
{
    Vec v = sum.part[0];
#if LANES == 16
    v += SWAP_LANES(v, 8);
#elif LANES == 8
    v += sum.part[1];
#else
    v = (v + sum.part[2]) + (sum.part[1] + sum.part[3]);
#endif
#if LANES > 4
    v += SWAP_LANES(v, 4);
#endif
    v += SWAP_LANES(v, 2);
    v += SWAP_LANES(v, 1);
    return v[0];
}

/* Runs a block for each vector of a row of `cols`: at column c, with n lanes of it, as part `part` of a WideSum. n is a
 * constant but for the end. */
#define EACH_VECTOR(cols, ...)                                                                                         \
    do {                                                                                                               \
        int c = 0;                                                                                                     \
        for (; c + WIDE <= (cols);) {                                                                                  \
            const int n = LANES;                                                                                       \
            _Pragma("GCC unroll 4") for (int part = 0; part < PARTS; part++, c += LANES) __VA_ARGS__                   \
        }                                                                                                              \
        _Pragma("GCC unroll 4") for (int part = 0; part < PARTS; part++, c += LANES)                                   \
        {                                                                                                              \
            const int n = (cols)-c < LANES ? (cols)-c : LANES;                                                         \
            if (n <= 0) break;                                                                                         \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    } while (0)

INLINE Vec load_lanes(const float *p, int n)
{
    return n == LANES ? load(p) : load_part(p, n);
}

INLINE void store_lanes(float *p, Vec v, int n)
{
    if (n == LANES)
        store(p, v);
    else
        store_part(p, v, n);
}

/* Zero in all lanes but the first n. */
INLINE Vec keep_lanes(Vec v, int n)
{
    return n == LANES ? v : (Vec)((VecInt)v & first_lanes(n));
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
    Vec shifted = multiply_add(clamped, splat(LOG2_E), splat(magic));
    Vec n = shifted - magic;
    VecInt exponent = (VecInt)shifted - (VecInt)splat(magic);
    Vec r = multiply_add(n, splat(-0.693145752f), clamped);
    r = multiply_add(n, splat(-1.42860677e-6f), r);
    Vec p = splat(1.98412698e-4f); /* Taylor to degree 7: |r| <= ln 2 / 2, rest below 6e-9 */
    p = multiply_add(p, r, splat(1.38888889e-3f));
    p = multiply_add(p, r, splat(8.33333333e-3f));
    p = multiply_add(p, r, splat(4.16666667e-2f));
    p = multiply_add(p, r, splat(1.66666667e-1f));
    p = multiply_add(p, r, splat(0.5f));
    p = multiply_add(p * r, r, r) + 1.0f;
    VecInt half = exponent >> 1;
    Vec scale1 = (Vec)((half + 127) << 23), scale2 = (Vec)((exponent - half + 127) << 23);
    return (Vec)((VecInt)(p * scale1 * scale2) & ~(x < splat(-87.3f))); /* NaN stays NaN */
}

/* 2^(n + r), |r| <= 1/2, by a polynomial of least relative error (8e-8) for 2^r. `shifted` is n + 1.5 * 2^23: shifted
 * up to the exponent, magic's own bits fall off, and n is added to the exponent. No denormal results: n >= -126. */
INLINE Vec exp2_within_half(Vec r, Vec shifted)
{
    Vec p = multiply_add(r, splat(1.32764725e-3f), splat(9.67554096e-3f));
    p = multiply_add(p, r, splat(5.55071309e-2f));
    p = multiply_add(p, r, splat(2.40221202e-1f));
    p = multiply_add(p, r, splat(6.93146944e-1f));
    p = multiply_add(p, r, splat(1.00000012f));
    return (Vec)((VecInt)p + ((VecInt)shifted << 23));
}

/* 2^x for x <= 127 within 2 ulp. Nothing is below 2^-100: no sum of softmax can tell, and products with it do not become
 * denormal. NaN stays NaN. */
INLINE Vec exp2_vec(Vec x)
{
    const float magic = 12582912.0f;
    Vec clamped = max_vec(splat(-100.0f), x);
    Vec shifted = clamped + magic;
    return exp2_within_half(clamped - (shifted - magic), shifted);
}

/* 1 / d for 1 <= d <= 4, given -d, within 1 ulp or so: the first guess subtracts the bits of d, exponent and all, from
 * a constant (off by 5 % at most), then a step of third and one of second order. A division would take longer than all
 * else here. */
INLINE Vec reciprocal_of_negated(Vec minus_d)
{
    Vec y = (Vec)(0x7EF311C7 - ((VecInt)minus_d & 0x7FFFFFFF));
    Vec error = multiply_add(minus_d, y, splat(1.0f));
    y = multiply_add(y, multiply_add(error, error, error), y);
    return multiply_add(y, multiply_add(minus_d, y, splat(1.0f)), y);
}

/* Phi(x), the normal distribution, and e = exp(-x^2 / 2). For a >= 0, Phi(-a) = e t P(t), t = 1 / (1 + 0.21 a): the
 * form of Abramowitz and Stegun 7.1.26 with a polynomial fitted to 1.4e-8, relative, for all a <= 13. e is a power of
 * two as in exp2_vec; beyond 13.2, where it would be denormal, it is zero. NaN gives e = 0 and Phi = 0: who multiplies by
 * x has a NaN again. */
INLINE Vec normal_cdf(Vec x, Vec *e)
{
    const float furthest = -13.2f, magic = 12582912.0f, half_log2_e = 0.721347520f;
    Vec a = max_vec((Vec)((VecInt)x | (VecInt)splat(-0.0f)), splat(furthest)); /* -|x| */
    Vec square = a * a, shifted = multiply_add(square, splat(-half_log2_e), splat(magic));
    Vec power = exp2_within_half(multiply_add(square, splat(-half_log2_e), magic - shifted), shifted);
    *e = (Vec)((VecInt)power & (a > splat(furthest)));
    Vec t = reciprocal_of_negated(multiply_add(a, splat(0.21f), splat(-1.0f)));
    Vec p = multiply_add(t, splat(-7.204896630e-2f), splat(2.855273982e-1f));
    p = multiply_add(p, t, splat(-3.343457874e-1f));
    p = multiply_add(p, t, splat(3.542172678e-1f));
    p = multiply_add(p, t, splat(-9.737719585e-2f));
    p = multiply_add(p, t, splat(1.264137868e-1f));
    p = multiply_add(p, t, splat(6.877414972e-2f));
    p = multiply_add(p, t, splat(8.513179870e-2f));
    p = multiply_add(p, t, splat(8.370755010e-2f));
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
    return multiply_add(x * e, splat(0.398942280f), cdf); /* 1 / sqrt(2 pi) */
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
        EACH_VECTOR(cols, {
            Vec normal = (load_lanes(x + c, n) - m) * s;
            store_lanes(y + c, multiply_add(normal, load_lanes(weight + c, n), load_lanes(bias + c, n)), n);
        });
    }
}

static void simd_layernorm(int rows, int cols, const float *x, int ldx, float eps, const float *weight,
                           const float *bias, float *y, int ldy, float *mean, float *rstd)
{
    for (int r = 0; r < rows; r++) {
        const float *row = x + (int64_t)r * ldx;
        WideSum sum = {0}, square = {0};
        EACH_VECTOR(cols, { sum.part[part] += load_lanes(row + c, n); });
        float m = sum_lanes(sum) / (float)cols;
        EACH_VECTOR(cols, {
            Vec d = keep_lanes(load_lanes(row + c, n) - m, n);
            square.part[part] = multiply_add(d, d, square.part[part]);
        });
        mean[r] = m;
        rstd[r] = 1.0f / sqrtf(sum_lanes(square) / (float)cols + eps);
        simd_layernorm_apply(1, cols, row, ldx, mean + r, rstd + r, weight, bias, y + (int64_t)r * ldy, ldy);
    }
}

static void simd_layernorm_backward(int rows, int cols, const float *x, int ldx, const float *mean, const float *rstd,
                                    const float *weight, const float *dy, int lddy, bool add, float *dx, int lddx,
                                    float *dweight, float *dbias)
{
    for (int r = 0; r < rows; r++, x += ldx, dy += lddy, dx += lddx) {
        float m = mean[r], s = rstd[r];
        WideSum sum_g = {0}, sum_gx = {0};
        EACH_VECTOR(cols, { /* d is zero past the end, so nothing is added there */
                            Vec d = load_lanes(dy + c, n);
                            Vec normal = (load_lanes(x + c, n) - m) * s;
                            Vec g = d * load_lanes(weight + c, n);
                            store_lanes(dweight + c, multiply_add(d, normal, load_lanes(dweight + c, n)), n);
                            store_lanes(dbias + c, load_lanes(dbias + c, n) + d, n);
                            sum_g.part[part] += g;
                            sum_gx.part[part] = multiply_add(g, normal, sum_gx.part[part]);
        });
        float mean_g = sum_lanes(sum_g) / (float)cols, mean_gx = sum_lanes(sum_gx) / (float)cols;
        EACH_VECTOR(cols, {
            Vec normal = (load_lanes(x + c, n) - m) * s;
            Vec g = multiply_add(load_lanes(dy + c, n), load_lanes(weight + c, n), splat(-mean_g));
            Vec gradient = multiply_add(normal, splat(-mean_gx), g) * s;
            store_lanes(dx + c, add ? load_lanes(dx + c, n) + gradient : gradient, n);
        });
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
    WideSum total = {0};
    EACH_VECTOR(cols, {
        Vec e = exp2_vec(multiply_add(load_lanes(x + c, n), splat(factor), splat(-shift)));
        store_lanes(x + c, e, n);
        total.part[part] += keep_lanes(e, n);
    });
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
        /* Which of 0 and -0 is found as the largest depends on the width of a vector: both become 0. */
        Vec before = load_part(max + r, n), now = max_vec(load(values) * scale + 0.0f, before);
        Vec change = select_vec(before == now, splat(1.0f), exp_vec(before - now));
        store_part(max + r, now, n);
        store_part(correction + r, change, n);
        store(values, now * LOG2_E);
        for (int i = 0; i < n; i++) values[i] = row_exp(cols, scale * LOG2_E, values[i], block + (int64_t)i * lds);
        store_part(sum + r, multiply_add(load_part(sum + r, n), change, load(values)), n);
    }
}

static void simd_softmax_backward(int rows, int cols, float scale, float *s, int lds, float *ds, int ldds,
                                  const float *lse, const float *delta, const float *mask)
{
    float factor = scale * LOG2_E;
    for (int r = 0; r < rows; r++, s += lds, ds += ldds) {
        const float *keep = mask ? mask + (int64_t)r * lds : NULL;
        float shift = lse[r] * LOG2_E, mean = delta[r];
        EACH_VECTOR(cols, {
            Vec p = exp2_vec(multiply_add(load_lanes(s + c, n), splat(factor), splat(-shift)));
            Vec d = load_lanes(ds + c, n);
            Vec dropped = p;
            if (keep) {
                d *= load_lanes(keep + c, n);
                dropped *= load_lanes(keep + c, n);
            }
            store_lanes(s + c, dropped, n);
            store_lanes(ds + c, p * (d - mean) * scale, n);
        });
    }
}

INLINE float dot(const float *a, const float *b, int count)
{
    WideSum sum = {0};
    EACH_VECTOR(count, { sum.part[part] = multiply_add(load_lanes(a + c, n), load_lanes(b + c, n), sum.part[part]); });
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
        WideSum sum = {0};
        EACH_VECTOR(cols, {
            Vec d = load_lanes(df + c, n) * load_lanes(f + c, n);
            store_lanes(df + c, d, n);
            sum.part[part] += d;
        });
        Vec less = splat(-sum_lanes(sum));
        EACH_VECTOR(width, {
            Vec before = add ? load_lanes(dx + c, n) : (Vec){0};
            store_lanes(dx + c, multiply_add(load_lanes(x + c, n), less, before), n);
        });
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
            store(out + c, multiply_add(v, splat(scale), load(residual + c)));
        }
        if (c < cols) {
            Vec v = load_part(y + c, cols - c);
            if (bias) v += load_part(bias + c, cols - c);
            store_part(out + c, multiply_add(v, splat(scale), load_part(residual + c, cols - c)), cols - c);
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
        for (int i = 0; i < CHAINS; i++) sum[i] = multiply_add(sum[i], factor, term);
    }
#pragma GCC unroll 24
    for (int i = 1; i < CHAINS; i++) sum[0] += sum[i];
    return sum[0][0] > 0.0f ? rounds * CHAINS * LANES * 2 : 0;
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
