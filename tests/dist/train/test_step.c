/* The training step, beside the calls of core/ that it is made of. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/optim/loss.h"
#include "core/optim/optim.h"
#include "dist/train/step.h"
#include "tests/support/models.h"

enum { IMAGES = 5, MOST_PIXELS = IMAGES * 3 * 64 * 64 };

typedef struct Bench {
    Config config;
    Pool *pool;
    float *images, *targets;
    uint64_t samples[IMAGES];
    StepBatch batch;
    Error error;
} Bench;

/* Everything random is on, so that a batch in parts must key its masks by its own images. */
static Bench bench_start(void)
{
    Bench bench = {0};
    config_defaults(&bench.config);
    bench.config.model = golden_model("tiny_performer");
    bench.config.model.drop = bench.config.model.drop_path = 0.2;
    bench.config.clip_grad = 0.5;
    bench.config.optim.ema_decay = 0.9;
    bench.config.model_ema_warmup = true;
    const ModelConfig *model = &bench.config.model;
    int pixels = IMAGES * model->in_chans * model->img_size * model->img_size, outputs = IMAGES * model->num_classes;
    cr_assert_leq(pixels, MOST_PIXELS);
    cr_assert_eq(pool_create(&bench.pool, 2, &bench.error), STATUS_OK);
    bench.images = calloc((size_t)pixels, sizeof(float));
    bench.targets = calloc((size_t)outputs, sizeof(float));
    Rng rng = rng_make(1, RNG_SYNTHETIC, 0, 0);
    for (int i = 0; i < pixels; i++) bench.images[i] = (float)rng_range(&rng, -2, 2);
    for (int i = 0; i < IMAGES; i++) {
        bench.samples[i] = (uint64_t)(3 * i + 1);
        bench.targets[i * model->num_classes + i % model->num_classes] = 1;
    }
    bench.batch =
        (StepBatch){.input = {.count = IMAGES, .images = bench.images, .training = true, .seed = 4, .epoch = 2},
                    .targets = bench.targets,
                    .scale = 1.0 / IMAGES,
                    .number = 6};
    return bench;
}

static void bench_end(Bench *bench)
{
    pool_free(bench->pool);
    free(bench->images);
    free(bench->targets);
}

static TrainStep step_start(Bench *bench, StepKind kind, int micro_batch)
{
    TrainStep step;
    const TrainStepSetup setup = {
        .config = &bench->config, .kind = kind, .micro_batch = micro_batch, .pool = bench->pool};
    bench->batch.input.samples = bench->samples;
    cr_assert_eq(train_step_create(&step, &setup, &bench->error), STATUS_OK, "%s", bench->error.message);
    params_init(step.table, 1, step.vectors.weights);
    model_set_weights(step.model, step.vectors.weights);
    return step;
}

static double largest_difference(const float *a, const float *b, int64_t count)
{
    double largest = 0;
    for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs((double)a[i] - (double)b[i]));
    return largest;
}

Test(step, micro_batches_add_up_to_the_batch)
{
    Bench bench = bench_start();
    TrainStep whole = step_start(&bench, STEP_GRADIENTS, IMAGES);
    double loss = train_step_gradients(&whole, &bench.batch), norm = sqrt(train_step_squares(&whole));
    cr_assert_gt(norm, 0.01);
    for (int size = 1; size < IMAGES; size++) {
        TrainStep parts = step_start(&bench, STEP_GRADIENTS, size);
        memset(parts.grads, 0x7f, (size_t)parts.table->size * sizeof *parts.grads); /* is overwritten */
        cr_assert_float_eq(train_step_gradients(&parts, &bench.batch), loss, 1e-6);
        cr_assert_lt(largest_difference(parts.grads, whole.grads, whole.table->size), 1e-5 * norm, "parts of %d", size);
        train_step_free(&parts);
    }
    train_step_free(&whole);
    bench_end(&bench);
}

Test(step, a_rank_without_images_has_zeros)
{
    Bench bench = bench_start();
    TrainStep step = step_start(&bench, STEP_GRADIENTS, 2);
    train_step_gradients(&step, &bench.batch);
    bench.batch.input.count = 0;
    cr_assert_eq(train_step_gradients(&step, &bench.batch), 0);
    cr_assert_eq(train_step_squares(&step), 0);
    train_step_free(&step);
    bench_end(&bench);
}

/* Forward, loss, backward and the optimizer by hand; the step's must be the same in every bit. */
Test(step, an_update_is_clipped_stepped_and_averaged_as_core_says)
{
    Bench bench = bench_start();
    const ModelConfig *model = &bench.config.model;
    TrainStep step = step_start(&bench, STEP_UPDATE, IMAGES), by_hand = step_start(&bench, STEP_UPDATE, IMAGES);
    const double lr = 0.01, ramp = 8.0 / 17.0; /* of update 7 */
    cr_assert_lt(ramp, bench.config.optim.ema_decay);

    StepSums sums;
    double loss = train_step_gradients(&step, &bench.batch), squares = train_step_squares(&step);
    cr_assert_eq(train_step_sum(&step, &bench.error), STATUS_OK);
    cr_assert_eq(train_step_agree(&step, &sums, NULL, 0, &bench.error), STATUS_OK);
    cr_assert(sums.loss == loss && sums.squares == squares);
    cr_assert_eq(train_step_update(&step, lr, lr, sqrt(squares), &bench.error), STATUS_OK);

    model_forward(by_hand.model, &bench.batch.input, by_hand.logits);
    cr_assert_eq(
        loss_soft_target(by_hand.logits, bench.targets, IMAGES, model->num_classes, 1.0 / IMAGES, by_hand.grad_logits),
        loss);
    model_backward(by_hand.model, by_hand.grad_logits, by_hand.grads, false, NULL, NULL);
    double norm = sqrt(optim_sum_squares(bench.pool, by_hand.grads, 0, by_hand.table->size));
    cr_assert_gt(norm, bench.config.clip_grad);
    OptimConfig optim = bench.config.optim;
    optim.ema_decay = ramp;
    const OptimVectors vectors = {by_hand.vectors.weights, by_hand.grads, by_hand.vectors.moment1,
                                  by_hand.vectors.moment2, by_hand.vectors.ema};
    const OptimStep update = {
        .number = 7, .lr = lr, .lr_body = lr, .grad_scale = optim_clip_scale(norm, bench.config.clip_grad)};
    optim_step(&optim, by_hand.table, bench.pool, &vectors, 0, by_hand.table->size, &update);

    size_t bytes = (size_t)step.table->size * sizeof(float);
    cr_assert_eq(memcmp(step.vectors.weights, by_hand.vectors.weights, bytes), 0);
    cr_assert_eq(memcmp(step.vectors.moment1, by_hand.vectors.moment1, bytes), 0);
    cr_assert_eq(memcmp(step.vectors.moment2, by_hand.vectors.moment2, bytes), 0);
    cr_assert_eq(memcmp(step.vectors.ema, by_hand.vectors.ema, bytes), 0);

    /* The next step computes with the new weights. */
    model_set_weights(by_hand.model, by_hand.vectors.weights);
    double next = train_step_gradients(&by_hand, &bench.batch);
    cr_assert_eq(train_step_gradients(&step, &bench.batch), next);
    cr_assert_neq(next, loss);
    train_step_free(&step);
    train_step_free(&by_hand);
    bench_end(&bench);
}

Test(step, a_kind_has_the_vectors_that_it_needs)
{
    Bench bench = bench_start();
    TrainStep step = step_start(&bench, STEP_FORWARD, 2);
    cr_assert(step.logits && !step.grads && !step.vectors.moment1 && !step.vectors.ema);
    train_step_free(&step);
    step = step_start(&bench, STEP_GRADIENTS, 2);
    cr_assert(step.grads && !step.vectors.moment1 && !step.vectors.ema);
    train_step_free(&step);
    bench.config.optim.kind = OPT_SGD;
    bench.config.optim.ema_decay = 0;
    step = step_start(&bench, STEP_UPDATE, 2);
    cr_assert(step.grads && step.vectors.moment1 && !step.vectors.moment2 && !step.vectors.ema);
    train_step_free(&step);
    bench_end(&bench);
}
