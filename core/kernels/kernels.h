/* kernels.h: the element-wise and row-wise mathematics, one table of functions per instruction set.
 *
 * Kernels are serial functions on pointers; they allocate nothing and know nothing of models. Matrices are row-major
 * with a leading dimension ("ld": floats from one row to the next). A model takes the best table of this processor once
 * and calls through it. All tables but the generic one agree in every bit; `kernels_reference` is plain C with
 * libm, and what the tests compare every other table with.
 *
 *     const Kernels *k = kernels_best();
 *     k->layernorm(rows, cols, x, cols, 1e-5f, weight, bias, y, cols, mean, rstd);
 */
#ifndef CORE_KERNELS_KERNELS_H
#define CORE_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/base/status.h"
#include "core/kernels/gemm.h"

typedef struct PackedMatrix { /* B (k, n), as packed.h tells */
    float *at;
    int n, k;
} PackedMatrix;

typedef struct Kernels {
    const char *name;

    /* C = op(A) op(B) + beta C, as gemm.h says. */
    void (*gemm)(GemmForm form, int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta,
                 float *c, int ldc);

    /* What packed.h calls; both NULL where a packed matrix is a plain one. */
    void (*pack)(GemmForm form, const PackedMatrix *b, int first, int count, const float *from, int ld);
    void (*gemm_packed)(int m, const PackedMatrix *b, int first, int count, const float *a, int lda, float beta,
                        float *c, int ldc);

    /* y = gelu(x), the exact form x * Phi(x) (Hendrycks, Gimpel 2016). y may be x. */
    void (*gelu)(int64_t n, const float *x, float *y);

    /* dx = dy * gelu'(x), and y = gelu(x) unless y is NULL. dx may be x or dy. */
    void (*gelu_backward)(int64_t n, const float *x, const float *dy, float *y, float *dx);

    /* x += bias, then y = gelu(x); bias may be NULL. */
    void (*bias_gelu)(int rows, int cols, const float *bias, float *x, int ldx, float *y, int ldy);

    /* y = (x - mean) * rstd * weight + bias per row, with rstd = 1 / sqrt(biased variance + eps); mean and rstd (rows)
     * are written. */
    void (*layernorm)(int rows, int cols, const float *x, int ldx, float eps, const float *weight, const float *bias,
                      float *y, int ldy, float *mean, float *rstd);

    /* y = (x - mean) * rstd * weight + bias with the statistics of an earlier layernorm. */
    void (*layernorm_apply)(int rows, int cols, const float *x, int ldx, const float *mean, const float *rstd,
                            const float *weight, const float *bias, float *y, int ldy);

    /* dx = (or +=, when `add`) the gradient with respect to x; dweight and dbias (cols) are added to. */
    void (*layernorm_backward)(int rows, int cols, const float *x, int ldx, const float *mean, const float *rstd,
                               const float *weight, const float *dy, int lddy, bool add, float *dx, int lddx,
                               float *dweight, float *dbias);

    /* One step of an online softmax over a tile of scores (Milakov, Gimelshein 2018): for each row
     *   max' = max(max, scale * largest score), s = exp(scale * s - max'), sum = sum * c + sum of s,
     * with c = exp(max - max') written to correction. max starts at -INFINITY, sum at 0. */
    void (*softmax_step)(int rows, int cols, float scale, float *s, int lds, float *max, float *sum, float *correction);

    /* s = p = exp(scale * s - lse[row]) and ds = scale * p * (ds - delta[row]). With a dropout mask (0 or 1/keep,
     * same leading dimension as s): s = p * mask, ds = scale * p * (ds * mask - delta). */
    void (*softmax_backward)(int rows, int cols, float scale, float *s, int lds, float *ds, int ldds, const float *lse,
                             const float *delta, const float *mask);

    /* Performer features (Choromanski et al. 2021): f = exp(f - |x|^2 / 2) / sqrt(cols), where f (rows, cols) holds
     * x w^T on entry and x is (rows, width). */
    void (*features)(int rows, int cols, float *f, int ldf, const float *x, int ldx, int width);

    /* df = df * f, and dx = (or +=, when `add`) -x * (row sum of df): what is left is dx += df w, a product. */
    void (*features_backward)(int rows, int cols, const float *f, int ldf, float *df, int lddf, const float *x, int ldx,
                              int width, bool add, float *dx, int lddx);

    void (*add_bias)(int rows, int cols, const float *bias, float *x, int ldx); /* x += bias */

    /* out = residual + scale * (y + bias); bias may be NULL; out may be y or residual. */
    void (*residual)(int rows, int cols, const float *y, int ldy, const float *bias, float scale, const float *residual,
                     int ldr, float *out, int ldo);

    void (*column_sums)(int rows, int cols, const float *x, int ldx, float *sums); /* sums += sum over rows */
    void (*row_dots)(int rows, int cols, const float *a, int lda, const float *b, int ldb, float *dots);
    void (*scale)(int rows, int cols, const float *factors, float *x, int ldx); /* x[r][c] *= factors[r] */

    /* y = x * m, m = 1/(1 - p) where draw number first + i of `key` is at least p, else 0. 0 <= p < 1; y may be x.
     * A draw is 32 bits: half of rng_at(key, index / 2), the low half first. */
    void (*dropout)(int64_t n, uint64_t key, uint64_t first, double p, const float *x, float *y);

    void (*transpose)(int rows, int cols, const float *in, int ldi, float *out, int ldo); /* out (cols, rows) = in^T */

    /* Nothing but multiply-adds in registers: returns how many floating-point operations it did, for measuring the
     * peak of a core. */
    int64_t (*multiply_add)(int64_t rounds);

    /* NULL, or what the products of this table come from, which then round their operands to bfloat16: bf16.h. */
    const struct Bf16Kernels *bf16;
} Kernels;

extern const Kernels kernels_reference;
/* Tables are named after the instruction set and, where there is a choice, the shape of the matrix product's
 * micro-kernel, rows x vectors: "avx512-8x3". All but "generic" agree in every bit. */
const Kernels *kernels_at(int index); /* those this processor can run, best first; NULL past the last */

/* The best table of this processor; or, to measure and test the others, the one that the environment's T2T_KERNELS
 * names: in full, or by its instruction set. Beside it, after a comma, may stand the name of a table of bf16.h. */
const Kernels *kernels_best(void);
/* The same, but a name that this processor cannot run, or that does not exist, is an error. */
Status kernels_choose(const Kernels **out, Error *error);
bool kernels_asked(int index, char *name, size_t size); /* the names in T2T_KERNELS; false past the last */

/* Floats of a piece of scratch memory, so that the next piece begins on a cache line of 64 bytes. */
static inline size_t floats_padded(size_t floats)
{
    return (floats + 15) / 16 * 16;
}

#endif
