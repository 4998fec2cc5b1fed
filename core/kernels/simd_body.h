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
#include "core/kernels/simd_vectors.h"
#include "core/kernels/simd_math.h"

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
