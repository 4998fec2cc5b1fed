#include "tools/bench/bench_model.h"

#include <math.h>
#include <stdlib.h>

#include "core/optim/loss.h"
#include "core/base/rng.h"

static Status allocate(BenchModel *bench, Error *error)
{
    const ModelConfig *config = bench->config;
    size_t size = (size_t)model_params(bench->model)->size;
    size_t outputs = (size_t)bench->batch * (size_t)config->num_classes;
    size_t pixels =
        (size_t)bench->batch * (size_t)config->in_chans * (size_t)config->img_size * (size_t)config->img_size;
    bench->vectors = calloc((bench->infer ? 1 : 5) * size, sizeof(float));
    bench->images = calloc(pixels, sizeof(float));
    bench->logits = calloc(3 * outputs, sizeof(float));
    bench->samples = calloc((size_t)bench->batch, sizeof *bench->samples);
    if (!bench->vectors || !bench->images || !bench->logits || !bench->samples)
        return error_set(error, STATUS_FAILED, "out of memory for a batch of %d", bench->batch);
    bench->targets = bench->logits + outputs;
    bench->dlogits = bench->targets + outputs;
    bench->weights = bench->vectors;
    if (!bench->infer) {
        bench->grads = bench->vectors + size;
        bench->moment1 = bench->vectors + 2 * size;
        bench->moment2 = bench->vectors + 3 * size;
        bench->ema = bench->vectors + 4 * size;
    }
    Rng rng = rng_make(0, RNG_SYNTHETIC, 0, 0);
    for (size_t i = 0; i < pixels; i++) bench->images[i] = (float)rng_range(&rng, -2, 2);
    for (int b = 0; b < bench->batch; b++) {
        bench->samples[b] = (uint64_t)b;
        bench->targets[(size_t)b * (size_t)config->num_classes + (size_t)(b % config->num_classes)] = 1.0f;
    }
    return STATUS_OK;
}

Status bench_model_create(BenchModel *bench, const Config *config, int batch, int threads, bool infer, Error *error)
{
    *bench = (BenchModel){.config = &config->model, .optim = config->optim, .batch = batch, .infer = infer};
    bench->optim.ema_decay = 0.99996;
    Status status = pool_create(&bench->pool, threads, error);
    if (!status)
        status =
            model_create(&bench->model, bench->config, batch, infer ? MODEL_EVAL : MODEL_TRAIN, bench->pool, error);
    if (!status) status = allocate(bench, error);
    if (status) return status;
    params_init(model_params(bench->model), bench->config, 0, bench->weights);
    model_set_weights(bench->model, bench->weights);
    return STATUS_OK;
}

void bench_model_free(BenchModel *bench)
{
    model_free(bench->model);
    profile_free(bench->profile);
    pool_free(bench->pool);
    free(bench->vectors);
    free(bench->images);
    free(bench->logits);
    free(bench->samples);
    *bench = (BenchModel){0};
}

Status bench_model_profile(BenchModel *bench, Error *error)
{
    Status status = profile_create(&bench->profile, pool_threads(bench->pool), error);
    if (!status) model_profile(bench->model, bench->profile);
    return status;
}

/* All threads spent the time since their last lap on this part, or waited for those that did. */
static void lap_all(const BenchModel *bench, Part part)
{
    if (bench->profile) profile_lap_all(bench->profile, part);
}

void bench_model_gradients(BenchModel *bench, float *grads, GradsReady ready, void *context)
{
    /* The epoch moves, so that drop path drops other branches each step. */
    ModelInput input = {.count = bench->batch,
                        .images = bench->images,
                        .training = !bench->infer,
                        .epoch = (uint64_t)bench->step,
                        .samples = bench->samples};
    model_forward(bench->model, &input, bench->logits);
    lap_all(bench, PART_IDLE);
    if (bench->infer) return;
    loss_soft_target(bench->logits, bench->targets, bench->batch, bench->config->num_classes, 1.0 / bench->batch,
                     bench->dlogits);
    lap_all(bench, PART_LOSS);
    model_backward(bench->model, bench->dlogits, grads, false, ready, context);
    lap_all(bench, PART_IDLE);
}

void bench_model_update(BenchModel *bench, const float *grads, int64_t begin, int64_t end, double squares)
{
    const OptimVectors vectors = {bench->weights, grads, bench->moment1, bench->moment2, bench->ema};
    const OptimStep step = {
        .number = ++bench->step, .lr = 1e-6, .lr_body = 1e-6, .grad_scale = optim_clip_scale(sqrt(squares), 1.0)};
    optim_step(&bench->optim, model_params(bench->model), bench->pool, &vectors, begin, end, &step);
    lap_all(bench, PART_UPDATE);
    model_set_weights(bench->model, bench->weights); /* they changed */
}
