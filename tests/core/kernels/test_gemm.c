/* gemm against its definition: all forms, shapes that fill no tile, strides wider than rows, beta of 0, 1 and other. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernels/packed.h"
#include "tests/support/golden.h"

typedef void (*Gemm)(GemmForm form, int m, int n, int k, const float *a, int lda, const float *b, int ldb, float beta,
                     float *c, int ldc);

/* BLIS, then the tables'. */
static Gemm gemm_at(int index)
{
    const Kernels *kernels = index ? kernels_at(index - 1) : NULL;
    return index == 0 ? gemm : kernels ? kernels->gemm : NULL;
}

static void check(Gemm run, GemmForm form, int m, int n, int k, float beta)
{
    int rows_a = form == GEMM_TN ? k : m, rows_b = form == GEMM_NT ? n : k;
    int lda = (form == GEMM_TN ? m : k) + 3, ldb = (form == GEMM_NT ? k : n) + 1, ldc = n + 2;
    /* BLIS 0.9's edge kernels read (but do not use) floats past the end of an operand: it gets some. Ours must not. */
    size_t slack = run == gemm ? 1024 : 0;
    float *a = malloc((size_t)(rows_a * lda) * 4 + slack), *b = malloc((size_t)(rows_b * ldb) * 4 + slack);
    float *want = malloc((size_t)(m * ldc) * 4 + slack), *got = malloc((size_t)(m * ldc) * 4 + slack);
    fill_scaled("a", 1, a, rows_a * lda);
    fill_scaled("b", 1, b, rows_b * ldb);
    fill_scaled("c", 1, want, m * ldc);
    fill_scaled("c", 1, got, m * ldc);
    if (beta == 0.0f) /* what is there must not be read */
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) got[i * ldc + j] = NAN;
    gemm_reference(form, m, n, k, a, lda, b, ldb, beta, want, ldc);
    run(form, m, n, k, a, lda, b, ldb, beta, got, ldc);
    double error = max_abs_difference(got, want, m * ldc);
    cr_assert_lt(error, 2e-6 * sqrt(k) + 1e-6, "form %d, %d x %d x %d, beta %g: off by %g", form, m, n, k, beta, error);
    free(a);
    free(b);
    free(want);
    free(got);
}

Test(gemm, agrees_with_its_definition)
{
    static const int SIZES[] = {1, 2, 5, 6, 7, 12, 16, 17, 33, 64, 65, 147, 197};
    enum { COUNT = sizeof SIZES / sizeof SIZES[0] };
    static const float BETAS[] = {0.0f, 1.0f, 0.25f};
    for (int table = 0; gemm_at(table); table++)
        for (int form = GEMM_NN; form <= GEMM_TN; form++)
            for (int i = 0; i < COUNT; i++)
                for (int j = 0; j < COUNT; j++)
                    for (int p = (i + j) % 3; p < COUNT; p += 3)
                        check(gemm_at(table), (GemmForm)form, SIZES[i], SIZES[j], SIZES[p], BETAS[(i + j + p) % 3]);
}

Test(gemm, long_and_large)
{
    for (int table = 0; gemm_at(table); table++)
        for (int form = GEMM_NN; form <= GEMM_TN; form++) {
            check(gemm_at(table), (GemmForm)form, 192, 384, 1000, 1.0f);
            check(gemm_at(table), (GemmForm)form, 400, 300, 1153, 0.0f);
            check(gemm_at(table), (GemmForm)form, 3, 1000, 384, 0.0f);
        }
}

Test(gemm, nothing_to_do)
{
    for (int table = 0; gemm_at(table); table++) {
        static float many[200 * 64];
        float one = 1.0f, c = 3.0f;
        gemm_at(table)(GEMM_NN, 0, 1, 1, &one, 1, &one, 1, 0.0f, &c, 1);
        gemm_at(table)(GEMM_NN, 0, 64, 200, many, 200, many, 64, 0.0f, &c, 1);
        gemm_at(table)(GEMM_NN, 1, 0, 1, &one, 1, &one, 1, 0.0f, &c, 1);
        cr_assert_eq(c, 3.0f);
        gemm_at(table)(GEMM_NN, 1, 1, 0, &one, 1, &one, 1, 0.5f, &c, 1);
        cr_assert_eq(c, 1.5f);
    }
}

/* A product of table `index` in memory that the caller frees. */
static float *product_of(const Kernels *kernels, GemmForm form, int m, int n, int k, float beta)
{
    int lda = (form == GEMM_TN ? m : k) + 5, ldb = (form == GEMM_NT ? k : n) + 3;
    size_t size_a = (size_t)(lda * (form == GEMM_TN ? k : m)), size_b = (size_t)(ldb * (form == GEMM_NT ? n : k));
    float *a = malloc(size_a * 4), *b = malloc(size_b * 4), *c = malloc((size_t)(m * n) * 4);
    fill_scaled("a", 1, a, (int64_t)size_a);
    fill_scaled("b", 1, b, (int64_t)size_b);
    fill_scaled("c", 1, c, m * n);
    kernels->gemm(form, m, n, k, a, lda, b, ldb, beta, c, n);
    free(a);
    free(b);
    return c;
}

/* A run may go on with another shape of the micro-kernel: it must not show. */
/* Shapes of micro-kernels, and instruction sets: all but BLIS. */
Test(gemm, tables_agree_in_every_bit)
{
    static const int SHAPES[][3] = {{1, 1, 1},      {7, 17, 5},      {13, 49, 64},   {64, 64, 196},   {100, 147, 530},
                                    {197, 208, 64}, {200, 256, 520}, {197, 64, 200}, {211, 384, 1100}};
    for (int t = 0; kernels_at(t) && kernels_at(t + 1); t++) {
        const Kernels *one = kernels_at(t), *other = kernels_at(t + 1);
        if (strcmp(other->name, "generic") == 0) continue;
        for (int form = GEMM_NN; form <= GEMM_TN; form++)
            for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++)
                for (int beta = 0; beta < 3; beta++) {
                    int m = SHAPES[i][0], n = SHAPES[i][1], k = SHAPES[i][2];
                    float *x = product_of(one, (GemmForm)form, m, n, k, 0.5f * (float)beta);
                    float *y = product_of(other, (GemmForm)form, m, n, k, 0.5f * (float)beta);
                    cr_expect_eq(memcmp(x, y, (size_t)(m * n) * 4), 0, "%s, %s: form %d, %d x %d x %d, beta %g",
                                 one->name, other->name, form, m, n, k, 0.5 * beta);
                    free(x);
                    free(y);
                }
    }
}

/* b filled in parts, as threads do, from `plain` (k, n) or its transpose. */
static PackedMatrix pack_of(const Kernels *kernels, GemmForm form, int n, int k, const float *plain)
{
    PackedMatrix b = {malloc(packed_floats(n, k) * 4), n, k};
    float *transposed = malloc((size_t)(n * k) * 4);
    memset(b.at, 0xff, packed_floats(n, k) * 4); /* NaN: what is not filled must not be used */
    for (int j = 0; j < n; j++)
        for (int p = 0; p < k; p++) transposed[j * k + p] = plain[p * n + j];
    for (int j = 0; j < n; j += 96)
        packed_fill(kernels, &b, form, j, n - j < 96 ? n - j : 96,
                    form == GEMM_NT ? transposed + (ptrdiff_t)j * k : plain + j, form == GEMM_NT ? k : n);
    free(transposed);
    return b;
}

/* Products of all columns of b, and of some, against gemm's of the plain matrix. */
static void check_packed(const Kernels *kernels, GemmForm form, int m, int n, int k, int first, int count, float beta)
{
    float *a = malloc((size_t)(m * k) * 4), *plain = malloc((size_t)(k * n) * 4);
    float *want = malloc((size_t)(m * count) * 4), *got = malloc((size_t)(m * count) * 4);
    fill_scaled("a", 1, a, m * k);
    fill_scaled("b", 1, plain, k * n);
    fill_scaled("c", 1, want, m * count);
    fill_scaled("c", 1, got, m * count);
    PackedMatrix b = pack_of(kernels, form, n, k, plain);
    kernels->gemm(GEMM_NN, m, count, k, a, k, plain + first, n, beta, want, count);
    packed_gemm(kernels, m, &b, first, count, a, k, beta, got, count);
    cr_expect_eq(memcmp(got, want, (size_t)(m * count) * 4), 0, "%s: %d x %d of %d from %d, k %d, beta %g",
                 kernels->name, m, count, n, first, k, (double)beta);
    free(a);
    free(plain);
    free(want);
    free(got);
    free(b.at);
}

Test(gemm, of_a_packed_matrix_has_the_same_bits)
{
    static const int COLUMNS[] = {1, 16, 17, 32, 48, 64, 65, 80, 112, 147, 192, 384};
    for (int t = 0; kernels_at(t); t++)
        for (size_t i = 0; i < sizeof COLUMNS / sizeof COLUMNS[0]; i++) {
            int n = COLUMNS[i];
            GemmForm form = i % 2 ? GEMM_NT : GEMM_NN;
            check_packed(kernels_at(t), form, 13, n, 64, 0, n, 0.0f);
            check_packed(kernels_at(t), form == GEMM_NT ? GEMM_NN : GEMM_NT, 50, n, 530, 0, n, 1.0f);
            check_packed(kernels_at(t), form, 4, n, 147, n / 3, n - n / 3, 0.0f);
            check_packed(kernels_at(t), form, 9, n, 40, n / 5, n / 2 + 1, 0.5f);
        }
}
