/* Kernels against the goldens of single operations. Layers that the model fuses are put together from kernels here. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernels/attention.h"
#include "core/kernels/gate.h"
#include "core/kernels/gemm.h"
#include "core/kernels/ghost.h"
#include "core/kernels/kernels.h"
#include "core/kernels/soft_split.h"
#include "tests/support/golden.h"

/* What a test allocates stays until its process ends; this list keeps leak checkers informed. */
static void *kept[512];
static int kept_count;

static void *keep(void *memory)
{
    cr_assert_lt(kept_count, 512);
    return kept[kept_count++] = memory;
}

/* One case: its tensors by name. */
typedef struct Case {
    Safetensors file;
    const Kernels *k;
    float *x, *y, *dy, *dx; /* in.x, grad_out; room for out.y and grad.x */
    int64_t x_size, y_size;
} Case;

static Case open_case(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "ops/%s", name);
    Case c = {.file = golden_open(path), .k = kernels_best()};
    c.x = keep(golden_floats(&c.file, "in.x", &c.x_size));
    c.dy = keep(golden_floats(&c.file, "grad_out", &c.y_size));
    c.y = keep(calloc((size_t)c.y_size, sizeof(float)));
    c.dx = keep(calloc((size_t)c.x_size, sizeof(float)));
    keep(c.file.entries);
    keep(c.file.metadata);
    return c;
}

static float *tensor(const Case *c, const char *name)
{
    int64_t count;
    return keep(golden_floats(&c->file, name, &count));
}

static float *param(const Case *c, const char *name)
{
    char full[256];
    snprintf(full, sizeof full, "param.%s", name);
    return safetensors_find(&c->file, full) ? tensor(c, full) : NULL;
}

static float *zeros(int64_t count)
{
    return keep(calloc((size_t)count, sizeof(float)));
}

static void expect(const Case *c, const char *name, const float *got)
{
    int64_t count;
    float *want = golden_floats(&c->file, name, &count);
    double error = max_abs_difference(got, want, count) / max_abs(want, count);
    cr_assert_lt(error, 2e-6, "%s: %s is off by %g of its largest", c->file.path, name, error);
    free(want);
}

static void expect_grad(const Case *c, const char *name, const float *got)
{
    char full[256];
    snprintf(full, sizeof full, "grad.%s", name);
    expect(c, full, got);
}

/* ---- single kernels */

static void check_split(const char *name, SplitShape shape, int images)
{
    Case c = open_case(name);
    int rows = shape.out_side * shape.out_side, width = split_width(&shape);
    int64_t source = (int64_t)shape.channels * shape.side * shape.side;
    cr_assert_eq(c.y_size, (int64_t)images * rows * width);
    for (int b = 0; b < images; b++) {
        float *y = c.y + (int64_t)b * rows * width;
        split_rows(&shape, c.x + b * source, 0, 5, y, width); /* in two pieces */
        split_rows(&shape, c.x + b * source, 5, rows - 5, y + 5 * width, width);
        int pixels = shape.side * shape.side;
        split_gather(&shape, c.dy + (int64_t)b * rows * width, width, 0, 7, c.dx + b * source);
        split_gather(&shape, c.dy + (int64_t)b * rows * width, width, 7, pixels - 7, c.dx + b * source);
    }
    expect(&c, "out.y", c.y);
    expect(&c, "grad.x", c.dx);
}

Test(ops, soft_split)
{
    check_split("unfold_k7s4p2", split_image(3, 32, 7, 4, 2), 2);
    check_split("unfold_k3s2p1", split_image(3, 32, 3, 2, 1), 2);
    check_split("unfold_k3s2p1_c8", split_image(8, 8, 3, 2, 1), 2);
    check_split("token_grid_unfold", split_tokens(16, 8, 3, 2, 1), 2);
}

Test(ops, gelu)
{
    Case c = open_case("gelu");
    float *y = zeros(c.y_size);
    c.k->gelu(c.x_size, c.x, c.y);
    c.k->gelu_backward(c.x_size, c.x, c.dy, y, c.dx);
    expect(&c, "out.y", c.y);
    expect(&c, "out.y", y);
    expect(&c, "grad.x", c.dx);
}

static void check_layernorm(const char *name, int width)
{
    Case c = open_case(name);
    int rows = (int)(c.x_size / width);
    float *weight = param(&c, "weight"), *bias = param(&c, "bias"), *mean = zeros(rows), *rstd = zeros(rows);
    float *dweight = zeros(width), *dbias = zeros(width);
    c.k->layernorm(rows, width, c.x, width, 1e-5f, weight, bias, c.y, width, mean, rstd);
    expect(&c, "out.y", c.y);
    c.k->layernorm_backward(rows, width, c.x, width, mean, rstd, weight, c.dy, width, false, c.dx, width, dweight,
                            dbias);
    expect(&c, "grad.x", c.dx);
    expect_grad(&c, "weight", dweight);
    expect_grad(&c, "bias", dbias);
}

Test(ops, layernorm)
{
    check_layernorm("layernorm", 48);
    check_layernorm("layernorm_d147", 147);
}

Test(ops, softmax)
{
    Case c = open_case("softmax");
    int cols = 17, rows = (int)(c.x_size / cols);
    float max[12], sum[12], correction[12], lse[12], delta[12];
    memcpy(c.y, c.x, (size_t)c.x_size * sizeof(float));
    for (int r = 0; r < rows; r++) max[r] = -INFINITY, sum[r] = 0;
    c.k->softmax_step(rows, cols, 1.0f, c.y, cols, max, sum, correction);
    for (int r = 0; r < rows; r++) lse[r] = max[r] + logf(sum[r]), sum[r] = 1.0f / sum[r];
    c.k->scale(rows, cols, sum, c.y, cols);
    expect(&c, "out.y", c.y);
    c.k->row_dots(rows, cols, c.y, cols, c.dy, cols, delta);
    memcpy(c.dx, c.dy, (size_t)c.x_size * sizeof(float));
    c.k->softmax_backward(rows, cols, 1.0f, c.x, cols, c.dx, cols, lse, delta, NULL);
    expect(&c, "grad.x", c.dx);
}

/* ---- linear layers and what is made of them */

/* y = x W^T + b, and back: dx += dy W, dW, db compared with the goldens as NAME.weight and NAME.bias. */
static void linear(const Case *c, const char *name, int rows, int in, int out, const float *x, int ldx, float *y,
                   int ldy)
{
    char full[128];
    snprintf(full, sizeof full, "%sweight", name);
    float *weight = param(c, full);
    snprintf(full, sizeof full, "%sbias", name);
    float *bias = param(c, full);
    gemm(GEMM_NT, rows, out, in, x, ldx, weight, in, 0.0f, y, ldy);
    if (bias) c->k->add_bias(rows, out, bias, y, ldy);
}

static void linear_backward(const Case *c, const char *name, int rows, int in, int out, const float *x, int ldx,
                            const float *dy, int lddy, float *dx, int lddx)
{
    char full[128];
    snprintf(full, sizeof full, "%sweight", name);
    float *weight = param(c, full), *dweight = zeros((int64_t)in * out), *dbias = zeros(out);
    gemm(GEMM_NN, rows, in, out, dy, lddy, weight, in, 1.0f, dx, lddx);
    gemm(GEMM_TN, out, in, rows, dy, lddy, x, ldx, 0.0f, dweight, in);
    expect_grad(c, full, dweight);
    snprintf(full, sizeof full, "%sbias", name);
    c->k->column_sums(rows, out, dy, lddy, dbias);
    if (param(c, full)) expect_grad(c, full, dbias);
}

Test(ops, linear)
{
    static const char *const NAMES[] = {"linear_bias", "linear_nobias"};
    for (int i = 0; i < 2; i++) {
        Case c = open_case(NAMES[i]);
        linear(&c, "", 10, 24, 40, c.x, 24, c.y, 40);
        expect(&c, "out.y", c.y);
        linear_backward(&c, "", 10, 24, 40, c.x, 24, c.dy, 40, c.dx, 24);
        expect(&c, "grad.x", c.dx);
    }
}

Test(ops, mlp)
{
    Case c = open_case("mlp");
    enum { ROWS = 18, DIM = 32, HIDDEN = 96 };
    float *hidden = zeros(ROWS * HIDDEN), *act = zeros(ROWS * HIDDEN), *dact = zeros(ROWS * HIDDEN);
    linear(&c, "fc1.", ROWS, DIM, HIDDEN, c.x, DIM, hidden, HIDDEN);
    c.k->gelu(ROWS * HIDDEN, hidden, act);
    linear(&c, "fc2.", ROWS, HIDDEN, DIM, act, HIDDEN, c.y, DIM);
    expect(&c, "out.y", c.y);
    linear_backward(&c, "fc2.", ROWS, HIDDEN, DIM, act, HIDDEN, c.dy, DIM, dact, HIDDEN);
    c.k->gelu_backward(ROWS * HIDDEN, hidden, dact, NULL, dact);
    linear_backward(&c, "fc1.", ROWS, DIM, HIDDEN, c.x, DIM, dact, HIDDEN, c.dx, DIM);
    expect(&c, "grad.x", c.dx);
}

/* Attention over qkv (2, tokens, 3 * dim) with the kernels; dqkv in place of it. */
static void attend(const Case *c, int tokens, int width, int heads, float scale, float *qkv, float *out,
                   const float *dout, float *dqkv)
{
    float *scratch = zeros((int64_t)attention_scratch(tokens, width / heads)), *lse = zeros(tokens);
    for (int i = 0; i < 2 * heads; i++) {
        int64_t at = (int64_t)(i / heads) * tokens * 3 * width + i % heads * (width / heads);
        int64_t to = (int64_t)(i / heads) * tokens * width + i % heads * (width / heads);
        const float *q = qkv + at;
        AttentionHead head = {.tokens = tokens,
                              .width = width / heads,
                              .scale = scale,
                              .q = q,
                              .k = q + width,
                              .v = q + 2 * width,
                              .ld = 3 * width};
        attention_forward(c->k, &head, 0, head.tokens, out + to, width, lse, scratch);
        if (dout)
            attention_backward(c->k, &head, 0, head.tokens, out + to, dout + to, width, lse, dqkv + at, 3 * width,
                               dqkv + at + width, dqkv + at + 2 * width, 3 * width, scratch);
    }
}

static void check_attention(const char *name, int width, int heads, float scale)
{
    Case c = open_case(name);
    enum { TOKENS = 17, ROWS = 2 * TOKENS };
    float *qkv = zeros(ROWS * 3 * width), *out = zeros(ROWS * width), *dout = zeros(ROWS * width);
    linear(&c, "qkv.", ROWS, width, 3 * width, c.x, width, qkv, 3 * width);
    attend(&c, TOKENS, width, heads, scale, qkv, out, NULL, NULL);
    linear(&c, "proj.", ROWS, width, width, out, width, c.y, width);
    expect(&c, "out.y", c.y);
    linear_backward(&c, "proj.", ROWS, width, width, out, width, c.dy, width, dout, width);
    attend(&c, TOKENS, width, heads, scale, qkv, out, dout, qkv);
    if (!param(&c, "qkv.bias")) {
        linear_backward(&c, "qkv.", ROWS, width, 3 * width, c.x, width, qkv, 3 * width, c.dx, width);
    } else { /* the bias of the keys has no gradient but noise */
        gemm(GEMM_NN, ROWS, width, 3 * width, qkv, 3 * width, param(&c, "qkv.weight"), width, 1.0f, c.dx, width);
    }
    expect(&c, "grad.x", c.dx);
}

Test(ops, attention)
{
    check_attention("mha_d64_h4", 64, 4, 0.25f);
    check_attention("mha_d64_h4_qkvbias", 64, 4, 0.25f);
    check_attention("mha_d64_h4_qkscale", 64, 4, 0.125f);
    check_attention("mha_d96_h8", 96, 8, (float)(1.0 / sqrt(12)));
}

/* ---- squeeze and excitation */

/* y = x * gate(x) for two images of 17 tokens, 48 wide; then dy to dx. */
static void gate_both_ways(const Case *c, const char *prefix, const float *x, float *y, const float *dy, float *dx)
{
    enum { TOKENS = 17, DIM = 48, HIDDEN = 3 };
    char w1[64], w2[64];
    snprintf(w1, sizeof w1, "%sfc.0.weight", prefix);
    snprintf(w2, sizeof w2, "%sfc.2.weight", prefix);
    Gate gate = {TOKENS, DIM, HIDDEN, param(c, w1), param(c, w2)};
    float *dw1 = zeros(DIM * HIDDEN), *dw2 = zeros(DIM * HIDDEN);
    for (int b = 0; b < 2; b++) {
        float mean[DIM], squeezed[HIDDEN], value[DIM], dvalue[DIM] = {0}, drow[DIM], scratch[HIDDEN];
        int64_t at = (int64_t)b * TOKENS * DIM;
        gate_forward(&gate, x + at, DIM, mean, squeezed, value);
        for (int i = 0; i < TOKENS * DIM; i++) {
            y[at + i] = x[at + i] * value[i % DIM];
            dvalue[i % DIM] += dy[at + i] * x[at + i];
        }
        gate_backward(&gate, mean, squeezed, value, dvalue, dw1, dw2, drow, scratch);
        for (int i = 0; i < TOKENS * DIM; i++) dx[at + i] = dy[at + i] * value[i % DIM] + drow[i % DIM];
    }
    expect_grad(c, w1, dw1);
    expect_grad(c, w2, dw2);
}

Test(ops, se_layer)
{
    Case c = open_case("se_layer");
    gate_both_ways(&c, "", c.x, c.y, c.dy, c.dx);
    expect(&c, "out.y", c.y);
    expect(&c, "grad.x", c.dx);
}

Test(ops, se_attention)
{
    Case c = open_case("se_attention");
    enum { TOKENS = 17, ROWS = 2 * TOKENS, DIM = 48 };
    float *qkv = zeros(ROWS * 3 * DIM), *out = zeros(ROWS * DIM), *dout = zeros(ROWS * DIM);
    float *projected = zeros(ROWS * DIM), *dprojected = zeros(ROWS * DIM);
    linear(&c, "qkv.", ROWS, DIM, 3 * DIM, c.x, DIM, qkv, 3 * DIM);
    attend(&c, TOKENS, DIM, 3, 0.25f, qkv, out, NULL, NULL);
    linear(&c, "proj.", ROWS, DIM, DIM, out, DIM, projected, DIM);
    gate_both_ways(&c, "se_layer.", projected, c.y, c.dy, dprojected);
    expect(&c, "out.y", c.y);
    linear_backward(&c, "proj.", ROWS, DIM, DIM, out, DIM, dprojected, DIM, dout, DIM);
    attend(&c, TOKENS, DIM, 3, 0.25f, qkv, out, dout, qkv);
    linear_backward(&c, "qkv.", ROWS, DIM, 3 * DIM, c.x, DIM, qkv, 3 * DIM, c.dx, DIM);
    expect(&c, "grad.x", c.dx);
}

/* ---- ghost */

static void check_ghost_attention(const char *name)
{
    Case c = open_case(name);
    enum { TOKENS = 17, ROWS = 2 * TOKENS, DIM = 48, HALF = DIM / 2 };
    static const char *const PARTS[] = {"q.", "k.", "v."};
    float *qkv = zeros(ROWS * 3 * DIM), *dqkv = zeros(ROWS * 3 * DIM), *out = zeros(ROWS * DIM),
          *dout = zeros(ROWS * DIM);
    char factor[3][64];
    for (int i = 0; i < 3; i++) {
        snprintf(factor[i], sizeof factor[i], "cheap_operation_%sweight", PARTS[i]);
        linear(&c, PARTS[i], ROWS, DIM, HALF, c.x, DIM, qkv + i * DIM, 3 * DIM);
        ghost_widen(ROWS, HALF, param(&c, factor[i]), qkv + i * DIM, 3 * DIM);
    }
    attend(&c, TOKENS, DIM, 3, 0.25f, qkv, out, NULL, NULL);
    linear(&c, "proj.", ROWS, DIM, DIM, out, DIM, c.y, DIM);
    expect(&c, "out.y", c.y);
    linear_backward(&c, "proj.", ROWS, DIM, DIM, out, DIM, c.dy, DIM, dout, DIM);
    attend(&c, TOKENS, DIM, 3, 0.25f, qkv, out, dout, dqkv);
    for (int i = 0; i < 3; i++) {
        float *dfactor = zeros(HALF), *part = dqkv + i * DIM;
        ghost_widen_backward(ROWS, HALF, param(&c, factor[i]), qkv + i * DIM, 3 * DIM, part, 3 * DIM, dfactor);
        expect_grad(&c, factor[i], dfactor);
        if (i == 1 && param(&c, "k.bias")) /* noise, as above */
            gemm(GEMM_NN, ROWS, DIM, HALF, part, 3 * DIM, param(&c, "k.weight"), DIM, 1.0f, c.dx, DIM);
        else
            linear_backward(&c, PARTS[i], ROWS, DIM, HALF, c.x, DIM, part, 3 * DIM, c.dx, DIM);
    }
    expect(&c, "grad.x", c.dx);
}

Test(ops, ghost_attention)
{
    check_ghost_attention("ghost_attention");
    check_ghost_attention("ghost_attention_qkvbias");
}

Test(ops, ghost_mlp)
{
    Case c = open_case("ghost_mlp");
    enum { ROWS = 18, DIM = 32 };
    float *hidden = zeros(ROWS * DIM), *act = zeros(ROWS * 3 * DIM), *dact = zeros(ROWS * 3 * DIM);
    float d2[DIM] = {0}, d3[DIM] = {0}, scratch[2 * DIM];
    float *w2 = param(&c, "cheap_operation2.weight"), *w3 = param(&c, "cheap_operation3.weight");
    linear(&c, "fc1.", ROWS, DIM, DIM, c.x, DIM, hidden, DIM);
    ghost_expand(c.k, ROWS, DIM, hidden, DIM, w2, w3, act, 3 * DIM);
    linear(&c, "fc2.", ROWS, 3 * DIM, DIM, act, 3 * DIM, c.y, DIM);
    expect(&c, "out.y", c.y);
    linear_backward(&c, "fc2.", ROWS, 3 * DIM, DIM, act, 3 * DIM, c.dy, DIM, dact, 3 * DIM);
    ghost_expand_backward(c.k, ROWS, DIM, hidden, DIM, w2, w3, dact, 3 * DIM, hidden, d2, d3, scratch);
    expect_grad(&c, "cheap_operation2.weight", d2);
    expect_grad(&c, "cheap_operation3.weight", d3);
    linear_backward(&c, "fc1.", ROWS, DIM, DIM, c.x, DIM, hidden, DIM, c.dx, DIM);
    expect(&c, "grad.x", c.dx);
}

/* The gate's two functions alone: with an identity for weights and one token, y = sigmoid(relu(x)). */
Test(ops, relu_sigmoid)
{
    Case c = open_case("relu_sigmoid");
    enum { DIM = 33 };
    float identity[DIM * DIM] = {0}, dw1[DIM * DIM], dw2[DIM * DIM];
    for (int i = 0; i < DIM; i++) identity[i * DIM + i] = 1.0f;
    Gate gate = {1, DIM, DIM, identity, identity};
    for (int r = 0; r < 4; r++) {
        float mean[DIM], squeezed[DIM], scratch[DIM];
        gate_forward(&gate, c.x + r * DIM, DIM, mean, squeezed, c.y + r * DIM);
        gate_backward(&gate, mean, squeezed, c.y + r * DIM, c.dy + r * DIM, dw1, dw2, c.dx + r * DIM, scratch);
    }
    expect(&c, "out.y", c.y);
    expect(&c, "grad.x", c.dx);
}
