/* gemm against its definition: all forms, shapes that fill no tile, strides wider than rows, beta of 0, 1 and other. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "core/kernels/gemm.h"
#include "tests/support/golden.h"

static void check(GemmForm form, int m, int n, int k, float alpha, float beta)
{
    int rows_a = form == GEMM_TN ? k : m, rows_b = form == GEMM_NT ? n : k;
    int lda = (form == GEMM_TN ? m : k) + 3, ldb = (form == GEMM_NT ? k : n) + 1, ldc = n + 2;
    float *a = malloc((size_t)(rows_a * lda + 1) * 4), *b = malloc((size_t)(rows_b * ldb + 1) * 4);
    float *want = malloc((size_t)(m * ldc) * 4), *got = malloc((size_t)(m * ldc) * 4);
    fill_scaled("a", 1, a, rows_a * lda);
    fill_scaled("b", 1, b, rows_b * ldb);
    fill_scaled("c", 1, want, m * ldc);
    fill_scaled("c", 1, got, m * ldc);
    if (beta == 0.0f) /* what is there must not be read */
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) got[i * ldc + j] = NAN;
    gemm_reference(form, m, n, k, alpha, a, lda, b, ldb, beta, want, ldc);
    gemm(form, m, n, k, alpha, a, lda, b, ldb, beta, got, ldc);
    double error = max_abs_difference(got, want, m * ldc);
    cr_assert_lt(error, 2e-6 * sqrt(k) + 1e-6, "form %d, %d x %d x %d, beta %g: off by %g", form, m, n, k, beta, error);
    free(a);
    free(b);
    free(want);
    free(got);
}

Test(gemm, agrees_with_its_definition)
{
    static const int SIZES[] = {1, 2, 5, 6, 7, 16, 17, 33, 64, 65, 147, 197};
    enum { COUNT = sizeof SIZES / sizeof SIZES[0] };
    for (int form = GEMM_NN; form <= GEMM_TN; form++)
        for (int i = 0; i < COUNT; i++)
            for (int j = 0; j < COUNT; j++)
                for (int p = 0; p < COUNT; p += 1 + (i + j) % 3)
                    check((GemmForm)form, SIZES[i], SIZES[j], SIZES[p], p % 2 ? 1.0f : 0.5f,
                          (float[]){0.0f, 1.0f, 0.25f}[(i + j + p) % 3]);
}

Test(gemm, long_and_large)
{
    for (int form = GEMM_NN; form <= GEMM_TN; form++) {
        check((GemmForm)form, 192, 384, 1000, 1.0f, 1.0f);
        check((GemmForm)form, 400, 300, 513, 1.0f, 0.0f);
        check((GemmForm)form, 3, 1000, 384, 1.0f, 0.0f);
    }
}

Test(gemm, nothing_to_do)
{
    float one = 1.0f, c = 3.0f;
    gemm(GEMM_NN, 0, 1, 1, 1.0f, &one, 1, &one, 1, 0.0f, &c, 1);
    gemm(GEMM_NN, 1, 0, 1, 1.0f, &one, 1, &one, 1, 0.0f, &c, 1);
    cr_assert_eq(c, 3.0f);
}
