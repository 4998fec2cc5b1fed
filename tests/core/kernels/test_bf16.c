/* Products of bfloat16: each table against the definition with operands rounded one by one, the instructions against
 * their emulation bit by bit, and what the environment may ask for. */
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/half.h"
#include "core/kernels/bf16.h"
#include "core/kernels/packed.h"
#include "tests/support/golden.h"

typedef struct Product {
    GemmForm form;
    int m, n, k, lda, ldb, ldc;
    float beta;
    float *a, *b, *c;
} Product;

static size_t floats_of(int rows, int ld)
{
    return (size_t)rows * (size_t)ld;
}

static size_t size_a(const Product *p)
{
    return floats_of(p->form == GEMM_TN ? p->k : p->m, p->lda);
}

static size_t size_b(const Product *p)
{
    return floats_of(p->form == GEMM_NT ? p->n : p->k, p->ldb);
}

static Product product_make(GemmForm form, int m, int n, int k, float beta)
{
    Product p = {.form = form, .m = m, .n = n, .k = k, .beta = beta, .ldc = n + 2};
    p.lda = (form == GEMM_TN ? m : k) + 3;
    p.ldb = (form == GEMM_NT ? k : n) + 1;
    p.a = malloc(size_a(&p) * 4);
    p.b = malloc(size_b(&p) * 4);
    p.c = malloc(floats_of(m, p.ldc) * 4);
    fill_scaled("a", 1, p.a, (int64_t)size_a(&p));
    fill_scaled("b", 1, p.b, (int64_t)size_b(&p));
    fill_scaled("c", 1, p.c, (int64_t)m * p.ldc);
    return p;
}

static void product_free(Product *p)
{
    free(p->a);
    free(p->b);
    free(p->c);
}

/* C as `kernels` computes it; the caller frees it. */
static float *product_of(const Product *p, const Bf16Kernels *kernels)
{
    size_t bytes = floats_of(p->m, p->ldc) * 4;
    float *c = malloc(bytes);
    memcpy(c, p->c, bytes);
    if (p->beta == 0.0f) /* what is there must not be read */
        for (int i = 0; i < p->m; i++)
            for (int j = 0; j < p->n; j++) c[i * p->ldc + j] = NAN;
    kernels->gemm(p->form, p->m, p->n, p->k, p->a, p->lda, p->b, p->ldb, p->beta, c, p->ldc);
    return c;
}

static void round_all(float *x, size_t count)
{
    for (size_t i = 0; i < count; i++) x[i] = bfloat_to_float(float_to_bfloat(x[i]));
}

static void check(const Bf16Kernels *kernels, GemmForm form, int m, int n, int k, float beta)
{
    Product p = product_make(form, m, n, k, beta);
    float *got = product_of(&p, kernels);
    round_all(p.a, size_a(&p));
    round_all(p.b, size_b(&p));
    gemm_reference(form, m, n, k, p.a, p.lda, p.b, p.ldb, beta, p.c, p.ldc);
    double error = max_abs_difference(got, p.c, (int64_t)m * p.ldc);
    cr_assert_lt(error, 2e-6 * sqrt(k) + 1e-6, "%s: form %d, %d x %d x %d, beta %g: off by %g", kernels->name, form, m,
                 n, k, (double)beta, error);
    free(got);
    product_free(&p);
}

static const int SIZES[] = {1, 2, 15, 16, 17, 31, 33, 64, 97, 147};
enum { SIZE_COUNT = sizeof SIZES / sizeof SIZES[0] };
static const float BETAS[] = {0.0f, 1.0f, 0.25f};

Test(bf16, tables_agree_with_the_definition, .timeout = 100)
{
    for (int t = 0; bf16_at(t); t++)
        for (int form = GEMM_NN; form <= GEMM_TN; form++) {
            for (int i = 0; i < SIZE_COUNT; i++)
                for (int j = i % 2; j < SIZE_COUNT; j += 2)
                    for (int p = (i + j) % 3; p < SIZE_COUNT; p += 3)
                        check(bf16_at(t), (GemmForm)form, SIZES[i], SIZES[j], SIZES[p], BETAS[(i + j + p) % 3]);
            check(bf16_at(t), (GemmForm)form, 230, 30, 520, 1.0f);
            check(bf16_at(t), (GemmForm)form, 20, 430, 520, 0.0f);
            check(bf16_at(t), (GemmForm)form, 3, 40, 0, 0.25f);
        }
}

/* Operands that show the order of sums: large terms that cancel, and what is left of small ones. */
static void make_difficult(float *x, size_t count)
{
    static const float ODD[] = {0x1p40f, -0x1p40f, 0x1p-70f, -0x1p-75f, 0x1.fep-126f, 0x1p-130f, -0x1p-149f, -0.0f};
    for (size_t i = 0; i < count; i++)
        if (i % 5 == 0) x[i] = ODD[i / 5 % (sizeof ODD / sizeof ODD[0])];
}

static void check_bits(const Bf16Kernels *one, const Bf16Kernels *other, Product p, bool difficult)
{
    if (difficult) {
        make_difficult(p.a, size_a(&p));
        make_difficult(p.b, size_b(&p));
    }
    float *x = product_of(&p, one), *y = product_of(&p, other);
    for (int i = 0; i < p.m; i++)
        for (int j = 0; j < p.n; j++) {
            float at = x[i * p.ldc + j], want = y[i * p.ldc + j];
            cr_assert_eq(float_bits(at), float_bits(want),
                         "%s: form %d, %d x %d x %d, beta %g, (%d, %d): %a, emulated %a", one->name, p.form, p.m, p.n,
                         p.k, (double)p.beta, i, j, (double)at, (double)want);
        }
    free(x);
    free(y);
    product_free(&p);
}

static void check_instruction(const char *name, const char *emulation)
{
    const Bf16Kernels *one = bf16_named(name), *other = bf16_named(emulation);
    if (!one) cr_skip_test("this processor, or its operating system, has no %s", name);
    for (int form = GEMM_NN; form <= GEMM_TN; form++)
        for (int i = 0; i < SIZE_COUNT; i++)
            for (int j = 0; j < 6; j++) {
                int m = SIZES[i], n = SIZES[(i + j) % SIZE_COUNT], k = SIZES[(i + 3 * j) % SIZE_COUNT];
                for (int beta = 0; beta < 2; beta++)
                    check_bits(one, other, product_make((GemmForm)form, m, n, k, BETAS[beta]), (i + j) % 2);
            }
    check_bits(one, other, product_make(GEMM_TN, 130, 70, 1200, 0.0f), true);
    check_bits(one, other, product_make(GEMM_NN, 130, 70, 1200, 1.0f), false);
}

Test(bf16, vectors_and_their_emulation_agree_in_every_bit, .timeout = 100)
{
    check_instruction("avx512_bf16", "bf16_emulated");
}

Test(bf16, tiles_and_their_emulation_agree_in_every_bit, .timeout = 100)
{
    check_instruction("amx", "amx_emulated");
}

/* b filled in parts, as threads do, from b (k, n) or its transpose. */
static PackedMatrix pack_of(const Bf16Kernels *kernels, GemmForm form, int n, int k, const float *plain)
{
    PackedMatrix b = {aligned_alloc(64, (packed_floats(n, k) * 4 + 63) / 64 * 64), n, k};
    float *transposed = malloc((size_t)(n * k) * 4);
    memset(b.at, 0xff, packed_floats(n, k) * 4); /* NaN: what is not filled must not be used */
    for (int j = 0; j < n; j++)
        for (int p = 0; p < k; p++) transposed[j * k + p] = plain[p * n + j];
    for (int j = 0; j < n; j += 48)
        kernels->pack(form, &b, j, n - j < 48 ? n - j : 48, form == GEMM_NT ? transposed + (ptrdiff_t)j * k : plain + j,
                      form == GEMM_NT ? k : n);
    free(transposed);
    return b;
}

static uint16_t *stored(const Bf16Kernels *kernels, int rows, int cols, const float *x, int ld)
{
    uint16_t *y = calloc(floats_of(rows, cols + 5), sizeof *y);
    kernels->narrow(rows, cols, x, ld, y, cols + 5);
    return y;
}

/* Packed, and stored as bfloat16: the same bits as the product of plain floats. */
static void check_packed(const Bf16Kernels *kernels, GemmForm form, int m, int n, int k, int first, int count,
                         float beta)
{
    Product p = product_make(GEMM_NN, m, n, k, beta);
    float *plain = malloc(floats_of(k, n) * 4), *want = malloc(floats_of(m, count) * 4), *got[2];
    for (int i = 0; i < k; i++) memcpy(plain + (ptrdiff_t)i * n, p.b + (ptrdiff_t)i * p.ldb, (size_t)n * 4);
    PackedMatrix b = pack_of(kernels, form, n, k, plain);
    uint16_t *a = stored(kernels, m, k, p.a, p.lda);
    for (int i = 0; i < m * count; i++) want[i] = 0.5f;
    for (int g = 0; g < 2; g++) {
        got[g] = malloc(floats_of(m, count) * 4);
        memcpy(got[g], want, floats_of(m, count) * 4);
    }
    kernels->gemm(GEMM_NN, m, count, k, p.a, p.lda, plain + first, n, beta, want, count);
    kernels->gemm_packed(m, &b, first, count, p.a, p.lda, beta, got[0], count);
    kernels->packed_stored(m, &b, first, count, a, k + 5, beta, got[1], count);
    for (int g = 0; g < 2; g++) {
        cr_expect_eq(memcmp(got[g], want, floats_of(m, count) * 4), 0, "%s, %d: %d x %d of %d from %d, k %d, beta %g",
                     kernels->name, g, m, count, n, first, k, (double)beta);
        free(got[g]);
    }
    free(plain);
    free(want);
    free(a);
    free(b.at);
    product_free(&p);
}

Test(bf16, packed_and_stored_operands_give_the_same_bits, .timeout = 100)
{
    for (int t = 0; bf16_at(t); t++)
        for (int form = GEMM_NN; form <= GEMM_NT; form++) {
            check_packed(bf16_at(t), (GemmForm)form, 1, 1, 1, 0, 1, 0.0f);
            check_packed(bf16_at(t), (GemmForm)form, 17, 100, 33, 0, 100, 0.0f);
            check_packed(bf16_at(t), (GemmForm)form, 33, 100, 64, 37, 50, 1.0f);
            check_packed(bf16_at(t), (GemmForm)form, 230, 130, 900, 96, 32, 1.0f);
        }
}

Test(bf16, gradients_of_stored_operands_give_the_same_bits)
{
    for (int t = 0; bf16_at(t); t++)
        for (int beta = 0; beta < 2; beta++) {
            Product p = product_make(GEMM_TN, 77, 65, 533, BETAS[beta]);
            float *want = product_of(&p, bf16_at(t)), *got = p.c;
            uint16_t *a = stored(bf16_at(t), p.k, p.m, p.a, p.lda), *b = stored(bf16_at(t), p.k, p.n, p.b, p.ldb);
            bf16_at(t)->gradient_stored(p.m, p.n, p.k, a, p.m + 5, b, p.n + 5, p.beta, got, p.ldc);
            for (int i = 0; i < p.m; i++)
                cr_expect_eq(memcmp(got + i * p.ldc, want + i * p.ldc, (size_t)p.n * 4), 0, "%s, row %d",
                             bf16_at(t)->name, i);
            free(want);
            free(a);
            free(b);
            product_free(&p);
        }
}

/* Ties go to even, subnormals to zero, what is too large to infinity; NaN stays one. */
Test(bf16, narrowing_rounds_to_nearest_even)
{
    static const float FROM[] = {1.0f,      0x1.01p0f,        0x1.03p0f,  0x1.010002p0f, -0x1.01p0f, 0x1.fffffep127f,
                                 0x1p-126f, 0x1.fffffcp-127f, -0x1p-149f, 0.0f,          -0.0f,      INFINITY};
    static const float TO[] = {1.0f,      1.0f, 0x1.04p0f, 0x1.02p0f, -1.0f, INFINITY,
                               0x1p-126f, 0.0f, -0.0f,     0.0f,      -0.0f, INFINITY};
    enum { COUNT = sizeof FROM / sizeof FROM[0] };
    for (int t = 0; bf16_at(t); t++) {
        uint16_t narrow[2 * COUNT + 1] = {0};
        float wide[COUNT], nan = NAN;
        bf16_at(t)->narrow(1, COUNT, FROM, COUNT, narrow, COUNT);
        cr_assert_eq(narrow[COUNT], 0, "%s writes past the end", bf16_at(t)->name);
        bf16_at(t)->widen(1, COUNT, narrow, COUNT, wide, COUNT);
        for (int i = 0; i < COUNT; i++)
            cr_expect_eq(float_bits(wide[i]), float_bits(TO[i]), "%s: %a becomes %a", bf16_at(t)->name, (double)FROM[i],
                         (double)wide[i]);
        bf16_at(t)->narrow(1, 1, &nan, 1, narrow, 1);
        cr_expect(isnan(bfloat_to_float(narrow[0])), "%s", bf16_at(t)->name);
    }
}

/* ---- what is chosen */

Test(bf16, the_environment_names_the_products)
{
    Kernels kernels;
    Error error = {0};
    setenv("T2T_KERNELS", "bf16_emulated", 1);
    cr_assert_eq(kernels_of_precision(&kernels, PRECISION_BF16, &error), STATUS_OK, "%s", error.message);
    cr_assert_str_eq(kernels.bf16->name, "bf16_emulated");
    cr_assert_str_eq(kernels.name, kernels_at(0)->name);
    setenv("T2T_KERNELS", "generic,amx_emulated", 1);
    cr_assert_eq(kernels_of_precision(&kernels, PRECISION_BF16, &error), STATUS_OK, "%s", error.message);
    cr_assert_str_eq(kernels.bf16->name, "amx_emulated");
    cr_assert_str_eq(kernels.name, "generic");
    cr_assert_eq(kernels_of_precision(&kernels, PRECISION_FP32, &error), STATUS_OK, "%s", error.message);
    cr_assert_null(kernels.bf16);
    setenv("T2T_KERNELS", "amx_emulated,vax", 1);
    cr_assert_eq(kernels_of_precision(&kernels, PRECISION_FP32, &error), STATUS_USAGE);
    cr_assert(strstr(error.message, "'vax'"), "%s", error.message);
}

Test(bf16, nobody_gets_emulation_without_asking)
{
    Kernels kernels;
    Error error = {0};
    unsetenv("T2T_KERNELS");
    if (strcmp(bf16_at(0)->name, "bf16_emulated") != 0) {
        cr_assert_eq(kernels_of_precision(&kernels, PRECISION_BF16, &error), STATUS_OK, "%s", error.message);
        cr_assert_null(strstr(kernels.bf16->name, "emulated"));
        return;
    }
    cr_assert_eq(kernels_of_precision(&kernels, PRECISION_BF16, &error), STATUS_USAGE);
    cr_assert(strstr(error.message, "AVX512_BF16"), "%s", error.message);
    cr_assert(strstr(error.message, "fp32"), "%s", error.message);
}
