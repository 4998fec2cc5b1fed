/* What must hold whatever the weights: threads, slices, accumulation, random masks, evaluation against training. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernels/bf16.h"
#include "core/kernels/kernels.h"
#include "core/model/t2t_layer.h"
#include "core/optim/loss.h"
#include "core/optim/optim.h"
#include "tests/support/golden.h"
#include "tests/support/models.h"
#include "tests/support/trial.h"

/* bf16 by the processor, or by its emulation where it has none. */
static void emulate_if_needed(void)
{
    if (strstr(bf16_at(0)->name, "emulated")) setenv("T2T_KERNELS", "bf16_emulated", 1);
}

/* Dropout and drop path wherever the model has them. */
static ModelConfig random_model(const char *name)
{
    ModelConfig config = golden_model(name);
    config.drop = 0.1;
    config.attn_drop = 0.2;
    config.drop_path = 0.5;
    config.token_dropout = 0.15;
    return config;
}

static Trial start_training(const ModelConfig *config, int batch, int threads, const uint64_t *samples)
{
    Trial trial = trial_start(config, batch, MODEL_TRAIN, threads);
    trial.input.training = true;
    trial.input.seed = 3;
    trial.input.epoch = 2;
    trial.input.samples = samples;
    return trial;
}

static const uint64_t SAMPLES[] = {11, 7, 100000, 3, 5, 13, 17, 19, 23, 29, 31};

enum { SAMPLE_COUNT = sizeof SAMPLES / sizeof SAMPLES[0] };

static void check_threads(Precision precision)
{
    for (int m = 0; TINY_MODELS[m]; m++) {
        ModelConfig config = random_model(TINY_MODELS[m]);
        config.precision = precision;
        Trial one = start_training(&config, SAMPLE_COUNT, 1, SAMPLES);
        trial_forward(&one);
        trial_backward(&one);
        for (int threads = 2; threads <= 3; threads++) {
            Trial many = start_training(&config, SAMPLE_COUNT, threads, SAMPLES);
            trial_forward(&many);
            trial_backward(&many);
            cr_assert_arr_eq(many.logits, one.logits, SAMPLE_COUNT * 10 * sizeof(float), "%s", config.name);
            cr_assert_arr_eq(many.grads, one.grads, (size_t)one.table->size * sizeof(float), "%s", config.name);
            trial_end(&many);
        }
        trial_end(&one);
    }
}

/* Weights after two steps of AdamW with the kernels of that name; the caller frees them. */
static float *trained_with(const char *kernels, const ModelConfig *config, size_t *size)
{
    OptimConfig adamw = {.weight_decay = 0.05, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    setenv("T2T_KERNELS", kernels, 1);
    Trial trial = start_training(config, SAMPLE_COUNT, 2, SAMPLES);
    *size = (size_t)trial.table->size;
    float *moments = calloc(2 * *size, sizeof *moments), *weights = malloc(*size * sizeof *weights);
    OptimVectors vectors = {.weights = trial.weights, .grads = trial.grads, .moment1 = moments};
    vectors.moment2 = moments + *size;
    for (int number = 1; number <= 2; number++) {
        OptimStep step = {.number = number, .lr = 1e-2, .lr_body = 1e-2, .grad_scale = 1};
        model_set_weights(trial.model, trial.weights);
        trial_forward(&trial);
        trial_backward(&trial);
        optim_step(&adamw, trial.table, trial.pool, &vectors, 0, trial.table->size, &step);
    }
    memcpy(weights, trial.weights, *size * sizeof *weights);
    trial_end(&trial);
    free(moments);
    return weights;
}

/* A run may move between nodes of different instruction sets, or use both. */
Test(model_rules, training_gives_the_same_bits_with_all_kernels_but_the_generic)
{
    for (int m = 0; TINY_MODELS[m]; m++) {
        ModelConfig config = random_model(TINY_MODELS[m]);
        size_t size;
        float *want = trained_with(kernels_at(0)->name, &config, &size);
        for (int t = 1; kernels_at(t) && strcmp(kernels_at(t)->name, "generic") != 0; t++) {
            float *got = trained_with(kernels_at(t)->name, &config, &size);
            cr_expect_arr_eq(got, want, size * sizeof *got, "%s: %s and %s", config.name, kernels_at(0)->name,
                             kernels_at(t)->name);
            free(got);
        }
        free(want);
    }
}

Test(model_rules, results_are_the_same_bits_at_any_thread_count)
{
    check_threads(PRECISION_FP32);
    emulate_if_needed();
    check_threads(PRECISION_BF16);
}

static void check_evaluation(Precision precision)
{
    for (int m = 0; TINY_MODELS[m]; m++) {
        ModelConfig config = golden_model(TINY_MODELS[m]);
        config.precision = precision;
        Trial train = trial_start(&config, 9, MODEL_TRAIN, 2), eval = trial_start(&config, 9, MODEL_EVAL, 2);
        trial_forward(&train);
        trial_forward(&eval);
        cr_assert_arr_eq(eval.logits, train.logits, 90 * sizeof(float), "%s", config.name);
        cr_assert_lt(model_memory(eval.model), model_memory(train.model));
        size_t measured;
        Error error = {0};
        cr_assert_eq(model_measure(&train.config, train.batch, MODEL_TRAIN, train.pool, &measured, &error), STATUS_OK);
        cr_assert_eq(measured, model_memory(train.model));
        trial_end(&train);
        trial_end(&eval);
    }
}

Test(model_rules, evaluation_mode_gives_training_modes_logits)
{
    check_evaluation(PRECISION_FP32);
    emulate_if_needed();
    check_evaluation(PRECISION_BF16);
}

Test(model_rules, a_smaller_batch_than_the_largest)
{
    ModelConfig config = golden_model("tiny_performer");
    Trial large = trial_start(&config, 10, MODEL_TRAIN, 2), small = trial_start(&config, 3, MODEL_TRAIN, 2);
    trial_forward(&large); /* leaves its activations behind */
    trial_backward(&large);
    large.input.count = large.batch = 3;
    trial_forward(&large);
    trial_backward(&large);
    trial_forward(&small);
    trial_backward(&small);
    cr_assert_arr_eq(large.logits, small.logits, 30 * sizeof(float));
    cr_assert_arr_eq(large.grads, small.grads, (size_t)small.table->size * sizeof(float));
    trial_end(&large);
    trial_end(&small);
}

static void check_again(Precision precision)
{
    for (int m = 0; TINY_MODELS[m]; m++) {
        ModelConfig config = random_model(TINY_MODELS[m]);
        config.precision = precision;
        if (config.variant != VARIANT_DENSE) config.depth = 4;
        Trial none = start_training(&config, SAMPLE_COUNT, 2, SAMPLES);
        trial_forward(&none);
        trial_backward(&none);
        size_t memory = model_memory(none.model);
        for (Recompute recompute = RECOMPUTE_TOKENS; recompute <= RECOMPUTE_BLOCKS; recompute++) {
            config.recompute = recompute;
            Trial again = start_training(&config, SAMPLE_COUNT, 2, SAMPLES);
            for (int step = 0; step < 2; step++) { /* the second finds what the first left behind */
                trial_forward(&again);
                trial_backward(&again);
                cr_assert_arr_eq(again.logits, none.logits, SAMPLE_COUNT * 10 * sizeof(float), "%s", config.name);
                cr_assert_arr_eq(again.grads, none.grads, (size_t)none.table->size * sizeof(float), "%s", config.name);
            }
            cr_assert_leq(model_memory(again.model), memory, "%s, %d", config.name, recompute);
            trial_end(&again);
        }
        trial_end(&none);
    }
}

Test(model_rules, what_is_computed_again_has_the_same_bits)
{
    check_again(PRECISION_FP32);
    emulate_if_needed();
    check_again(PRECISION_BF16);
}

/* ---- bfloat16 beside float32 */

/* A bfloat16 is off by 2^-9 at most; what is left of it in sums, through a few layers and back, is of that size. */
Test(model_rules, bf16_is_near_float32)
{
    emulate_if_needed();
    for (int m = 0; TINY_MODELS[m]; m++) {
        ModelConfig config = random_model(TINY_MODELS[m]);
        Trial full = start_training(&config, SAMPLE_COUNT, 2, SAMPLES);
        config.precision = PRECISION_BF16;
        Trial half = start_training(&config, SAMPLE_COUNT, 2, SAMPLES);
        trial_forward(&full);
        trial_backward(&full);
        trial_forward(&half);
        trial_backward(&half);
        double logits = relative_l2(half.logits, full.logits, SAMPLE_COUNT * 10);
        double grads = relative_l2(half.grads, full.grads, full.table->size);
        cr_log_info("%s: logits %.2e, gradients %.2e", config.name, logits, grads);
        cr_expect(logits > 1e-4 && logits < 0.02, "%s: logits are off by %.3g", config.name, logits);
        cr_expect(grads > 1e-4 && grads < 0.04, "%s: gradients are off by %.3g", config.name, grads);
        trial_end(&full);
        trial_end(&half);
    }
}

/* Of what a training step holds: activations, and the copies of weights. */
Test(model_rules, bf16_needs_at_most_six_tenths_of_the_memory)
{
    static const char *const NAMES[] = {"t2t_vit_7", "t2t_vit_14"};
    emulate_if_needed();
    for (int m = 0; m < 2; m++) {
        size_t memory[2];
        for (Precision precision = PRECISION_FP32; precision <= PRECISION_BF16; precision++) {
            ModelConfig config = golden_model(NAMES[m]);
            config.precision = precision;
            Error error = {0};
            Pool *pool;
            Model *model;
            cr_assert_eq(pool_create(&pool, 1, &error), STATUS_OK);
            cr_assert_eq(model_create(&model, &config, 32, MODEL_TRAIN, pool, &error), STATUS_OK, "%s", error.message);
            memory[precision] = model_memory(model);
            model_free(model);
            pool_free(pool);
        }
        double share = (double)memory[PRECISION_BF16] / (double)memory[PRECISION_FP32];
        cr_expect_leq(share, 0.6, "%s: %.3f", NAMES[m], share);
    }
}

/* ---- gradients leave as slices */

typedef struct Slices {
    const float *grads;
    float *copy; /* of each slice when it was reported */
    int64_t end;
    int count;
} Slices;

static void take_slice(void *context, int64_t offset, int64_t count)
{
    Slices *slices = context;
    cr_assert_eq(offset + count, slices->end, "a gap before %lld", (long long)slices->end);
    cr_assert_gt(count, 0);
    memcpy(slices->copy + offset, slices->grads + offset, (size_t)count * sizeof(float));
    slices->end = offset;
    slices->count++;
}

Test(model_rules, slices_are_final_and_cover_the_vector_once)
{
    for (int m = 0; TINY_MODELS[m]; m++) {
        ModelConfig config = golden_model(TINY_MODELS[m]);
        Trial trial = trial_start(&config, 2, MODEL_TRAIN, 2);
        Slices slices = {.grads = trial.grads, .end = trial.table->size};
        slices.copy = malloc((size_t)trial.table->size * sizeof(float));
        trial_forward(&trial);
        model_backward(trial.model, trial.dlogits, trial.grads, false, take_slice, &slices);
        cr_assert_eq(slices.end, 0);
        cr_assert_eq(slices.count, trial.table->groups);
        cr_assert_arr_eq(slices.copy, trial.grads, (size_t)trial.table->size * sizeof(float), "%s", config.name);
        free(slices.copy);
        trial_end(&trial);
    }
}

Test(model_rules, accumulation_adds)
{
    for (int m = 0; TINY_MODELS[m]; m++) {
        ModelConfig config = golden_model(TINY_MODELS[m]);
        Trial trial = trial_start(&config, CHUNK_MOST + 1, MODEL_TRAIN, 2); /* two chunks of the token layers */
        trial_forward(&trial);
        trial_backward(&trial);
        float *twice = malloc((size_t)trial.table->size * sizeof(float));
        for (int64_t i = 0; i < trial.table->size; i++) twice[i] = 2 * trial.grads[i];
        trial_forward(&trial);
        model_backward(trial.model, trial.dlogits, trial.grads, true, NULL, NULL);
        double error = relative_l2(trial.grads, twice, trial.table->size);
        cr_assert_lt(error, 1e-6, "%s: %g", config.name, error);
        free(twice);
        trial_end(&trial);
    }
}

/* ---- randomness */

/* An image's masks depend on its sample number alone: not on its place in the batch, nor on who is beside it. */
Test(model_rules, masks_follow_the_sample)
{
    ModelConfig config = random_model("tiny_performer");
    const uint64_t swapped[] = {7, 11};
    Trial a = start_training(&config, 2, 1, SAMPLES), b = start_training(&config, 2, 1, swapped);
    size_t half = (size_t)(3 * config.img_size * config.img_size);
    memcpy(b.images, a.images + half, half * sizeof(float));
    memcpy(b.images + half, a.images, half * sizeof(float));
    trial_forward(&a);
    trial_forward(&b);
    cr_assert_lt(max_abs_difference(a.logits, b.logits + 10, 10), 1e-5 * max_abs(a.logits, 10));
    cr_assert_lt(max_abs_difference(a.logits + 10, b.logits, 10), 1e-5 * max_abs(a.logits, 10));
    trial_end(&a);
    trial_end(&b);
}

Test(model_rules, another_epoch_seed_or_sample_is_another_mask)
{
    ModelConfig config = random_model("tiny_transformer");
    Trial a = start_training(&config, 1, 1, SAMPLES), b = start_training(&config, 1, 1, SAMPLES);
    trial_forward(&a);
    for (int change = 0; change < 4; change++) {
        b.input.seed = a.input.seed + (change == 1);
        b.input.epoch = a.input.epoch + (change == 2);
        b.input.samples = SAMPLES + (change == 3);
        trial_forward(&b);
        bool same = memcmp(a.logits, b.logits, 10 * sizeof(float)) == 0;
        cr_assert_eq(same, change == 0, "change %d", change);
    }
    trial_end(&a);
    trial_end(&b);
}

/* Along the gradient of each tensor the loss rises by its norm: the masks of forward and backward are the same ones. */
static void check_slopes(const char *name)
{
    ModelConfig config = random_model(name);
    Trial trial = start_training(&config, 3, 2, SAMPLES);
    trial_forward(&trial);
    trial_backward(&trial);
    for (int i = 0; i < trial.table->count; i++) {
        const Param *param = &trial.table->items[i];
        const float *grad = trial.grads + param->offset;
        float *weight = trial.weights + param->offset;
        double square = 0, loss[2];
        for (int64_t j = 0; j < param->numel; j++) square += (double)grad[j] * grad[j];
        if (!param->trainable || square < 1e-6) continue;
        float *before = malloc((size_t)param->numel * sizeof(float));
        memcpy(before, weight, (size_t)param->numel * sizeof(float));
        double step = 2e-3 / sqrt(square); /* the loss changes by 0.002, far above its rounding */
        for (int side = 0; side < 2; side++) {
            for (int64_t j = 0; j < param->numel; j++)
                weight[j] = (float)(before[j] + (side ? step : -step) * grad[j] / sqrt(square));
            trial_forward(&trial);
            loss[side] = trial.loss;
        }
        memcpy(weight, before, (size_t)param->numel * sizeof(float));
        free(before);
        double slope = (loss[1] - loss[0]) / (2 * step), norm = sqrt(square);
        cr_expect_lt(fabs(slope / norm - 1), 0.02, "%s %s: slope %g, gradient's norm %g", name, param->name, slope,
                     norm);
    }
    trial_end(&trial);
}

Test(model_rules, finite_differences_with_dropout_and_drop_path)
{
    check_slopes("tiny_performer");
    check_slopes("tiny_convolution");
    check_slopes("tiny_transformer_qkvbias");
    check_slopes("tiny_se");
    check_slopes("tiny_ghost");
    check_slopes("tiny_dense");
    check_slopes("tiny_vit");
}

Test(model_rules, a_shape_that_cannot_be_built_is_refused)
{
    ModelConfig config = golden_model("tiny_performer");
    Error error = {0};
    Pool *pool;
    Model *model;
    cr_assert_eq(pool_create(&pool, 1, &error), STATUS_OK);
    config.num_heads = 5;
    cr_assert_eq(model_create(&model, &config, 1, MODEL_EVAL, pool, &error), STATUS_USAGE);
    cr_assert_null(model);
    cr_assert(strstr(error.message, "num_heads"), "%s", error.message);
    pool_free(pool);
}
