#include "tests/support/trial.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "core/optim/loss.h"
#include "tests/support/golden.h"

static float *floats(int64_t count)
{
    float *out = calloc((size_t)count, sizeof *out);
    cr_assert(out);
    return out;
}

Trial trial_start(const ModelConfig *config, int batch, ModelMode mode, int threads)
{
    Trial trial = {.config = *config, .batch = batch};
    Error error = {0};
    cr_assert_eq(pool_create(&trial.pool, threads, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(model_create(&trial.model, config, batch, mode, trial.pool, &error), STATUS_OK, "%s", error.message);
    trial.table = model_params(trial.model);
    int64_t pixels = (int64_t)batch * config->in_chans * config->img_size * config->img_size;
    int64_t outputs = (int64_t)batch * config->num_classes, labels[batch];
    trial.weights = floats(trial.table->size);
    trial.grads = floats(trial.table->size);
    trial.images = floats(pixels);
    trial.logits = floats(outputs);
    trial.targets = floats(outputs);
    trial.dlogits = floats(outputs);
    for (int64_t i = 0; i < trial.table->size; i++) trial.grads[i] = NAN;
    for (int i = 0; i < batch; i++)
        labels[i] = (int64_t)(fill_hash("target", (uint64_t)i) % (uint64_t)config->num_classes);
    loss_smooth_targets(labels, batch, config->num_classes, 0.1, trial.targets);
    fill_scaled("input", 1.5, trial.images, pixels);
    fill_weights(trial.table, trial.weights);
    trial.input = (ModelInput){.count = batch, .images = trial.images};
    return trial;
}

void trial_forward(Trial *trial)
{
    model_set_weights(trial->model, trial->weights);
    model_forward(trial->model, &trial->input, trial->logits);
    trial->loss = loss_soft_target(trial->logits, trial->targets, trial->batch, trial->config.num_classes,
                                   1.0 / trial->batch, trial->dlogits);
}

void trial_backward(Trial *trial)
{
    model_backward(trial->model, trial->dlogits, trial->grads, false, NULL, NULL);
}

void trial_end(Trial *trial)
{
    model_free(trial->model);
    pool_free(trial->pool);
    free(trial->weights);
    free(trial->grads);
    free(trial->images);
    free(trial->logits);
    free(trial->targets);
    free(trial->dlogits);
}
