/* gemm.h: the matrix product, row-major, serial: our threads call it side by side.
 *
 * gemm is BLIS (or whatever BLAS was linked). A model calls through its table, kernels->gemm, which on AVX2 and AVX-512
 * is a micro-kernel of our own, and this function elsewhere.
 *
 *     C (m, n) = op(A) op(B) + beta C
 *
 *     gemm(GEMM_NN, rows, 1152, 384, x, 384, weights_transposed, 1152, 0, y, 1152);
 *
 * GEMM_NN: A (m, k), B (k, n). GEMM_NT: B (n, k). GEMM_TN: A (k, m), B (k, n), as weight gradients need.
 * With beta = 0, C is not read. ld* are floats from one row to the next of the matrix as stored.
 */
#ifndef CORE_KERNELS_GEMM_H
#define CORE_KERNELS_GEMM_H

typedef enum GemmForm { GEMM_NN, GEMM_NT, GEMM_TN } GemmForm;

void gemm(GemmForm form, int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c,
          int ldc);

/* The definition, as three loops: what the tests compare with. */
void gemm_reference(GemmForm form, int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta,
                    float *c, int ldc);

#endif
