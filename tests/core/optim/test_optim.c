#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/optim/optim.h"
#include "tests/support/golden.h"
#include "tests/support/models.h"

/* ---- the reference's optimizers on its toy model */

typedef struct Toy {
    Safetensors file;
    ParamTable table;
    OptimVectors vectors;
    float *grads;
} Toy;

/* The table of the tensors `<prefix><name>` of a golden file. */
static ParamTable toy_table(const Safetensors *file, const char *prefix, const char *grad_prefix)
{
    ParamTable table = {.items = calloc((size_t)file->count, sizeof(Param))};
    for (int i = 0; i < file->count; i++) {
        const SafetensorsEntry *entry = &file->entries[i];
        if (strncmp(entry->name, prefix, strlen(prefix)) != 0) continue;
        Param *param = &table.items[table.count++];
        *param = (Param){.ndim = entry->ndim, .numel = entry->numel, .offset = table.size};
        snprintf(param->name, sizeof param->name, "%s", entry->name + strlen(prefix));
        char grad[128];
        snprintf(grad, sizeof grad, "%s%s", grad_prefix, param->name);
        param->trainable = safetensors_find(file, grad) != NULL;
        param->decay = param->trainable && param->ndim > 1 && strcmp(param->name, "cls_token") != 0;
        table.size += (param->numel + 15) / 16 * 16;
    }
    cr_assert_gt(table.count, 7);
    return table;
}

static void load(const Toy *toy, const char *prefix, float *vector)
{
    for (int i = 0; i < toy->table.count; i++) {
        const Param *param = &toy->table.items[i];
        char name[128];
        snprintf(name, sizeof name, "%s%s", prefix, param->name);
        if (!safetensors_find(&toy->file, name)) continue;
        int64_t count;
        float *values = golden_floats(&toy->file, name, &count);
        memcpy(vector + param->offset, values, (size_t)count * sizeof *values);
        free(values);
    }
}

static Toy toy_open(const char *name)
{
    Toy toy = {.file = golden_open(name)};
    toy.table = toy_table(&toy.file, "init.", "step0.grad.");
    size_t count = (size_t)toy.table.size;
    toy.grads = calloc(count, sizeof(float));
    toy.vectors = (OptimVectors){calloc(count, sizeof(float)), toy.grads, calloc(count, sizeof(float)),
                                 calloc(count, sizeof(float)), calloc(count, sizeof(float))};
    load(&toy, "init.", toy.vectors.weights);
    load(&toy, "init.", toy.vectors.ema);
    return toy;
}

static void toy_close(Toy *toy)
{
    free(toy->vectors.weights), free(toy->vectors.moment1), free(toy->vectors.moment2), free(toy->vectors.ema);
    free(toy->grads);
    params_free(&toy->table);
    safetensors_close(&toy->file);
}

/* Every tensor `step<step>.<kind>.*` of the file against our vector; returns how many there were. */
static int compare(const Toy *toy, int step, const char *kind, const float *vector, double limit)
{
    int compared = 0;
    for (int i = 0; i < toy->table.count; i++) {
        const Param *param = &toy->table.items[i];
        char name[128];
        snprintf(name, sizeof name, "step%d.%s.%s", step, kind, param->name);
        if (!safetensors_find(&toy->file, name)) continue;
        int64_t count;
        float *golden = golden_floats(&toy->file, name, &count);
        double error = max_abs_difference(vector + param->offset, golden, count);
        cr_assert_leq(error, limit * fmax(1, max_abs(golden, count)), "%s: %g off", name, error);
        free(golden);
        compared++;
    }
    return compared;
}

static Pool *make_pool(int threads)
{
    Pool *pool;
    Error error = {0};
    cr_assert_eq(pool_create(&pool, threads, &error), STATUS_OK);
    return pool;
}

static void step_toy(const OptimConfig *config, Toy *toy, Pool *pool, int number, double lr)
{
    double squares[32];
    OptimStep step = {.number = number, .lr = lr, .lr_body = lr, .grad_scale = 1};
    if (config->kind == OPT_LAMB) {
        double norm = sqrt(optim_grad_squares(&toy->table, pool, toy->grads, 0, toy->table.size));
        step.grad_scale = optim_own_clip(OPT_LAMB, norm);
        cr_assert_leq(toy->table.count, 16);
        optim_lamb_squares(config, &toy->table, pool, &toy->vectors, 0, toy->table.size, &step, squares);
        step.lamb_squares = squares;
    }
    optim_step(config, &toy->table, pool, &toy->vectors, 0, toy->table.size, &step);
}

static void check_golden(const char *name, OptimConfig config, const double lrs[5], bool decay_all)
{
    Toy toy = toy_open(name);
    Pool *pool = make_pool(1);
    bool adam = config.kind == OPT_ADAMW;
    for (int i = 0; decay_all && i < toy.table.count; i++) toy.table.items[i].decay = toy.table.items[i].trainable;
    if (config.ema_decay == 0) {
        free(toy.vectors.ema);
        toy.vectors.ema = NULL;
    }
    for (int step = 0; step < 5; step++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "step%d.grad.", step);
        load(&toy, prefix, toy.grads);
        step_toy(&config, &toy, pool, step + 1, lrs[step]);
        cr_assert_eq(compare(&toy, step, "param", toy.vectors.weights, 1.2e-7), 9);
        cr_assert_eq(compare(&toy, step, adam ? "exp_avg" : "momentum_buffer", toy.vectors.moment1, 1.2e-7), 8);
        if (adam) cr_assert_eq(compare(&toy, step, "exp_avg_sq", toy.vectors.moment2, 1e-9), 8);
        if (config.ema_decay > 0) cr_assert_eq(compare(&toy, step, "ema", toy.vectors.ema, 1.2e-7), 9);
    }
    pool_free(pool);
    toy_close(&toy);
}

static const OptimConfig ADAMW = {
    .kind = OPT_ADAMW, .weight_decay = 0.05, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .ema_decay = 0.99996};

Test(optim, adamw_goldens)
{
    OptimConfig config = ADAMW;
    check_golden("ops/optim_adamw", config, (double[]){5e-4, 5e-4, 5e-4, 5e-4, 5e-4}, false);
    config.weight_decay = 0.065;
    config.ema_decay = 0;
    check_golden("ops/optim_adamw_lr_changes", config, (double[]){1e-6, 5.09e-5, 1.008e-4, 1e-3, 1e-5}, false);
}

Test(optim, sgd_goldens)
{
    const double lrs[] = {0.05, 0.05, 0.05, 0.05, 0.05};
    OptimConfig config = {.kind = OPT_SGD, .weight_decay = 1e-3, .momentum = 0.9};
    check_golden("ops/optim_sgd_nesterov", config, lrs, false);
    config.kind = OPT_MOMENTUM;
    check_golden("ops/optim_sgd_momentum_timm", config, lrs, false);
    config.weight_decay = 5e-4;
    check_golden("ops/optim_sgd_momentum_transfer", config, lrs, true);
}

/* Weights and gradients of ops/optim_adamw, the gradients times factors that make LAMB's own clipping work and idle. */
Test(optim, lamb_goldens)
{
    static const double LRS[] = {4e-3, 4e-3, 1e-3, 5e-2, 1e-5};
    static const float SCALES[] = {0.25f, 50, 0.25f, 50, 1};
    const OptimConfig config = {.kind = OPT_LAMB, .weight_decay = 0.05, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-6};
    Toy toy = toy_open("ops/optim_adamw");
    Safetensors inputs = toy.file, golden = golden_open("ops/optim_lamb");
    Pool *pool = make_pool(2);
    for (int step = 0; step < 5; step++) {
        char prefix[32];
        int64_t count;
        snprintf(prefix, sizeof prefix, "step%d.grad.", step);
        toy.file = inputs;
        load(&toy, prefix, toy.grads);
        for (int64_t i = 0; i < toy.table.size; i++) toy.grads[i] *= SCALES[step];
        snprintf(prefix, sizeof prefix, "norm%d", step);
        double *norm = golden_doubles(&golden, prefix, &count);
        cr_assert_float_eq(sqrt(optim_sum_squares(pool, toy.grads, 0, toy.table.size)), *norm, 1e-6 * *norm);
        free(norm);
        step_toy(&config, &toy, pool, step + 1, LRS[step]);
        toy.file = golden;
        cr_assert_eq(compare(&toy, step, "param", toy.vectors.weights, 2.4e-7), 8);
    }
    cr_assert_eq(compare(&toy, 4, "exp_avg", toy.vectors.moment1, 1.2e-7), 8);
    cr_assert_eq(compare(&toy, 4, "exp_avg_sq", toy.vectors.moment2, 1e-9), 8);
    pool_free(pool);
    safetensors_close(&golden);
    toy.file = inputs;
    toy_close(&toy);
}

/* ---- clipping */

static void check_clip(const char *name, double max_norm)
{
    Safetensors file = golden_open(name);
    Toy toy = {.file = file, .table = toy_table(&file, "grad.", "grad.")};
    float *grads = calloc((size_t)toy.table.size, sizeof *grads), *clipped = calloc((size_t)toy.table.size, 4);
    load(&toy, "grad.", grads);
    load(&toy, "clipped.", clipped);
    int64_t count;
    double *norm = golden_doubles(&file, "norm", &count);
    Pool *pool = make_pool(2);
    double ours = sqrt(optim_sum_squares(pool, grads, 0, toy.table.size)), scale = optim_clip_scale(ours, max_norm);
    cr_assert_float_eq(ours, *norm, 1e-6 * *norm);
    for (int64_t i = 0; i < toy.table.size; i++) grads[i] *= (float)scale;
    cr_assert_leq(max_abs_difference(grads, clipped, toy.table.size), 1e-7);
    free(norm), free(grads), free(clipped);
    pool_free(pool);
    params_free(&toy.table);
    safetensors_close(&file);
}

Test(optim, clipping_goldens)
{
    check_clip("ops/clip_active", 1);
    check_clip("ops/clip_inactive", 100);
    cr_assert_eq(optim_clip_scale(1e9, 0), 1, "0 switches clipping off");
}

Test(optim, norm_has_the_same_bits_at_any_thread_count)
{
    enum { COUNT = 700001 };
    float *x = malloc(COUNT * sizeof *x);
    fill_scaled("norm", 3, x, COUNT);
    double plain = 0;
    for (int i = 5; i < COUNT; i++) plain += (double)x[i] * x[i];
    double first = 0;
    for (int threads = 1; threads <= 4; threads++) {
        Pool *pool = make_pool(threads);
        double sum = optim_sum_squares(pool, x, 5, COUNT);
        if (threads == 1) first = sum;
        cr_assert_eq(sum, first, "%d threads", threads);
        cr_assert_eq(optim_sum_squares(pool, x, 9, 9), 0);
        pool_free(pool);
    }
    cr_assert_float_eq(first, plain, 1e-10 * plain);
    x[COUNT - 1] = NAN;
    Pool *pool = make_pool(2);
    cr_assert(isnan(optim_sum_squares(pool, x, 0, COUNT)));
    pool_free(pool);
    free(x);
}

/* ---- against a plain loop, on a whole model's table */

static void plain_step(const OptimConfig *c, const ParamTable *table, const OptimVectors *x, int64_t step, double lr,
                       double grad_scale)
{
    float step_size = (float)(lr / (1 - pow(c->beta1, (double)step)));
    float root = (float)sqrt(1 - pow(c->beta2, (double)step));
    for (int p = 0; p < table->count; p++) {
        const Param *param = &table->items[p];
        for (int64_t i = param->offset; i < param->offset + param->numel; i++) {
            float w = x->weights[i], g = x->grads[i] * (float)grad_scale;
            if (param->trainable && c->kind == OPT_ADAMW) {
                x->moment1[i] = (float)c->beta1 * x->moment1[i] + (float)(1 - c->beta1) * g;
                x->moment2[i] = (float)c->beta2 * x->moment2[i] + (float)(1 - c->beta2) * g * g;
                float denominator = sqrtf(x->moment2[i]) / root + (float)c->eps;
                w = w * (param->decay ? (float)(1 - lr * c->weight_decay) : 1);
                w -= step_size * (x->moment1[i] / denominator);
            } else if (param->trainable) {
                if (param->decay) g += (float)c->weight_decay * w;
                x->moment1[i] = (float)c->momentum * x->moment1[i] + g;
                float direction = c->kind == OPT_SGD ? g + (float)c->momentum * x->moment1[i] : x->moment1[i];
                w -= (float)lr * direction;
            }
            x->weights[i] = w;
            x->ema[i] = (float)c->ema_decay * x->ema[i] + (float)(1 - c->ema_decay) * w;
        }
    }
}

enum { VECTORS = 5 };

static OptimVectors make_vectors(const ParamTable *table, float **memory)
{
    float *all = calloc((size_t)table->size * VECTORS, sizeof *all), *x[VECTORS];
    for (int i = 0; i < VECTORS; i++) x[i] = all + i * table->size;
    params_init(table, 3, x[0]);
    memcpy(x[4], x[0], (size_t)table->size * sizeof *all);
    for (int i = 0; i < table->count; i++)
        fill_scaled(table->items[i].name, 0.01, x[1] + table->items[i].offset, table->items[i].numel);
    *memory = all;
    return (OptimVectors){x[0], x[1], x[2], x[3], x[4]};
}

static void check_against_plain(OptKind kind)
{
    ModelConfig config = golden_model("t2t_vit_7");
    config.depth = 1;
    config.num_classes = 37;
    ParamTable table;
    Error error = {0};
    cr_assert_eq(params_build(&table, &config, &error), STATUS_OK);
    OptimConfig optim = ADAMW;
    optim.kind = kind;
    optim.momentum = 0.9;
    float *memory[2];
    OptimVectors plain = make_vectors(&table, &memory[0]);
    for (int step = 1; step <= 2; step++) plain_step(&optim, &table, &plain, step, 1e-3, 0.5);
    /* At any thread count, and cut anywhere as a sharded update cuts: the same bits. */
    static const double CUTS[] = {0, 0.3, 0.30001, 0.77, 1};
    for (int threads = 1; threads <= 3; threads++) {
        Pool *pool = make_pool(threads);
        OptimVectors ours = make_vectors(&table, &memory[1]);
        for (int step = 1; step <= 2; step++)
            for (int i = 0; i < 4; i++) {
                int64_t begin = (int64_t)(CUTS[i] * (double)table.size),
                        end = (int64_t)(CUTS[i + 1] * (double)table.size);
                OptimVectors slice = ours;
                slice.moment1 += begin;
                slice.moment2 += begin;
                optim_step(&optim, &table, pool, &slice, begin, end,
                           &(OptimStep){.number = step, .lr = 1e-3, .lr_body = 1e-3, .grad_scale = 0.5});
            }
        for (int64_t i = 0; i < table.size * VECTORS; i++)
            cr_assert_eq(memory[0][i], memory[1][i], "vector %d, element %d: %.9g, expected %.9g",
                         (int)(i / table.size), (int)(i % table.size), memory[1][i], memory[0][i]);
        free(memory[1]);
        pool_free(pool);
    }
    const Param *frozen = params_find(&table, "tokens_to_token.attention1.w");
    cr_assert_eq(max_abs(plain.moment1 + frozen->offset, frozen->numel), 0, "frozen tensors have no moments");
    free(memory[0]);
    params_free(&table);
}

Test(optim, adamw_equals_a_plain_loop)
{
    check_against_plain(OPT_ADAMW);
}

Test(optim, nesterov_equals_a_plain_loop)
{
    check_against_plain(OPT_SGD);
}

Test(optim, momentum_equals_a_plain_loop)
{
    check_against_plain(OPT_MOMENTUM);
}

/* ---- LAMB over slices, rates and frozen tensors */

typedef struct Trained { /* a model with one block, and vectors of its own */
    ModelConfig config;
    ParamTable table;
    OptimVectors vectors;
    float *memory;
} Trained;

static Trained trained_open(void)
{
    Trained trained = {.config = golden_model("t2t_vit_7")};
    Error error = {0};
    trained.config.depth = 1;
    trained.config.num_classes = 37;
    cr_assert_eq(params_build(&trained.table, &trained.config, &error), STATUS_OK);
    trained.vectors = make_vectors(&trained.table, &trained.memory);
    return trained;
}

static void trained_close(Trained *trained)
{
    free(trained->memory);
    params_free(&trained->table);
}

/* As ranks with `zero: 1` do it: squares of each slice, summed, then the update of each slice. */
static void lamb_in_slices(const OptimConfig *optim, Trained *trained, Pool *pool, const double *cuts, int slices,
                           OptimStep step)
{
    const size_t figures = 2 * (size_t)trained->table.count;
    double *total = calloc(figures, sizeof *total), *part = malloc(figures * sizeof *part);
    step.lamb_squares = total;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < slices; i++) {
            int64_t begin = (int64_t)(cuts[i] * (double)trained->table.size),
                    end = (int64_t)(cuts[i + 1] * (double)trained->table.size);
            OptimVectors slice = trained->vectors;
            slice.moment1 += begin;
            slice.moment2 += begin;
            if (pass == 1) {
                optim_step(optim, &trained->table, pool, &slice, begin, end, &step);
                continue;
            }
            optim_lamb_squares(optim, &trained->table, pool, &slice, begin, end, &step, part);
            for (size_t k = 0; k < figures; k++) total[k] += part[k];
        }
    free(part);
    free(total);
}

Test(optim, lamb_in_slices_equals_lamb)
{
    static const double WHOLE[] = {0, 1}, CUTS[] = {0, 0.3, 0.30001, 0.77, 1};
    const OptimConfig optim = {
        .kind = OPT_LAMB, .weight_decay = 0.05, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-6, .ema_decay = 0.99};
    Trained one = trained_open();
    Pool *single = make_pool(1);
    for (int step = 1; step <= 3; step++)
        lamb_in_slices(&optim, &one, single, WHOLE, 1,
                       (OptimStep){.number = step, .lr = 1e-2, .lr_body = 1e-2, .grad_scale = 0.5});
    for (int threads = 1; threads <= 3; threads++) {
        Pool *pool = make_pool(threads);
        Trained whole = trained_open(), cut = trained_open();
        for (int step = 1; step <= 3; step++) {
            const OptimStep update = {.number = step, .lr = 1e-2, .lr_body = 1e-2, .grad_scale = 0.5};
            lamb_in_slices(&optim, &whole, pool, WHOLE, 1, update);
            lamb_in_slices(&optim, &cut, pool, CUTS, 4, update);
        }
        for (int64_t i = 0; i < one.table.size * VECTORS; i++) {
            cr_assert_eq(whole.memory[i], one.memory[i], "%d threads, element %d", threads, (int)i);
            cr_assert_float_eq(cut.memory[i], one.memory[i], 1e-6 * fmax(1, fabs(one.memory[i])),
                               "in slices, element %d: %.9g, expected %.9g", (int)i, cut.memory[i], one.memory[i]);
        }
        trained_close(&whole);
        trained_close(&cut);
        pool_free(pool);
    }
    trained_close(&one);
    pool_free(single);
}

static bool moved(const Trained *trained, const char *name)
{
    Trained fresh = trained_open();
    const Param *param = params_find(&fresh.table, name);
    size_t bytes = (size_t)param->numel * sizeof(float);
    bool other = memcmp(fresh.vectors.weights + param->offset, trained->vectors.weights + param->offset, bytes) != 0;
    trained_close(&fresh);
    return other;
}

Test(optim, frozen_tensors_stay_and_count_in_no_norm)
{
    for (OptKind kind = OPT_ADAMW; kind <= OPT_LAMB; kind++) {
        OptimConfig optim = {.kind = kind, .weight_decay = 0.05, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
        Trained trained = trained_open();
        Pool *pool = make_pool(2);
        const double all = optim_grad_squares(&trained.table, pool, trained.vectors.grads, 0, trained.table.size);
        cr_assert_eq(all, optim_sum_squares(pool, trained.vectors.grads, 0, trained.table.size));
        cr_assert_eq(params_freeze(&trained.table, "cls_token"), 1);
        cr_assert_eq(params_freeze(&trained.table, "blocks.0.*"), 11);
        cr_assert_eq(params_freeze(&trained.table, "pos_embed"), 0, "what is not trained cannot be frozen");
        cr_assert_eq(params_freeze(&trained.table, "block"), 0);
        double frozen = 0;
        for (int i = 0; i < trained.table.count; i++) {
            const Param *param = &trained.table.items[i];
            if (param->frozen)
                frozen += optim_sum_squares(pool, trained.vectors.grads, param->offset, param->offset + param->numel);
        }
        cr_assert_gt(frozen, 0);
        for (int cut = 0; cut <= 10; cut++) {
            const int64_t at = trained.table.size * cut / 10;
            double rest = optim_grad_squares(&trained.table, pool, trained.vectors.grads, 0, at) +
                          optim_grad_squares(&trained.table, pool, trained.vectors.grads, at, trained.table.size);
            cr_assert_float_eq(rest, all - frozen, 1e-9 * all, "cut in %d tenths", cut);
        }
        lamb_in_slices(&optim, &trained, pool, (double[]){0, 1}, 1,
                       (OptimStep){.number = 1, .lr = 0.1, .lr_body = 0.1, .grad_scale = 1});
        cr_assert(!moved(&trained, "cls_token") && !moved(&trained, "blocks.0.attn.qkv.weight"));
        cr_assert(moved(&trained, "norm.weight") && moved(&trained, "head.bias"));
        pool_free(pool);
        trained_close(&trained);
    }
}

Test(optim, the_head_has_a_rate_of_its_own)
{
    for (OptKind kind = OPT_ADAMW; kind <= OPT_LAMB; kind++) {
        OptimConfig optim = {.kind = kind, .weight_decay = 0.05, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
        Pool *pool = make_pool(1);
        Trained body = trained_open(), head = trained_open(), both = trained_open();
        const double whole[] = {0, 1};
        lamb_in_slices(&optim, &body, pool, whole, 1, (OptimStep){.number = 1, .lr_body = 1e-3, .grad_scale = 1});
        lamb_in_slices(&optim, &head, pool, whole, 1, (OptimStep){.number = 1, .lr = 1e-1, .grad_scale = 1});
        lamb_in_slices(&optim, &both, pool, whole, 1,
                       (OptimStep){.number = 1, .lr = 1e-1, .lr_body = 1e-3, .grad_scale = 1});
        cr_assert(!moved(&body, "head.weight") && moved(&body, "norm.weight"));
        cr_assert(moved(&head, "head.weight") && moved(&head, "head.bias") && !moved(&head, "norm.weight"));
        for (int i = 0; i < both.table.count; i++) {
            const Param *param = &both.table.items[i];
            const Trained *from = param->head ? &head : &body;
            cr_assert_eq(max_abs_difference(both.vectors.weights + param->offset, from->vectors.weights + param->offset,
                                            param->numel),
                         0, "%s", param->name);
        }
        pool_free(pool);
        trained_close(&body), trained_close(&head), trained_close(&both);
    }
}

Test(optim, decay_on_all_trained_tensors)
{
    Trained trained = trained_open();
    params_decay_all(&trained.table);
    for (int i = 0; i < trained.table.count; i++)
        cr_assert_eq(trained.table.items[i].decay, trained.table.items[i].trainable);
    trained_close(&trained);
}
