/* Products and whole steps of one thread against the multiply-add peak of its core, all in processor time, so that
 * other work on the machine disturbs little. Prints the share of the peak, a table's of its own instruction set's: of
 * BLIS and each table's products, of attention, then of models.
 *
 *     build/tests/bench/kernels [products | attention | MODEL BATCH]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/kernels/attention.h"
#include "core/kernels/packed.h"
#include "core/model/model.h"

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* GFLOP/s of multiply-adds in registers, for about half a millisecond. BLIS (NULL, and the generic table) is held to
 * what the processor can. */
static double burst(const Kernels *k)
{
    if (!k || k->gemm == gemm) k = kernels_best();
    double begin = now(), operations = (double)k->multiply_add(250000);
    return operations / (now() - begin) * 1e-9;
}

static double peak(void)
{
    double best = 0;
    for (int i = 0; i < 30; i++) best = fmax(best, burst(kernels_best()));
    return best;
}

typedef struct Product {
    const char *name;
    GemmForm form;
    int m, n, k;
    bool weight; /* B is one: tables that have a layout of their own read it packed */
} Product;

static const Product PRODUCTS[] = {
    {"qkv, width 384", GEMM_NN, 192, 1152, 384, true},   {"fc2, width 384", GEMM_NN, 192, 384, 1152, true},
    {"qkv, width 256", GEMM_NN, 192, 768, 256, true},    {"fc2, width 256", GEMM_NN, 192, 256, 512, true},
    {"proj, width 256", GEMM_NN, 192, 256, 256, true},   {"scores", GEMM_NN, 64, 208, 64, false},
    {"scores times v", GEMM_NN, 64, 64, 197, false},     {"token layer 1 kqv", GEMM_NN, 196, 192, 147, true},
    {"token layer 2 kqv", GEMM_NN, 196, 192, 576, true}, {"token MLP", GEMM_NN, 196, 64, 64, true},
    {"performer features", GEMM_NN, 196, 32, 64, true},  {"dW, width 384", GEMM_TN, 192, 384, 1576, false},
    {"dW, width 256", GEMM_TN, 192, 256, 1576, false},   {"dW, token layer 1", GEMM_TN, 192, 147, 3136, false},
    {"dW, token MLP", GEMM_TN, 64, 64, 3136, false},     {"p^T dO", GEMM_TN, 197, 64, 64, false},
};

typedef struct Operands {
    float *a, *b, *c;
    PackedMatrix packed;
} Operands;

/* BLIS without kernels. */
static void multiply(const Kernels *k, const Product *p, const Operands *at)
{
    int lda = p->form == GEMM_TN ? p->m : p->k;
    if (!k)
        gemm(p->form, p->m, p->n, p->k, at->a, lda, at->b, p->n, 0.0f, at->c, p->n);
    else if (p->weight)
        packed_gemm(k, p->m, &at->packed, 0, p->n, at->a, lda, 0.0f, at->c, p->n);
    else
        k->gemm(p->form, p->m, p->n, p->k, at->a, lda, at->b, p->n, 0.0f, at->c, p->n);
}

/* Shares of the peak, each burst's against the peak just before and just after it, since the clock of a processor
 * changes; what counts is the median. */
enum { ROUNDS = 25 };

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle(double shares[ROUNDS])
{
    qsort(shares, ROUNDS, sizeof *shares, compare);
    return shares[ROUNDS / 2];
}

static double measure(const Kernels *k, const Product *p, Operands *at)
{
    double shares[ROUNDS], work = 2e-9 * p->m * p->n * p->k, before = burst(k);
    int repeat = 1 + (int)(0.15 / work);
    at->packed.n = p->n, at->packed.k = p->k;
    if (k) packed_fill(k, &at->packed, GEMM_NN, 0, p->n, at->b, p->n);
    for (int i = 0; i < ROUNDS; i++) {
        double begin = now();
        for (int r = 0; r < repeat; r++) multiply(k, p, at);
        double rate = repeat * work / (now() - begin), after = burst(k);
        shares[i] = rate / (0.5 * (before + after));
        before = after;
    }
    return middle(shares);
}

static void print_products(void)
{
    enum { FLOATS = 1 << 22 };
    Operands at = {calloc(FLOATS, 4), calloc(FLOATS, 4), calloc(FLOATS, 4), {aligned_alloc(64, FLOATS * 4), 0, 0}};
    if (!at.a || !at.b || !at.c || !at.packed.at) exit(1);
    for (int i = 0; i < FLOATS; i++) at.a[i] = (float)(i % 7), at.b[i] = (float)(i % 5);
    printf("\n%-20s %5s %5s %5s  %8s", "product", "m", "n", "k", "BLIS");
    for (int t = 0; kernels_at(t); t++) printf("  %11s", kernels_at(t)->name);
    for (size_t i = 0; i < sizeof PRODUCTS / sizeof PRODUCTS[0]; i++) {
        const Product *p = &PRODUCTS[i];
        printf("\n%-20s %5d %5d %5d  %6.0f %%", p->name, p->m, p->n, p->k, 100 * measure(NULL, p, &at));
        for (int t = 0; kernels_at(t); t++) printf("  %9.0f %%", 100 * measure(kernels_at(t), p, &at));
        fflush(stdout);
    }
    printf("\n\n");
    free(at.a);
    free(at.b);
    free(at.c);
    free(at.packed.at);
}

typedef struct Attention {
    const char *name;
    int tokens, width, ld, parts;
} Attention;

static const Attention ATTENTIONS[] = {
    {"token layer 1", 3136, 64, 192, 4},
    {"token layer 2", 784, 64, 192, 4},
    {"block, heads of 64", 197, 64, 1152, 1},
};

/* The share of the peak of one part of a head; backwards of five products, that of the scores is done again. */
static void measure_attention(const Attention *shape, const Kernels *k, double *forward, double *backward)
{
    size_t tokens = (size_t)shape->tokens, width = (size_t)shape->width, ld = (size_t)shape->ld;
    int count = shape->tokens / shape->parts;
    double work = 4e-9 * count * shape->tokens * shape->width;
    int repeat = 1 + (int)(0.15 / work);
    double forth[ROUNDS], back[ROUNDS];
    float *qkv = calloc(tokens * ld, 4), *dqkv = calloc(tokens * ld, 4), *out = calloc(tokens * ld, 4);
    float *dout = calloc(tokens * ld, 4), *lse = calloc(tokens, 4);
    float *scratch = calloc(attention_scratch(shape->tokens, shape->width), 4);
    if (!qkv || !dqkv || !out || !dout || !lse || !scratch) exit(1);
    for (size_t i = 0; i < tokens * ld; i++) qkv[i] = sinf((float)(i % 9973)), dout[i] = cosf((float)(i % 9901));
    AttentionHead head = {.tokens = shape->tokens, .width = shape->width, .scale = 0.125f, .ld = shape->ld};
    head.q = qkv, head.k = qkv + width, head.v = qkv + 2 * width;
    for (int i = 0; i < ROUNDS; i++) {
        double before = burst(k), times[3] = {now()};
        for (int r = 0; r < repeat; r++) attention_forward(k, &head, 0, count, out, shape->width, lse, scratch);
        times[1] = now();
        for (int r = 0; r < repeat; r++)
            attention_backward(k, &head, 0, count, out, dout, shape->width, lse, dqkv, shape->ld, dqkv + width,
                               dqkv + 2 * width, shape->ld, scratch);
        times[2] = now();
        double top = 0.5 * (before + burst(k));
        forth[i] = repeat * work / (times[1] - times[0]) / top;
        back[i] = 2.5 * repeat * work / (times[2] - times[1]) / top;
    }
    *forward = middle(forth);
    *backward = middle(back);
    free(qkv);
    free(dqkv);
    free(out);
    free(dout);
    free(lse);
    free(scratch);
}

static void print_attention(void)
{
    printf("\n%-20s %6s", "attention", "tokens");
    for (int t = 0; kernels_at(t); t++) printf("  %8s forward, backward", kernels_at(t)->name);
    for (size_t i = 0; i < sizeof ATTENTIONS / sizeof ATTENTIONS[0]; i++) {
        printf("\n%-20s %6d", ATTENTIONS[i].name, ATTENTIONS[i].tokens);
        for (int t = 0; kernels_at(t); t++) {
            double forward, backward;
            measure_attention(&ATTENTIONS[i], kernels_at(t), &forward, &backward);
            printf("  %14.1f %%   %6.1f %%", 100 * forward, 100 * backward);
        }
        fflush(stdout);
    }
    printf("\n\n");
}

static void print_model(const char *name, int batch, double top)
{
    enum { STEPS = 4 };
    ModelConfig config;
    Error error = {0};
    Pool *pool = NULL;
    Model *model = NULL;
    if (zoo_find(name, &config, &error) || pool_create(&pool, 1, &error) ||
        model_create(&model, &config, batch, MODEL_TRAIN, pool, &error)) {
        fprintf(stderr, "%s\n", error.message);
        exit(1);
    }
    const ParamTable *table = model_params(model);
    size_t pixels = (size_t)batch * 3 * (size_t)config.img_size * (size_t)config.img_size;
    size_t outputs = (size_t)batch * (size_t)config.num_classes;
    float *weights = calloc((size_t)table->size, 4), *grads = calloc((size_t)table->size, 4);
    float *images = calloc(pixels, 4), *logits = calloc(outputs, 4), *dlogits = calloc(outputs, 4);
    uint64_t *samples = calloc((size_t)batch, sizeof *samples);
    if (!weights || !grads || !images || !logits || !dlogits || !samples) exit(1);
    params_init(table, 0, weights);
    for (size_t i = 0; i < pixels; i++) images[i] = (float)(i % 13) * 0.2f - 1.2f;
    for (size_t i = 0; i < outputs; i++) dlogits[i] = (float)(i % 3) * 0.01f - 0.01f;
    ModelInput input = {.count = batch, .images = images, .training = true, .samples = samples};
    double best[3] = {INFINITY, INFINITY, INFINITY};
    for (int i = 0; i < STEPS; i++) {
        double times[4] = {now()};
        model_set_weights(model, weights);
        times[1] = now();
        model_forward(model, &input, logits);
        times[2] = now();
        model_backward(model, dlogits, grads, false, NULL, NULL);
        times[3] = now();
        for (int j = 0; j < 3; j++) best[j] = fmin(best[j], times[j + 1] - times[j]);
    }
    Macs macs = zoo_macs(&config);
    double work = 2e-9 * (double)(macs.linear + macs.attention + macs.conv) * batch;
    printf("%-16s batch %2d: copies of weights %5.1f ms, forward %6.1f ms (%.0f %%), backward %6.1f ms (%.0f %%), "
           "together %.1f %%, %.2f images/s\n",
           name, batch, 1e3 * best[0], 1e3 * best[1], 100 * work / best[1] / top, 1e3 * best[2],
           200 * work / best[2] / top, 300 * work / (best[0] + best[1] + best[2]) / top,
           batch / (best[0] + best[1] + best[2]));
    model_free(model);
    pool_free(pool);
    free(weights);
    free(grads);
    free(images);
    free(logits);
    free(dlogits);
    free(samples);
}

int main(int argc, char **argv)
{
    double top = peak();
    printf("%s, peak of one core %.1f GFLOP/s, shares of it:\n", kernels_best()->name, top);
    const char *only = argc > 1 ? argv[1] : NULL;
    if (argc == 3) {
        print_model(argv[1], atoi(argv[2]), top);
        return 0;
    }
    if (!only || strcmp(only, "products") == 0) print_products();
    if (!only || strcmp(only, "attention") == 0) print_attention();
    if (only) return 0;
    print_model("t2t_vit_7", 8, top);
    print_model("t2t_vit_14", 4, top);
    print_model("t2t_vit_t_14", 4, top);
    return 0;
}
