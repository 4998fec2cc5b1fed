#include "tools/bench/bench_model.h"

#include <math.h>
#include <stdlib.h>

#include "core/base/memory.h"
#include "core/base/rng.h"

/* Normalised pixels and one label each. */
static Status make_batch(BenchModel *bench, int count, Error *error)
{
    const ModelConfig *model = &bench->config.model;
    int64_t pixels = (int64_t)count * model->in_chans * model->img_size * model->img_size;
    bench->images = memory_alloc(pixels, sizeof *bench->images, "random images", error);
    if (!bench->images) return error->status;
    bench->targets = memory_alloc((int64_t)count * model->num_classes, sizeof *bench->targets, "their targets", error);
    if (!bench->targets) return error->status;
    bench->samples = memory_alloc(count, sizeof *bench->samples, "their numbers", error);
    if (!bench->samples) return error->status;
    Rng rng = rng_make(0, RNG_SYNTHETIC, 0, 0);
    for (int64_t i = 0; i < pixels; i++) bench->images[i] = (float)rng_range(&rng, -2, 2);
    for (int b = 0; b < count; b++) {
        bench->samples[b] = (uint64_t)b;
        bench->targets[(size_t)b * (size_t)model->num_classes + (size_t)(b % model->num_classes)] = 1.0f;
    }
    bench->batch = (StepBatch){
        .input = {.count = count, .images = bench->images, .training = !bench->infer, .samples = bench->samples},
        .targets = bench->targets,
        .scale = 1.0 / count,
        .number = -1};
    return STATUS_OK;
}

Status bench_model_create(BenchModel *bench, const BenchModelSetup *setup, Error *error)
{
    *bench = (BenchModel){.config = setup->config, .infer = setup->infer};
    bench->config.optim.ema_decay = 0.99996;
    bench->config.model_ema_warmup = false;
    bench->config.clip_grad = 1.0;
    Status status = pool_create(&bench->pool, setup->threads, error);
    if (!status) status = make_batch(bench, setup->batch, error);
    if (setup->world) status = world_agree(setup->world->comm, status, error);
    if (status) return status;
    const TrainStepSetup step = {.config = &bench->config,
                                 .kind = setup->infer ? STEP_FORWARD : STEP_UPDATE,
                                 .micro_batch = setup->batch,
                                 .pool = bench->pool,
                                 .world = setup->world,
                                 .timeline = setup->timeline};
    status = train_step_create(&bench->step, &step, error);
    if (setup->world) status = world_agree(setup->world->comm, status, error);
    if (status) return status;
    params_init(bench->step.table, 0, bench->step.vectors.weights);
    model_set_weights(bench->step.model, bench->step.vectors.weights);
    return STATUS_OK;
}

void bench_model_free(BenchModel *bench)
{
    train_step_free(&bench->step);
    profile_free(bench->profile);
    pool_free(bench->pool);
    free(bench->images);
    free(bench->targets);
    free(bench->samples);
    *bench = (BenchModel){0};
}

Status bench_model_profile(BenchModel *bench, Error *error)
{
    Status status = profile_create(&bench->profile, pool_threads(bench->pool), error);
    if (status) return status;
    model_profile(bench->step.model, bench->profile);
    bench->step.profile = bench->profile;
    return STATUS_OK;
}

void bench_model_gradients(BenchModel *bench, TrainStep *step)
{
    StepBatch *batch = &bench->batch;
    batch->input.epoch = (uint64_t)++batch->number; /* moves, so that drop path drops other branches each step */
    if (!bench->infer) {
        train_step_gradients(step, batch);
        return;
    }
    model_forward(step->model, &batch->input, step->logits);
    if (bench->profile) profile_charge_all(bench->profile, PHASE_IDLE);
}

Status bench_model_update(TrainStep *step, Error *error)
{
    StepSums sums;
    Status status = train_step_agree(step, &sums, NULL, 0, error);
    return status ? status : train_step_update(step, 1e-6, 1e-6, sqrt(sums.squares), error);
}
