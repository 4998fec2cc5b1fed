/* Whole models against the goldens: logits, loss, the norm of every stage's output, every gradient. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/model_internal.h"
#include "tests/support/golden.h"
#include "tests/support/models.h"
#include "tests/support/trial.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SLOW_BUILD = 1 };
#else
enum { SLOW_BUILD = 0 };
#endif

static Safetensors open_model(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "models/%s", name);
    return golden_open(path);
}

static void check_outputs(const Trial *trial, const Safetensors *golden)
{
    int64_t count;
    float *logits = golden_floats(golden, "out.logits", &count);
    double *loss = golden_doubles(golden, "out.loss_f64", &count);
    count = (int64_t)trial->batch * trial->config.num_classes;
    double error = max_abs_difference(trial->logits, logits, count) / max_abs(logits, count);
    cr_expect_lt(error, 1e-5, "logits are off by %g of the largest", error);
    cr_expect_lt(fabs(trial->loss - loss[0]), 1e-5, "loss is %.9g, expected %.9g", trial->loss, loss[0]);
    free(logits);
    free(loss);
}

static double norm(const float *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (double)x[i] * x[i];
    return sqrt(sum);
}

static void check_norm(double got, double want, const char *what, int index)
{
    cr_expect_lt(fabs(got - want) / want, 1e-5, "norm of %s %d is %.9g, expected %.9g", what, index, got, want);
}

/* The projected tokens: what goes into the first block, without the class token and the positions. */
static double embedding_norm(const Trial *trial)
{
    const Embed *embed = &trial->model->embed;
    int64_t size = (int64_t)embed->patches * embed->dim;
    double sum = 0;
    for (int b = 0; b < trial->batch; b++) {
        const float *x = trial->model->x[0] + (int64_t)b * (1 + embed->patches) * embed->dim + embed->dim;
        const float *position = trial->weights + embed->position + embed->dim;
        for (int64_t i = 0; i < size; i++) sum += ((double)x[i] - position[i]) * ((double)x[i] - position[i]);
    }
    return sqrt(sum);
}

static double final_norm(const Trial *trial)
{
    const Head *head = &trial->model->head;
    int rows = trial->batch * head->tokens;
    float *y = malloc((size_t)rows * (size_t)head->dim * sizeof *y), *statistics = malloc(2 * (size_t)rows * sizeof *y);
    kernels_reference.layernorm(rows, head->dim, trial->model->x[trial->model->block_count], head->dim, head->norm.eps,
                                trial->weights + head->norm.weight, trial->weights + head->norm.bias, y, head->dim,
                                statistics, statistics + rows);
    double result = norm(y, (int64_t)rows * head->dim);
    free(statistics);
    free(y);
    return result;
}

static void check_activations(const Trial *trial, const Safetensors *golden)
{
    const Model *model = trial->model;
    int64_t count, at = 0;
    double *l2 = golden_doubles(golden, "act.l2_f64", &count);
    for (int i = 0; i < model->token_layers; i++) {
        int64_t size = (int64_t)model->layers[i].tokens * model->layers[i].width;
        check_norm(norm(model->layer_out[i], trial->batch * size), l2[at++], "token layer", i);
    }
    check_norm(embedding_norm(trial), l2[at++], "embedding", 0);
    bool class_only = model->blocks[model->block_count - 1].class_only; /* then the last stages' rows are not there */
    for (int i = 0; i < model->block_count - class_only; i++) {
        int64_t rows = (int64_t)trial->batch * model->tokens;
        check_norm(norm(model->x[i + 1], rows * model->blocks[i].out), l2[at++], "block", i);
    }
    if (class_only)
        at += 2;
    else
        check_norm(final_norm(trial), l2[at++], "final norm", 0);
    cr_expect_eq(at, count, "%d stages, expected %d", (int)at, (int)count);
    free(l2);
}

/* A bias of the keys moves all scores of a row alike: its gradient is zero in theory, so only its size can be checked.
 * Middle third of qkv.bias; ghost: k.bias. */
static bool key_bias(const Param *param, int64_t *from, int64_t *to)
{
    *from = strstr(param->name, ".attn.k.bias") ? 0 : param->numel / 3;
    *to = strstr(param->name, ".attn.k.bias") ? param->numel : 2 * param->numel / 3;
    return strstr(param->name, ".attn.qkv.bias") || strstr(param->name, ".attn.k.bias");
}

static void check_gradient(const Trial *trial, const Param *param, const float *want)
{
    const float *got = trial->grads + param->offset;
    int64_t from, to, rest = 0;
    if (key_bias(param, &from, &to)) {
        cr_expect_lt(max_abs_difference(got + from, want + from, to - from), 1e-6, "%s, keys", param->name);
        if (to < param->numel) {
            cr_expect_lt(relative_l2(got, want, from), 1e-4, "%s, queries", param->name);
            rest = to;
        } else {
            return;
        }
    }
    double error = relative_l2(got + rest, want + rest, param->numel - rest);
    cr_expect_lt(error, 1e-4, "gradient of %s is off by %g", param->name, error);
}

static void check_zeros(const Trial *trial)
{
    int64_t at = 0;
    for (int i = 0; i <= trial->table->count; i++) {
        const Param *param = i < trial->table->count ? &trial->table->items[i] : NULL;
        for (; at < (param ? param->offset : trial->table->size); at++)
            cr_assert_eq(trial->grads[at], 0.0f, "a float between tensors is %g", trial->grads[at]);
        if (!param) return;
        at += param->numel;
        if (param->trainable) continue;
        cr_expect_eq(max_abs(trial->grads + param->offset, param->numel), 0.0, "%s is frozen", param->name);
    }
}

static void check_all_gradients(const Trial *trial, const Safetensors *golden)
{
    for (int i = 0; i < trial->table->count; i++) {
        const Param *param = &trial->table->items[i];
        if (!param->trainable) continue;
        char name[128];
        int64_t count;
        snprintf(name, sizeof name, "grad.%s", param->name);
        float *want = golden_floats(golden, name, &count);
        check_gradient(trial, param, want);
        free(want);
    }
}

/* Norms and samples, where the whole gradients would be too large to keep. */
static void check_gradient_statistics(const Trial *trial, const Safetensors *golden)
{
    int64_t count, samples;
    double *l2 = golden_doubles(golden, "grad_stat.l2_f64", &count);
    int64_t *index = golden_ints(golden, "grad_stat.index", &samples);
    double *value = golden_doubles(golden, "grad_stat.value_f64", &samples);
    cr_assert_eq(count, trial->table->count);
    for (int i = 0; i < count; i++) {
        const Param *param = &trial->table->items[i];
        const float *got = trial->grads + param->offset;
        if (!param->trainable) continue;
        check_norm(norm(got, param->numel), l2[i], param->name, i);
        double typical = l2[i] / sqrt((double)param->numel);
        for (int j = 0; j < 8; j++) {
            double error = fabs(got[index[8 * i + j]] - value[8 * i + j]);
            cr_expect_lt(error, 1e-4 * typical + 1e-4 * fabs(value[8 * i + j]), "%s[%d] is %.9g, expected %.9g",
                         param->name, (int)index[8 * i + j], got[index[8 * i + j]], value[8 * i + j]);
        }
    }
    free(l2);
    free(index);
    free(value);
}

ParameterizedTestParameters(model, tiny)
{
    static int indices[32];
    int count = 0;
    while (TINY_MODELS[count]) indices[count] = count, count++;
    return cr_make_param_array(int, indices, (size_t)count);
}

ParameterizedTest(int *index, model, tiny)
{
    Safetensors golden = open_model(TINY_MODELS[*index]);
    ModelConfig config = golden_model(TINY_MODELS[*index]);
    Trial trial = trial_start(&config, 2, MODEL_TRAIN, 2);
    trial_forward(&trial);
    check_outputs(&trial, &golden);
    check_activations(&trial, &golden);
    trial_backward(&trial);
    check_all_gradients(&trial, &golden);
    check_zeros(&trial);
    trial_end(&trial);
    safetensors_close(&golden);
}

typedef struct FullSize {
    const char *name;
    bool always; /* one of each kind; the others when T2T_TEST_FULL is set */
    bool backward;
} FullSize;

static const FullSize FULL_SIZE[] = {
    {"t2t_vit_7", true, true},          {"t2t_vit_10", false, true},     {"t2t_vit_12", false, true},
    {"t2t_vit_14", true, true},         {"t2t_vit_19", false, true},     {"t2t_vit_24", false, true},
    {"t2t_vit_t_14", true, true},       {"t2t_vit_t_19", false, true},   {"t2t_vit_t_24", false, true},
    {"t2t_vit_14_resnext", true, true}, {"t2t_vit_14_wide", true, true}, {"t2t_vit_dense", true, true},
    {"t2t_vit_16_ghost", true, true},   {"t2t_vit_14_se", true, true},   {"t2t_vit_14_384", false, false},
};

enum { FULL_SIZE_COUNT = sizeof FULL_SIZE / sizeof FULL_SIZE[0] };

ParameterizedTestParameters(model, full_size)
{
    static int indices[FULL_SIZE_COUNT];
    for (int i = 0; i < FULL_SIZE_COUNT; i++) indices[i] = i;
    return cr_make_param_array(int, indices, FULL_SIZE_COUNT);
}

ParameterizedTest(int *index, model, full_size, .timeout = 300)
{
    const FullSize *full = &FULL_SIZE[*index];
    bool wanted = SLOW_BUILD ? *index == 0 : full->always;
    if (!wanted && !getenv("T2T_TEST_FULL"))
        cr_skip_test("%s at full size is left out; T2T_TEST_FULL=1 runs it", full->name);
    Safetensors golden = open_model(full->name);
    ModelConfig config = golden_model(full->name);
    Trial trial = trial_start(&config, full->backward ? 2 : 1, full->backward ? MODEL_TRAIN : MODEL_EVAL, 0);
    trial_forward(&trial);
    check_outputs(&trial, &golden);
    if (full->backward) {
        check_activations(&trial, &golden);
        trial_backward(&trial);
        check_gradient_statistics(&trial, &golden);
        check_zeros(&trial);
    }
    trial_end(&trial);
    safetensors_close(&golden);
}
