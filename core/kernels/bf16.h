/* bf16.h: matrix products of bfloat16 operands that accumulate in float32, one table per way to multiply them.
 *
 * `amx` multiplies tiles (TDPBF16PS), `avx512_bf16` pairs in vectors (VDPBF16PS); `bf16_emulated` and `amx_emulated` are
 * plain C that rounds and accumulates as these two do, bit for bit: for tests, and to see on any processor what bf16
 * does to a model. Elsewhere emulation is many times slower than float32, so nobody gets it without asking.
 *
 * Floats become bfloat16 by rounding to nearest, ties to even, subnormal ones zero; products and sums are fused, rounded
 * to nearest even, subnormal results zero. An element of C is one chain of sums along k in an order that depends on
 * nothing but the table, so that blocks, tiles and threads do not change a bit. With `at` the elements of A and B:
 *
 *     VDPBF16PS   for each pair (p, p+1) of k:        c = fma(a[p+1], b[p+1], c), c = fma(a[p], b[p], c)
 *     TDPBF16PS   for each 32 of k, from t0 = t1 = 0: t0 = fma(a[p], b[p], t0), t1 = fma(a[p+1], b[p+1], t1) for its
 *                 pairs, then c = c + (t0 + t1)
 *
 * (Intel, Instruction Set Extensions Programming Reference; the tests compare the emulation with the processor.)
 *
 *     Kernels kernels;                                              // belongs to the caller
 *     Status status = kernels_of_precision(&kernels, PRECISION_BF16, error);
 *     kernels.gemm(GEMM_NN, ...);                                   // rounds its operands
 *     kernels.bf16->gemm_stored(m, n, k, a, lda, b, ldb, ...);      // operands that were rounded before
 */
#ifndef CORE_KERNELS_BF16_H
#define CORE_KERNELS_BF16_H

#include "core/kernels/kernels.h"

typedef enum Precision {
    PRECISION_FP32,
    PRECISION_BF16, /* products of matrices take bfloat16 operands; all else is float32 */
} Precision;

typedef struct Bf16Kernels {
    const char *name;

    /* As in Kernels: float32 operands, which are rounded. Packed matrices hold bfloat16. */
    void (*gemm)(GemmForm form, int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta,
                 float *c, int ldc);
    void (*pack)(GemmForm form, const PackedMatrix *b, int first, int count, const float *from, int ld);
    void (*gemm_packed)(int m, const PackedMatrix *b, int first, int count, const float *a, int lda, float beta,
                        float *c, int ldc);

    /* gemm (GEMM_TN) and gemm_packed of operands that are bfloat16 in memory; ld* count elements. */
    void (*gradient_stored)(int m, int n, int k, const uint16_t *a, int lda, const uint16_t *b, int ldb, float beta,
                            float *c, int ldc);
    void (*packed_stored)(int m, const PackedMatrix *b, int first, int count, const uint16_t *a, int lda, float beta,
                          float *c, int ldc);

    void (*narrow)(int rows, int cols, const float *x, int ldx, uint16_t *y, int ldy); /* y = x, rounded */
    void (*widen)(int rows, int cols, const uint16_t *x, int ldx, float *y, int ldy);  /* y = x */
} Bf16Kernels;

const Bf16Kernels *bf16_at(int index); /* those that can run here, the fastest first, emulations last; NULL past them */

const Bf16Kernels *bf16_named(const char *name); /* one of them, or NULL */

/* The table of products that this processor is best at, or that T2T_KERNELS names; STATUS_USAGE where the processor has
 * neither instruction (saying what it lacks) or the name cannot run. */
Status bf16_choose(const Bf16Kernels **out, Error *error);

/* The table of kernels_choose, and for PRECISION_BF16 its products replaced by those of bf16_choose. */
Status kernels_of_precision(Kernels *out, Precision precision, Error *error);

size_t bf16_packed_floats(int n, int k); /* floats that a packed matrix of bfloat16 fills */

#endif
