/* gemm.h: the matrix product, row-major, serial: our threads call it side by side.
 *
 *     C (m, n) = alpha * op(A) * op(B) + beta * C
 *
 *     gemm(GEMM_NN, rows, 1152, 384, 1, x, 384, weights_transposed, 1152, 0, y, 1152);
 *
 * GEMM_NN: A (m, k), B (k, n). GEMM_NT: B (n, k). GEMM_TN: A (k, m), B (k, n), as weight gradients need.
 * With beta = 0, C is not read. ld* are floats from one row to the next of the matrix as stored.
 */
#ifndef CORE_KERNELS_GEMM_H
#define CORE_KERNELS_GEMM_H

typedef enum GemmForm { GEMM_NN, GEMM_NT, GEMM_TN } GemmForm;

void gemm(GemmForm form, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb, float beta,
          float *c, int ldc);

/* The definition, as three loops: what the tests compare with. */
void gemm_reference(GemmForm form, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
                    float beta, float *c, int ldc);

#endif
