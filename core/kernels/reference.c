/* The portable reference: each kernel as its definition reads, in double inside a row, with libm. Slow on purpose. */
#include <math.h>
#include <stddef.h>

#include "core/kernels/kernels.h"
#include "core/base/rng.h"

static double normal_cdf(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

static void gelu(int64_t n, const float *x, float *y)
{
    for (int64_t i = 0; i < n; i++) y[i] = (float)(x[i] * normal_cdf(x[i]));
}

static void gelu_backward(int64_t n, const float *x, const float *dy, float *y, float *dx)
{
    for (int64_t i = 0; i < n; i++) {
        double v = x[i], cdf = normal_cdf(v), density = exp(-0.5 * v * v) * 0.39894228040143267794;
        double gradient = dy[i] * (cdf + v * density);
        if (y) y[i] = (float)(v * cdf);
        dx[i] = (float)gradient;
    }
}

static void add_bias(int rows, int cols, const float *bias, float *x, int ldx)
{
    for (int r = 0; r < rows; r++, x += ldx)
        for (int c = 0; c < cols; c++) x[c] += bias[c];
}

static void bias_gelu(int rows, int cols, const float *bias, float *x, int ldx, float *y, int ldy)
{
    if (bias) add_bias(rows, cols, bias, x, ldx);
    for (int r = 0; r < rows; r++) gelu(cols, x + (int64_t)r * ldx, y + (int64_t)r * ldy);
}

static void layernorm_apply(int rows, int cols, const float *x, int ldx, const float *mean, const float *rstd,
                            const float *weight, const float *bias, float *y, int ldy)
{
    for (int r = 0; r < rows; r++, x += ldx, y += ldy)
        for (int c = 0; c < cols; c++) y[c] = (x[c] - mean[r]) * rstd[r] * weight[c] + bias[c];
}

static void layernorm(int rows, int cols, const float *x, int ldx, float eps, const float *weight, const float *bias,
                      float *y, int ldy, float *mean, float *rstd)
{
    for (int r = 0; r < rows; r++) {
        const float *row = x + (int64_t)r * ldx;
        double sum = 0, square = 0;
        for (int c = 0; c < cols; c++) sum += row[c];
        double m = sum / cols;
        for (int c = 0; c < cols; c++) square += (row[c] - m) * (row[c] - m);
        mean[r] = (float)m;
        rstd[r] = (float)(1.0 / sqrt(square / cols + eps));
    }
    layernorm_apply(rows, cols, x, ldx, mean, rstd, weight, bias, y, ldy);
}

static void layernorm_backward(int rows, int cols, const float *x, int ldx, const float *mean, const float *rstd,
                               const float *weight, const float *dy, int lddy, bool add, float *dx, int lddx,
                               float *dweight, float *dbias)
{
    for (int r = 0; r < rows; r++, x += ldx, dy += lddy, dx += lddx) {
        double sum_g = 0, sum_gx = 0;
        for (int c = 0; c < cols; c++) {
            double normal = ((double)x[c] - mean[r]) * rstd[r], g = (double)dy[c] * weight[c];
            dweight[c] += (float)(dy[c] * normal);
            dbias[c] += dy[c];
            sum_g += g;
            sum_gx += g * normal;
        }
        for (int c = 0; c < cols; c++) {
            double normal = ((double)x[c] - mean[r]) * rstd[r], g = (double)dy[c] * weight[c];
            float gradient = (float)((g - sum_g / cols - normal * sum_gx / cols) * rstd[r]);
            dx[c] = add ? dx[c] + gradient : gradient;
        }
    }
}

static void softmax_step(int rows, int cols, float scale, float *s, int lds, float *max, float *sum, float *correction)
{
    for (int r = 0; r < rows; r++, s += lds) {
        float now = max[r];
        double total = 0;
        for (int c = 0; c < cols; c++) now = fmaxf(now, scale * s[c]);
        for (int c = 0; c < cols; c++) {
            s[c] = (float)exp((double)scale * s[c] - now);
            total += s[c];
        }
        correction[r] = (float)exp((double)max[r] - now);
        max[r] = now;
        sum[r] = (float)(sum[r] * correction[r] + total);
    }
}

static void softmax_backward(int rows, int cols, float scale, float *s, int lds, float *ds, int ldds, const float *lse,
                             const float *delta, const float *mask)
{
    for (int r = 0; r < rows; r++, s += lds, ds += ldds)
        for (int c = 0; c < cols; c++) {
            double p = exp((double)scale * s[c] - lse[r]), m = mask ? mask[(int64_t)r * lds + c] : 1.0;
            s[c] = (float)(p * m);
            ds[c] = (float)(scale * p * (ds[c] * m - delta[r]));
        }
}

static void row_dots(int rows, int cols, const float *a, int lda, const float *b, int ldb, float *dots)
{
    for (int r = 0; r < rows; r++, a += lda, b += ldb) {
        double sum = 0;
        for (int c = 0; c < cols; c++) sum += (double)a[c] * b[c];
        dots[r] = (float)sum;
    }
}

static void features(int rows, int cols, float *f, int ldf, const float *x, int ldx, int width)
{
    for (int r = 0; r < rows; r++, f += ldf, x += ldx) {
        float square;
        row_dots(1, width, x, ldx, x, ldx, &square);
        for (int c = 0; c < cols; c++) f[c] = (float)(exp(f[c] - 0.5 * square) / sqrt(cols));
    }
}

static void features_backward(int rows, int cols, const float *f, int ldf, float *df, int lddf, const float *x, int ldx,
                              int width, bool add, float *dx, int lddx)
{
    for (int r = 0; r < rows; r++, f += ldf, df += lddf, x += ldx, dx += lddx) {
        double sum = 0;
        for (int c = 0; c < cols; c++) sum += df[c] *= f[c];
        for (int c = 0; c < width; c++) dx[c] = (float)((add ? dx[c] : 0.0f) - x[c] * sum);
    }
}

static void residual(int rows, int cols, const float *y, int ldy, const float *bias, float scale, const float *from,
                     int ldr, float *out, int ldo)
{
    for (int r = 0; r < rows; r++, y += ldy, from += ldr, out += ldo)
        for (int c = 0; c < cols; c++) out[c] = from[c] + scale * (y[c] + (bias ? bias[c] : 0.0f));
}

static void column_sums(int rows, int cols, const float *x, int ldx, float *sums)
{
    for (int c = 0; c < cols; c++) {
        double sum = sums[c];
        for (int r = 0; r < rows; r++) sum += x[(int64_t)r * ldx + c];
        sums[c] = (float)sum;
    }
}

static void scale_rows(int rows, int cols, const float *factors, float *x, int ldx)
{
    for (int r = 0; r < rows; r++, x += ldx)
        for (int c = 0; c < cols; c++) x[c] *= factors[r];
}

static void dropout(int64_t n, uint64_t key, uint64_t first, double p, const float *x, float *y)
{
    uint32_t threshold = (uint32_t)(p * 0x1p32);
    float keep = (float)(1.0 / (1.0 - p));
    for (int64_t i = 0; i < n; i++) {
        uint64_t index = first + (uint64_t)i, bits = rng_at(key, index / 2);
        bits = index % 2 ? bits >> 32 : bits & 0xFFFFFFFFu;
        y[i] = bits >= threshold ? x[i] * keep : 0.0f;
    }
}

static void transpose(int rows, int cols, const float *in, int ldi, float *out, int ldo)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) out[(int64_t)c * ldo + r] = in[(int64_t)r * ldi + c];
}

static int64_t multiply_add(int64_t rounds)
{
    volatile float sum = 0.0f;
    for (int64_t i = 0; i < rounds; i++) sum = sum * 0.9999f + 1e-5f;
    return 2 * rounds;
}

const Kernels kernels_reference = {
    .name = "reference",
    .gemm = gemm_reference,
    .gelu = gelu,
    .gelu_backward = gelu_backward,
    .bias_gelu = bias_gelu,
    .layernorm = layernorm,
    .layernorm_apply = layernorm_apply,
    .layernorm_backward = layernorm_backward,
    .softmax_step = softmax_step,
    .softmax_backward = softmax_backward,
    .features = features,
    .features_backward = features_backward,
    .add_bias = add_bias,
    .residual = residual,
    .column_sums = column_sums,
    .row_dots = row_dots,
    .scale = scale_rows,
    .dropout = dropout,
    .transpose = transpose,
    .multiply_add = multiply_add,
};
