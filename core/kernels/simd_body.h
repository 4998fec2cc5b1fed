/* simd_body.h: the kernels of kernels.h written once with GCC vector extensions. A file that includes this sets
 * LANES (floats in a vector) and TABLE (the name of the Kernels it defines), and is compiled for one instruction set.
 * A row's last, partial vector goes through a zero-filled copy; lanes past the end never reach memory.
 */
#include <math.h>
#include <string.h>

#include "core/kernels/kernels.h"
#include "core/rng.h"

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

INLINE Vec load_part(const float *p, int64_t n)
{
    Vec v = {0};
    memcpy(&v, p, (size_t)n * sizeof(float));
    return v;
}

INLINE void store_part(float *p, Vec v, int64_t n)
{
    memcpy(p, &v, (size_t)n * sizeof(float));
}

INLINE Vec select_vec(VecInt mask, Vec yes, Vec no)
{
    return (Vec)((mask & (VecInt)yes) | (~mask & (VecInt)no));
}

INLINE Vec max_vec(Vec a, Vec b)
{
    return select_vec(a > b, a, b);
}

INLINE VecInt first_lanes(int64_t n)
{
    VecInt lane = {0};
    for (int i = 0; i < LANES; i++) lane[i] = i < n ? -1 : 0;
    return lane;
}

INLINE float sum_lanes(Vec v)
{
    float lanes[LANES];
    memcpy(lanes, &v, sizeof v);
    for (int step = LANES / 2; step > 0; step /= 2)
        for (int i = 0; i < step; i++) lanes[i] += lanes[i + step];
    return lanes[0];
}

INLINE float max_lanes(Vec v)
{
    float largest = v[0];
    for (int i = 1; i < LANES; i++) largest = v[i] > largest ? v[i] : largest;
    return largest;
}

/* e^x within 2 ulp: x = n ln 2 + r, a polynomial for e^r, and 2^n in two factors, so that results overflow to infinity
 * and fade to zero as they should. Below -126 ln 2 the results are denormal; they are cut to zero, since no sum here
 * can tell and denormals are slow. */
INLINE Vec exp_vec(Vec x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits */
    Vec clamped = select_vec(x > splat(89.0f), splat(89.0f), x);
    Vec shifted = clamped * 1.44269504f + magic;
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

static void simd_softmax_step(int rows, int cols, float scale, float *s, int lds, float *max, float *sum,
                              float *correction)
{
    int whole = cols / LANES * LANES, part = cols - whole;
    VecInt tail = first_lanes(part);
    for (int r = 0; r < rows; r++, s += lds) {
        Vec largest = splat(-INFINITY), total = {0};
        for (int c = 0; c < whole; c += LANES) largest = max_vec(load(s + c), largest);
        if (part) largest = max_vec(select_vec(tail, load_part(s + whole, part), splat(-INFINITY)), largest);
        float before = max[r], now = scale * max_lanes(largest);
        if (now < before) now = before;
        for (int c = 0; c < whole; c += LANES) {
            Vec e = exp_vec(load(s + c) * scale - now);
            store(s + c, e);
            total += e;
        }
        if (part) {
            Vec e = (Vec)((VecInt)exp_vec(load_part(s + whole, part) * scale - now) & tail);
            store_part(s + whole, e, part);
            total += e;
        }
        max[r] = now;
        correction[r] = before == now ? 1.0f : exp_vec(splat(before - now))[0];
        sum[r] = sum[r] * correction[r] + sum_lanes(total);
    }
}

static void simd_softmax_backward(int rows, int cols, float scale, float *s, int lds, float *ds, int ldds,
                                  const float *lse, const float *delta, const float *mask)
{
    int whole = cols / LANES * LANES, part = cols - whole;
    for (int r = 0; r < rows; r++, s += lds, ds += ldds) {
        const float *keep = mask ? mask + (int64_t)r * lds : NULL;
        for (int c = 0; c < whole; c += LANES) {
            Vec p = exp_vec(load(s + c) * scale - lse[r]), d = load(ds + c), dropped = p;
            if (keep) {
                d *= load(keep + c);
                dropped *= load(keep + c);
            }
            store(s + c, dropped);
            store(ds + c, p * (d - delta[r]) * scale);
        }
        if (part) {
            Vec p = exp_vec(load_part(s + whole, part) * scale - lse[r]), d = load_part(ds + whole, part), dropped = p;
            if (keep) {
                d *= load_part(keep + whole, part);
                dropped *= load_part(keep + whole, part);
            }
            store_part(s + whole, dropped, part);
            store_part(ds + whole, p * (d - delta[r]) * scale, part);
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
    enum { CHAINS = 12 }; /* independent, so that latency is hidden; and no more than there are registers */
    Vec sum[CHAINS], factor = splat(0.9999f), term = splat(1e-5f);
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) sum[i] = splat((float)i);
    for (int64_t round = 0; round < rounds; round++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * factor + term;
    }
#pragma GCC unroll 12
    for (int i = 1; i < CHAINS; i++) sum[0] += sum[i];
    return sum_lanes(sum[0]) > 0.0f ? rounds * CHAINS * LANES * 2 : 0;
}

#include "core/kernels/simd_transpose.h"
#if LANES > 4
#include "core/kernels/simd_gemm.h"
#endif

const Kernels TABLE = {
    .name = TABLE_NAME,
#if LANES > 4
    .gemm = simd_gemm,
#else
    .gemm = gemm,
#endif
    .gelu = simd_gelu,
    .gelu_backward = simd_gelu_backward,
    .bias_gelu = simd_bias_gelu,
    .layernorm = simd_layernorm,
    .layernorm_apply = simd_layernorm_apply,
    .layernorm_backward = simd_layernorm_backward,
    .softmax_step = simd_softmax_step,
    .softmax_backward = simd_softmax_backward,
    .features = simd_features,
    .features_backward = simd_features_backward,
    .add_bias = simd_add_bias,
    .residual = simd_residual,
    .column_sums = simd_column_sums,
    .row_dots = simd_row_dots,
    .scale = simd_scale,
    .dropout = simd_dropout,
    .transpose = simd_transpose,
    .multiply_add = simd_multiply_add,
};
