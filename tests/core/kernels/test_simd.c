/* Every instruction set's kernels against the portable reference, at lengths that leave every remainder. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "core/kernels/kernels.h"
#include "tests/support/golden.h"

enum { ROWS = 3, MOST = 300, LD = MOST + 5 };

static const int LENGTHS[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 147, 197, 256, 257, 300};

enum { LENGTH_COUNT = sizeof LENGTHS / sizeof LENGTHS[0] };

/* Two copies of the same matrix: one for each table. */
typedef struct Pair {
    float want[ROWS * LD], got[ROWS * LD];
} Pair;

static void fill_pair(Pair *pair, const char *stream, double scale)
{
    fill_scaled(stream, scale, pair->want, ROWS * LD);
    memcpy(pair->got, pair->want, sizeof pair->got);
}

static void expect_pair(const Pair *pair, double limit, const char *table, const char *what, int length)
{
    double error = max_abs_difference(pair->got, pair->want, ROWS * LD), most = max_abs(pair->want, ROWS * LD);
    cr_assert_leq(error, limit * fmax(most, 1e-3), "%s %s at %d: off by %g of %g", table, what, length, error, most);
}

#define EACH_TABLE_AND_LENGTH(k, n)                                                                                    \
    const Kernels *k, *const ref = &kernels_reference;                                                                 \
    for (int table = 0; (k = kernels_at(table)) != NULL; table++)                                                      \
        for (int l = 0, n; l < LENGTH_COUNT && (n = LENGTHS[l]) > 0; l++)

static float vectors[4][MOST];

static void fill_vectors(void)
{
    static const char *const NAMES[] = {"weight", "bias", "a", "b"};
    for (int i = 0; i < 4; i++) fill_scaled(NAMES[i], 1.0, vectors[i], MOST);
}

Test(simd, gelu)
{
    static Pair y, dx, g;
    EACH_TABLE_AND_LENGTH(k, n)
    {
        fill_pair(&y, "x", 6);
        fill_pair(&dx, "x", 6);
        fill_pair(&g, "g", 1);
        ref->gelu(n, y.want, y.want);
        k->gelu(n, y.got, y.got);
        expect_pair(&y, 1e-6, k->name, "gelu", n);
        ref->gelu_backward(n, dx.want, g.want, y.want, dx.want);
        k->gelu_backward(n, dx.got, g.got, y.got, dx.got);
        expect_pair(&dx, 1e-6, k->name, "gelu_backward", n);
        expect_pair(&y, 1e-6, k->name, "gelu_backward's y", n);
    }
}

/* Also where the normal distribution's tail is all that is left. */
Test(simd, gelu_keeps_its_relative_accuracy_in_the_tail)
{
    const Kernels *k;
    for (int table = 0; (k = kernels_at(table)) != NULL; table++)
        for (float x = -12.5f; x < 12.5f; x += 0.01f) {
            float want, got;
            kernels_reference.gelu(1, &x, &want);
            k->gelu(1, &x, &got);
            cr_assert_lt(fabs((double)got - want), 1e-5 * fabs((double)want) + 1e-37, "%s gelu(%g) = %g, not %g",
                         k->name, x, got, want);
        }
}

/* One score at a distance of x from the largest, in every lane of a vector in turn. */
Test(simd, softmax_keeps_its_relative_accuracy_in_the_tail)
{
    const Kernels *k;
    for (int table = 0; (k = kernels_at(table)) != NULL; table++)
        for (int i = 0; i < 6900; i++) {
            float x = -0.01f * (float)i, s[20] = {0}, max = -INFINITY, sum = 0, correction;
            s[1 + i % 19] = x;
            k->softmax_step(1, 20, 1.0f, s, 20, &max, &sum, &correction);
            double want = exp((double)x), got = s[1 + i % 19];
            cr_assert_lt(fabs(got - want), (3e-7 - 1e-7 * x) * want, "%s exp(%g) = %g, not %g", k->name, x, got, want);
            cr_assert_float_eq(sum, 19 + want, 1e-5);
        }
}

Test(simd, not_a_number_and_infinity_pass_through)
{
    const Kernels *k;
    for (int table = 0; (k = kernels_at(table)) != NULL; table++) {
        for (int i = 0; i < 20; i++) {
            float s[20] = {0}, ds[20] = {0}, max = -INFINITY, sum = 0, correction;
            s[i] = NAN;
            k->softmax_step(1, 20, 1.0f, s, 20, &max, &sum, &correction);
            cr_assert(isnan(s[i]) && isnan(sum), "%s: %g, sum %g", k->name, s[i], sum);
            k->softmax_backward(1, 20, 1.0f, s, 20, ds, 20, &max, &max, NULL);
            cr_assert(isnan(s[i]) && isnan(ds[i]), "%s: %g %g", k->name, s[i], ds[i]);
        }
        float x[2] = {NAN, INFINITY}, y[2], f[3] = {NAN, 200.0f, -200.0f}, zero = 0.0f;
        k->gelu(2, x, y);
        cr_assert(isnan(y[0]) && isinf(y[1]), "%s: %g %g", k->name, y[0], y[1]);
        k->features(1, 3, f, 3, &zero, 1, 1);
        cr_assert(isnan(f[0]) && isinf(f[1]) && f[2] == 0.0f, "%s: %g %g %g", k->name, f[0], f[1], f[2]);
    }
}

Test(simd, bias_and_residual)
{
    static Pair x, y, out;
    fill_vectors();
    EACH_TABLE_AND_LENGTH(k, n)
    {
        fill_pair(&x, "x", 3);
        fill_pair(&y, "y", 3);
        fill_pair(&out, "out", 3);
        for (int with = 0; with < 2; with++) {
            const float *bias = with ? vectors[1] : NULL;
            ref->bias_gelu(ROWS, n, bias, x.want, LD, y.want, LD);
            k->bias_gelu(ROWS, n, bias, x.got, LD, y.got, LD);
            expect_pair(&x, 1e-6, k->name, "bias_gelu's x", n);
            expect_pair(&y, 1e-6, k->name, "bias_gelu", n);
            ref->residual(ROWS, n, y.want, LD, bias, 0.7f, x.want, LD, out.want, LD);
            k->residual(ROWS, n, y.got, LD, bias, 0.7f, x.got, LD, out.got, LD);
            expect_pair(&out, 1e-6, k->name, "residual", n);
        }
        ref->add_bias(ROWS, n, vectors[1], x.want, LD);
        k->add_bias(ROWS, n, vectors[1], x.got, LD);
        expect_pair(&x, 1e-6, k->name, "add_bias", n);
        ref->scale(ROWS, n, vectors[2], x.want, LD);
        k->scale(ROWS, n, vectors[2], x.got, LD);
        expect_pair(&x, 1e-6, k->name, "scale", n);
    }
}

Test(simd, layernorm)
{
    static Pair x, y, dy, dx, dw, db, statistics;
    fill_vectors();
    EACH_TABLE_AND_LENGTH(k, n)
    {
        fill_pair(&x, "x", 3);
        fill_pair(&y, "y", 3);
        fill_pair(&dy, "dy", 1);
        fill_pair(&dx, "dx", 1);
        fill_pair(&dw, "dw", 1);
        fill_pair(&db, "db", 1);
        fill_pair(&statistics, "s", 1);
        float eps = 1e-3f; /* at one column the variance is all eps */
        ref->layernorm(ROWS, n, x.want, LD, eps, vectors[0], vectors[1], y.want, LD, statistics.want,
                       statistics.want + ROWS);
        k->layernorm(ROWS, n, x.got, LD, eps, vectors[0], vectors[1], y.got, LD, statistics.got, statistics.got + ROWS);
        expect_pair(&y, 3e-6, k->name, "layernorm", n);
        expect_pair(&statistics, 3e-6, k->name, "layernorm's statistics", n);
        memcpy(statistics.got, statistics.want, sizeof statistics.got);
        ref->layernorm_apply(ROWS, n, x.want, LD, statistics.want, statistics.want + ROWS, vectors[0], vectors[1],
                             y.want, LD);
        k->layernorm_apply(ROWS, n, x.got, LD, statistics.got, statistics.got + ROWS, vectors[0], vectors[1], y.got,
                           LD);
        expect_pair(&y, 1e-6, k->name, "layernorm_apply", n);
        for (int add = 0; add < 2; add++) {
            ref->layernorm_backward(ROWS, n, x.want, LD, statistics.want, statistics.want + ROWS, vectors[0], dy.want,
                                    LD, add, dx.want, LD, dw.want, db.want);
            k->layernorm_backward(ROWS, n, x.got, LD, statistics.got, statistics.got + ROWS, vectors[0], dy.got, LD,
                                  add, dx.got, LD, dw.got, db.got);
            expect_pair(&dx, n == 1 ? 1e-4 : 3e-6, k->name, "layernorm_backward", n);
            expect_pair(&dw, 1e-6, k->name, "layernorm_backward's dweight", n);
            expect_pair(&db, 1e-6, k->name, "layernorm_backward's dbias", n);
        }
    }
}

Test(simd, softmax)
{
    static Pair s, ds, mask, state;
    fill_vectors();
    EACH_TABLE_AND_LENGTH(k, n)
    {
        fill_pair(&state, "state", 1);
        for (int r = 0; r < ROWS; r++)
            state.want[r] = state.got[r] = -INFINITY, state.want[ROWS + r] = state.got[ROWS + r] = 0;
        for (int step = 0; step < 3; step++) { /* the second and third continue with the first one's state */
            fill_pair(&s, step == 1 ? "s1" : "s0", 5.0 * (step + 1));
            ref->softmax_step(ROWS, n, 0.5f, s.want, LD, state.want, state.want + ROWS, state.want + 2 * ROWS);
            k->softmax_step(ROWS, n, 0.5f, s.got, LD, state.got, state.got + ROWS, state.got + 2 * ROWS);
            expect_pair(&s, 2e-6, k->name, "softmax_step", n);
            expect_pair(&state, 2e-6, k->name, "softmax_step's state", n);
        }
        fill_pair(&s, "s0", 3);
        fill_pair(&ds, "ds", 1);
        fill_pair(&mask, "mask", 1);
        ref->softmax_backward(ROWS, n, 0.5f, s.want, LD, ds.want, LD, vectors[2], vectors[3], NULL);
        k->softmax_backward(ROWS, n, 0.5f, s.got, LD, ds.got, LD, vectors[2], vectors[3], NULL);
        expect_pair(&s, 2e-6, k->name, "softmax_backward's p", n);
        expect_pair(&ds, 2e-6, k->name, "softmax_backward", n);
        ref->softmax_backward(ROWS, n, 0.5f, s.want, LD, ds.want, LD, vectors[2], vectors[3], mask.want);
        k->softmax_backward(ROWS, n, 0.5f, s.got, LD, ds.got, LD, vectors[2], vectors[3], mask.got);
        expect_pair(&ds, 4e-6, k->name, "softmax_backward with a mask", n);
    }
}

Test(simd, features)
{
    static Pair f, df, x, dx;
    EACH_TABLE_AND_LENGTH(k, n)
    {
        int width = 1 + n / 2;
        fill_pair(&f, "f", 4);
        fill_pair(&df, "df", 1);
        fill_pair(&x, "x", 0.3);
        fill_pair(&dx, "dx", 1);
        ref->features(ROWS, n, f.want, LD, x.want, LD, width);
        k->features(ROWS, n, f.got, LD, x.got, LD, width);
        expect_pair(&f, 3e-6, k->name, "features", n);
        for (int add = 0; add < 2; add++) {
            ref->features_backward(ROWS, n, f.want, LD, df.want, LD, x.want, LD, width, add, dx.want, LD);
            k->features_backward(ROWS, n, f.got, LD, df.got, LD, x.got, LD, width, add, dx.got, LD);
            expect_pair(&df, 1e-5, k->name, "features_backward's df", n);
            expect_pair(&dx, 1e-5, k->name, "features_backward", n);
        }
    }
}

Test(simd, sums)
{
    static Pair x, y, sums;
    EACH_TABLE_AND_LENGTH(k, n)
    {
        fill_pair(&x, "x", 1);
        fill_pair(&y, "y", 1);
        fill_pair(&sums, "s", 1);
        ref->column_sums(ROWS, n, x.want, LD, sums.want);
        k->column_sums(ROWS, n, x.got, LD, sums.got);
        expect_pair(&sums, 1e-6, k->name, "column_sums", n);
        ref->row_dots(ROWS, n, x.want, LD, y.want, LD, sums.want);
        k->row_dots(ROWS, n, x.got, LD, y.got, LD, sums.got);
        expect_pair(&sums, 1e-5, k->name, "row_dots", n);
    }
}

Test(simd, transpose)
{
    static Pair x;
    static float in[MOST * 70];
    fill_scaled("in", 1, in, MOST * 70);
    EACH_TABLE_AND_LENGTH(k, n)
    {
        for (int rows = 1; rows <= ROWS; rows++) { /* tall and flat */
            fill_pair(&x, "x", 1);
            ref->transpose(n, rows, in, 70, x.want, LD);
            k->transpose(n, rows, in, 70, x.got, LD);
            expect_pair(&x, 0, k->name, "transpose", n);
        }
        int rows = n % 64 + 1, cols = ROWS * LD / rows / 2;
        if (cols > 70) cols = 70;
        fill_pair(&x, "x", 1);
        ref->transpose(rows, cols, in, 70, x.want, rows + 1);
        k->transpose(rows, cols, in, 70, x.got, rows + 1);
        expect_pair(&x, 0, k->name, "transpose", rows);
    }
}

/* Masks are the same bits everywhere, wherever a range starts. */
Test(simd, dropout)
{
    static Pair x;
    EACH_TABLE_AND_LENGTH(k, n)
    {
        for (uint64_t first = 0; first < 4; first++) {
            fill_pair(&x, "x", 1);
            ref->dropout(n, 77, first, 0.3, x.want, x.want);
            k->dropout(n, 77, first, 0.3, x.got, x.got);
            expect_pair(&x, 0, k->name, "dropout", n);
        }
    }
}

Test(simd, dropout_keeps_the_mean_and_its_rate)
{
    enum { COUNT = 1 << 20 };
    float *x = malloc(COUNT * sizeof *x);
    for (int i = 0; i < COUNT; i++) x[i] = 1.0f;
    kernels_best()->dropout(COUNT, 5, 3, 0.1, x, x);
    double sum = 0;
    int zeros = 0;
    for (int i = 0; i < COUNT; i++) {
        sum += x[i];
        zeros += x[i] == 0.0f;
        cr_assert(x[i] == 0.0f || x[i] == (float)(1.0 / 0.9));
    }
    cr_assert_float_eq(sum / COUNT, 1.0, 2e-3);
    cr_assert_float_eq((double)zeros / COUNT, 0.1, 2e-3);
    free(x);
}

/* Every function of a table on rows of n, whose results follow each other in `out`. */
static size_t run_every_function(const Kernels *k, int n, double scale, float *out)
{
    static Pair in[4];
    static float scores[ROWS * LD], slopes[ROWS * LD], state[4][ROWS];
    static const char *const NAMES[] = {"p", "q", "r", "s"};
    const float *x = in[0].want, *y = in[1].want, *z = in[2].want, *mask = in[3].want;
    size_t used = 0;
    fill_vectors();
    memset(scores, 0, sizeof scores);
    memset(slopes, 0, sizeof slopes);
    for (int i = 0; i < 4; i++) fill_pair(&in[i], NAMES[i], i == 1 ? 1 : scale);
    in[0].want[n / 2] = 0.0f, in[0].want[n / 3] = -0.0f;
    if (n > 40) in[0].want[2 * LD + n - 2] = INFINITY, in[0].want[2 * LD] = NAN, in[2].want[LD + 3] = -INFINITY;
#define KEEP(from, count) (memcpy(out + used, from, (size_t)(count)*4), used += (size_t)(count))
#define COPY(to, from)    memcpy(to, from, sizeof(float) * ROWS * LD)
    k->gelu(n, x, scores);
    KEEP(scores, n);
    k->gelu_backward(n, x, y, slopes, scores);
    KEEP(scores, n);
    KEEP(slopes, n);
    COPY(scores, x);
    k->bias_gelu(ROWS, n, vectors[1], scores, LD, slopes, LD);
    KEEP(slopes, ROWS * LD);
    k->layernorm(ROWS, n, x, LD, 1e-5f, vectors[0], vectors[1], scores, LD, state[0], state[1]);
    KEEP(scores, ROWS * LD);
    KEEP(state, 2 * ROWS);
    k->layernorm_apply(ROWS, n, y, LD, state[0], state[1], vectors[0], vectors[1], scores, LD);
    KEEP(scores, ROWS * LD);
    for (int add = 0; add < 2; add++) {
        k->layernorm_backward(ROWS, n, z, LD, vectors[0], vectors[1], vectors[0], y, LD, add, scores, LD, vectors[2],
                              vectors[3]);
        KEEP(scores, ROWS * LD);
        KEEP(vectors, 4 * MOST);
    }
    for (int r = 0; r < ROWS; r++) state[0][r] = -INFINITY, state[1][r] = 0;
    for (int step = 0; step < 2; step++) {
        COPY(scores, step ? x : z);
        k->softmax_step(ROWS, n, 0.5f, scores, LD, state[0], state[1], state[2]);
        KEEP(scores, ROWS * LD);
        KEEP(state, 3 * ROWS);
    }
    for (int with = 0; with < 2; with++) {
        COPY(scores, x);
        COPY(slopes, y);
        k->softmax_backward(ROWS, n, 0.5f, scores, LD, slopes, LD, vectors[0], vectors[1], with ? mask : NULL);
        KEEP(scores, ROWS * LD);
        KEEP(slopes, ROWS * LD);
    }
    COPY(scores, x);
    k->features(ROWS, n, scores, LD, y, LD, 1 + n / 2);
    KEEP(scores, ROWS * LD);
    for (int add = 0; add < 2; add++) {
        COPY(scores, y);
        k->features_backward(ROWS, n, x, LD, scores, LD, y, LD, 1 + n / 2, add, slopes, LD);
        KEEP(scores, ROWS * LD);
        KEEP(slopes, ROWS * LD);
    }
    COPY(scores, x);
    k->add_bias(ROWS, n, vectors[1], scores, LD);
    k->residual(ROWS, n, y, LD, vectors[0], 0.7f, scores, LD, scores, LD);
    k->residual(ROWS, n, z, LD, NULL, 0.3f, scores, LD, scores, LD);
    k->scale(ROWS, n, vectors[2], scores, LD);
    k->column_sums(ROWS, n, y, LD, vectors[3]);
    k->row_dots(ROWS, n, x, LD, y, LD, state[3]);
    KEEP(scores, ROWS * LD);
    KEEP(vectors[3], MOST);
    KEEP(state[3], ROWS);
    k->dropout(n, 77, 3, 0.3, y, scores);
    k->transpose(ROWS, n, z, LD, slopes, ROWS);
    KEEP(scores, n);
    KEEP(slopes, ROWS * n);
#undef COPY
#undef KEEP
    return used;
}

/* A run may move between processors: those whose multiply-adds are fused, all but the generic table's, agree. */
Test(simd, tables_agree_in_every_bit)
{
    enum { ROOM = 40 * ROWS * LD };
    static float want[ROOM], got[ROOM];
    for (int t = 1; kernels_at(t) && strcmp(kernels_at(t)->name, "generic") != 0; t++)
        for (int n = 1; n <= MOST; n++)
            for (int size = 0; size < 3; size++) {
                double scale = size == 0 ? 1e-3 : size == 1 ? 3 : 100;
                size_t count = run_every_function(kernels_at(0), n, scale, want);
                cr_assert_leq(count, ROOM);
                run_every_function(kernels_at(t), n, scale, got);
                for (size_t i = 0; i < count; i++)
                    cr_assert((isnan(want[i]) && isnan(got[i])) || memcmp(&want[i], &got[i], 4) == 0,
                              "%s and %s at n = %d, scale %g: result %zu is %.9g and %.9g", kernels_at(0)->name,
                              kernels_at(t)->name, n, scale, i, want[i], got[i]);
            }
}

Test(simd, the_environment_may_name_a_table)
{
    const Kernels *chosen;
    Error error = {0};
    for (int i = 0; kernels_at(i); i++) {
        setenv("T2T_KERNELS", kernels_at(i)->name, 1);
        cr_expect_eq(kernels_best(), kernels_at(i), "%s", kernels_at(i)->name);
        cr_expect_eq(kernels_choose(&chosen, &error), STATUS_OK);
        cr_expect_eq(chosen, kernels_at(i));
        char set[32]; /* the instruction set alone: the first of its tables */
        snprintf(set, sizeof set, "%.*s", (int)strcspn(kernels_at(i)->name, "-"), kernels_at(i)->name);
        setenv("T2T_KERNELS", set, 1);
        cr_expect_eq(strncmp(kernels_best()->name, set, strlen(set)), 0, "%s", set);
        if (i == 0) cr_expect_eq(kernels_best(), kernels_at(0));
    }
    setenv("T2T_KERNELS", "", 1); /* as unset */
    cr_expect_eq(kernels_choose(&chosen, &error), STATUS_OK);
    cr_expect_eq(chosen, kernels_at(0));
}

Test(simd, a_name_that_cannot_run_is_an_error_that_lists_what_can)
{
    static const char *const NAMES[] = {"of another processor", "avx", "avx512-", "avx512-9x9", "generic-1"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        const Kernels *chosen;
        Error error = {0};
        setenv("T2T_KERNELS", NAMES[i], 1);
        cr_expect_eq(kernels_choose(&chosen, &error), STATUS_USAGE, "%s", NAMES[i]);
        for (int t = 0; kernels_at(t); t++)
            cr_expect(strstr(error.message, kernels_at(t)->name), "%s: %s", kernels_at(t)->name, error.message);
    }
}
