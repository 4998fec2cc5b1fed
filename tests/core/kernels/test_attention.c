/* Attention and performer against plain double-precision definitions, and their gradients against finite
 * differences. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernels/attention.h"
#include "core/kernels/performer.h"
#include "core/base/rng.h"
#include "tests/support/golden.h"

/* What a test allocates stays until its process ends; this list keeps leak checkers informed. */
static void *kept[512];
static int kept_count;

static float *floats(int64_t count)
{
    cr_assert_lt(kept_count, 512);
    return kept[kept_count++] = calloc((size_t)count, sizeof(float));
}

/* ---- attention: out = softmax(scale q k^T) m v, m the dropout mask */

static double mask_at(const AttentionHead *head, int i, int j)
{
    if (head->drop <= 0) return 1;
    float one = 1.0f;
    kernels_reference.dropout(1, head->key, (uint64_t)i * (uint64_t)head->tokens + (uint64_t)j, head->drop, &one, &one);
    return one;
}

static void define_attention(const AttentionHead *head, double *out)
{
    int n = head->tokens, w = head->width;
    double *p = calloc((size_t)n, sizeof *p);
    for (int i = 0; i < n; i++) {
        double sum = 0, most = -INFINITY;
        for (int j = 0; j < n; j++) {
            p[j] = 0;
            for (int c = 0; c < w; c++) p[j] += (double)head->q[i * head->ld + c] * head->k[j * head->ld + c];
            p[j] *= head->scale;
            most = fmax(most, p[j]);
        }
        for (int j = 0; j < n; j++) sum += p[j] = exp(p[j] - most);
        for (int c = 0; c < w; c++) {
            out[i * w + c] = 0;
            for (int j = 0; j < n; j++) out[i * w + c] += p[j] / sum * mask_at(head, i, j) * head->v[j * head->ld + c];
        }
    }
    free(p);
}

typedef struct Trial {
    AttentionHead head;
    float *qkv, *dqkv, *out, *dout, *lse, *scratch;
    int64_t size; /* of qkv */
} Trial;

static Trial attend(int tokens, int width, double drop, double spread)
{
    int ld = 3 * width;
    Trial t = {.size = (int64_t)tokens * ld};
    t.qkv = floats(t.size);
    t.dqkv = floats(t.size);
    t.out = floats((int64_t)tokens * width);
    t.dout = floats((int64_t)tokens * width);
    t.lse = floats(tokens);
    t.scratch = floats((int64_t)attention_scratch(tokens, width));
    fill_scaled("qkv", spread, t.qkv, t.size);
    fill_scaled("dout", 1, t.dout, (int64_t)tokens * width);
    t.head = (AttentionHead){.tokens = tokens, .width = width, .scale = 0.3f, .ld = ld, .drop = drop, .key = 42};
    t.head.q = t.qkv;
    t.head.k = t.qkv + width;
    t.head.v = t.qkv + 2 * width;
    attention_forward(kernels_best(), &t.head, 0, tokens, t.out, width, t.lse, t.scratch);
    attention_backward(kernels_best(), &t.head, 0, tokens, t.out, t.dout, width, t.lse, t.dqkv, ld, t.dqkv + width,
                       t.dqkv + 2 * width, ld, t.scratch);
    return t;
}

static double loss(const Trial *t)
{
    int64_t size = (int64_t)t->head.tokens * t->head.width;
    double *out = calloc((size_t)size, sizeof *out), sum = 0;
    define_attention(&t->head, out);
    for (int64_t i = 0; i < size; i++) sum += out[i] * t->dout[i];
    free(out);
    return sum;
}

static void check_attention(int tokens, int width, double drop, double spread)
{
    Trial t = attend(tokens, width, drop, spread);
    int64_t size = (int64_t)tokens * width;
    double *want = calloc((size_t)size, sizeof *want);
    define_attention(&t.head, want);
    for (int64_t i = 0; i < size; i++)
        cr_assert_float_eq(t.out[i], want[i], 1e-5 * spread, "%d x %d: out[%d] = %g, not %g", tokens, width, (int)i,
                           t.out[i], want[i]);
    for (int64_t i = 0; i < t.size; i += 1 + t.size / 61) { /* some of all, of q, k and v */
        float before = t.qkv[i], step = 1e-2f;
        t.qkv[i] = before + step;
        double up = loss(&t), at = (double)t.qkv[i];
        t.qkv[i] = before - step;
        double slope = (up - loss(&t)) / (at - (double)t.qkv[i]);
        t.qkv[i] = before;
        cr_assert_float_eq(t.dqkv[i], slope, 2e-4 + 1e-3 * fabs(slope), "%d x %d: dqkv[%d] = %g, not %g", tokens, width,
                           (int)i, t.dqkv[i], slope);
    }
    free(want);
}

Test(attention, agrees_with_its_definition_and_finite_differences)
{
    check_attention(1, 8, 0, 1);
    check_attention(5, 3, 0, 1);
    check_attention(17, 12, 0, 1);
    check_attention(64, 16, 0, 1);
    check_attention(65, 16, 0, 1);
}

Test(attention, across_tiles)
{
    check_attention(417, 16, 0, 1); /* one key in the second tile */
    check_attention(500, 24, 0, 2);
}

Test(attention, dropout_masks_are_the_same_both_ways)
{
    check_attention(19, 8, 0.3, 1);
    check_attention(430, 8, 0.2, 1);
}

/* Scores of hundreds: the largest is subtracted before exp. */
Test(attention, large_scores)
{
    Trial t = attend(500, 16, 0, 60);
    for (int i = 0; i < 500 * 16; i++) cr_assert(isfinite(t.out[i]));
    for (int64_t i = 0; i < t.size; i++) cr_assert(isfinite(t.dqkv[i]));
}

Test(attention, gradients_may_overwrite_their_inputs)
{
    Trial t = attend(70, 16, 0, 1);
    attention_backward(kernels_best(), &t.head, 0, 70, t.out, t.dout, 16, t.lse, t.qkv, 48, t.qkv + 16, t.qkv + 32, 48,
                       t.scratch);
    cr_assert_arr_eq(t.qkv, t.dqkv, (size_t)t.size * sizeof(float));
}

/* In parts, the last ones first: forward the same bits, since rows do not touch; backward dk and dv, in place of k
 * and v, to rounding, and dq as a sum. */
Test(attention, parts_make_the_whole)
{
    enum { N = 700, W = 24, LD = 3 * W };
    static const int FIRST[] = {500, 17, 0}, COUNT[] = {200, 483, 17};
    Trial t = attend(N, W, 0.1, 1);
    float *out = floats(N * W), *lse = floats(N), *dq = floats(N * W), *sum = floats(N * W);
    for (int i = 0; i < 3; i++) attention_forward(kernels_best(), &t.head, FIRST[i], COUNT[i], out, W, lse, t.scratch);
    /* To the bit, but for BLIS, which may sum in another order where rows are few. */
    double limit = kernels_best()->gemm == gemm ? 1e-6 : 0;
    cr_assert_leq(max_abs_difference(out, t.out, N * W), limit);
    cr_assert_leq(max_abs_difference(lse, t.lse, N), 4 * limit);
    for (int i = 0; i < 3; i++) {
        float *k = t.qkv + FIRST[i] * LD + W;
        attention_backward(kernels_best(), &t.head, FIRST[i], COUNT[i], t.out, t.dout, W, t.lse, dq, W, k, k + W, LD,
                           t.scratch);
        for (int j = 0; j < N * W; j++) sum[j] += dq[j];
    }
    for (int j = 0; j < N * W; j++)
        cr_assert_float_eq(sum[j], t.dqkv[j / W * LD + j % W], 1e-5, "dq[%d] = %g, not %g", j, sum[j],
                           t.dqkv[j / W * LD + j % W]);
    for (int j = 0; j < N * LD; j++)
        if (j % LD >= W) cr_assert_float_eq(t.qkv[j], t.dqkv[j], 1e-5, "%g, not %g", t.qkv[j], t.dqkv[j]);
}

/* ---- performer */

enum { TOKENS = 23, WIDTH = 12, FEATURES = 5, LD = 3 * WIDTH };

static float w[FEATURES * WIDTH], kqv[TOKENS * LD], dkqv[TOKENS * LD], dy[TOKENS * WIDTH];

static void define_performer(double *y)
{
    static double phi[2][TOKENS][FEATURES];
    for (int which = 0; which < 2; which++)
        for (int i = 0; i < TOKENS; i++)
            for (int f = 0; f < FEATURES; f++) {
                double dot = 0, square = 0;
                for (int c = 0; c < WIDTH; c++) {
                    double x = kqv[i * LD + which * WIDTH + c];
                    dot += x * w[f * WIDTH + c];
                    square += x * x;
                }
                phi[which][i][f] = exp(dot - square / 2) / sqrt(FEATURES);
            }
    for (int i = 0; i < TOKENS; i++) {
        double total = 1e-8, weights[TOKENS];
        for (int j = 0; j < TOKENS; j++) {
            weights[j] = 0;
            for (int f = 0; f < FEATURES; f++) weights[j] += phi[1][i][f] * phi[0][j][f];
            total += weights[j];
        }
        for (int c = 0; c < WIDTH; c++) {
            y[i * WIDTH + c] = 0;
            for (int j = 0; j < TOKENS; j++) y[i * WIDTH + c] += weights[j] / total * kqv[j * LD + 2 * WIDTH + c];
        }
    }
}

static double performer_loss(void)
{
    double y[TOKENS * WIDTH], sum = 0;
    define_performer(y);
    for (int i = 0; i < TOKENS * WIDTH; i++) sum += y[i] * dy[i];
    return sum;
}

/* Two tiles of rows, as the model would. */
static void run_performer(float *y)
{
    const Kernels *k = kernels_best();
    Performer p = {WIDTH, FEATURES, w, {floats((int64_t)packed_floats(FEATURES, WIDTH)), FEATURES, WIDTH}};
    size_t size = performer_sums_size(&p);
    float *sums = floats((int64_t)size), *dsums = floats((int64_t)size), dv[TOKENS * WIDTH] = {0};
    float *scratch = floats((int64_t)performer_scratch(&p, TOKENS));
    const int starts[] = {0, 9}, counts[] = {9, TOKENS - 9};
    fill_scaled("w", 1.2, w, FEATURES * WIDTH);
    fill_scaled("dy", 1, dy, TOKENS * WIDTH);
    packed_fill(k, &p.w_packed, GEMM_NT, 0, FEATURES, w, WIDTH);
    for (int t = 0; t < 2; t++)
        performer_sums(k, &p, counts[t], kqv + starts[t] * LD, kqv + starts[t] * LD + 2 * WIDTH, LD, sums, scratch);
    for (int t = 0; t < 2; t++) {
        const float *q = kqv + starts[t] * LD + WIDTH;
        float *at = y + starts[t] * WIDTH;
        performer_apply(k, &p, counts[t], q, LD, sums, at, WIDTH, scratch);
        performer_apply_backward(k, &p, counts[t], q, LD, sums, at, dy + starts[t] * WIDTH, WIDTH,
                                 dkqv + starts[t] * LD + WIDTH, LD, dsums, scratch);
    }
    for (int t = 0; t < 2; t++)
        performer_sums_backward(k, &p, counts[t], kqv + starts[t] * LD, kqv + starts[t] * LD + 2 * WIDTH, LD, dsums,
                                dkqv + starts[t] * LD, LD, dv + starts[t] * WIDTH, WIDTH, scratch);
    for (int i = 0; i < TOKENS; i++) memcpy(dkqv + i * LD + 2 * WIDTH, dv + i * WIDTH, WIDTH * sizeof(float));
}

Test(performer, agrees_with_its_definition_and_finite_differences)
{
    float y[TOKENS * WIDTH];
    double want[TOKENS * WIDTH];
    fill_scaled("kqv", 0.6, kqv, TOKENS * LD);
    run_performer(y);
    define_performer(want);
    for (int i = 0; i < TOKENS * WIDTH; i++) cr_assert_float_eq(y[i], want[i], 2e-6);
    for (int i = 0; i < TOKENS * LD; i += 3) {
        float before = kqv[i], step = 1e-2f;
        kqv[i] = before + step;
        double up = performer_loss(), at = kqv[i];
        kqv[i] = before - step;
        double slope = (up - performer_loss()) / (at - kqv[i]);
        kqv[i] = before;
        cr_assert_float_eq(dkqv[i], slope, 1e-4 + 1e-3 * fabs(slope), "dkqv[%d] = %g, not %g", i, dkqv[i], slope);
    }
}

/* exp(-|x|^2 / 2) of long vectors is nearly or exactly zero, and so is the denominator: 1e-8 must keep it apart. */
Test(performer, near_zero_denominators_give_finite_results)
{
    static const double SPREADS[] = {2, 3, 4, 6, 10, 100};
    for (int s = 0; s < 6; s++) {
        float y[TOKENS * WIDTH];
        fill_scaled("kqv", SPREADS[s], kqv, TOKENS * LD);
        run_performer(y);
        for (int i = 0; i < TOKENS * WIDTH; i++) cr_assert(isfinite(y[i]), "spread %g: y = %g", SPREADS[s], y[i]);
        for (int i = 0; i < TOKENS * LD; i++) cr_assert(isfinite(dkqv[i]), "spread %g: %g", SPREADS[s], dkqv[i]);
    }
}
