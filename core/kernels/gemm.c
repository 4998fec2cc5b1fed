#include "core/kernels/gemm.h"

/* BLIS's cblas.h brings static functions along that nobody uses. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <cblas.h>
#pragma GCC diagnostic pop
#include <stdint.h>

void gemm(GemmForm form, int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta, float *c,
          int ldc)
{
    if (m <= 0 || n <= 0) return;
    cblas_sgemm(CblasRowMajor, form == GEMM_TN ? CblasTrans : CblasNoTrans, form == GEMM_NT ? CblasTrans : CblasNoTrans,
                m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
}

void gemm_reference(GemmForm form, int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta,
                    float *c, int ldc)
{
    int64_t rs_a = form == GEMM_TN ? 1 : lda, cs_a = form == GEMM_TN ? lda : 1;
    int64_t rs_b = form == GEMM_NT ? 1 : ldb, cs_b = form == GEMM_NT ? ldb : 1;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int p = 0; p < k; p++) sum += (double)a[i * rs_a + p * cs_a] * b[p * rs_b + j * cs_b];
            float *out = c + (int64_t)i * ldc + j;
            *out = (float)(sum + (beta == 0.0f ? 0.0 : (double)beta * *out));
        }
}
