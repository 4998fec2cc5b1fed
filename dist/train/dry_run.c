#include "dist/train/dry_run.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/model/model.h"
#include "core/model/zoo.h"
#include "data/dataset/dataset.h"
#include "dist/train/step.h"

static const double MB = 1e6;

/* Vectors of the whole model that a rank holds: weights, gradients (zero: and of the moments its slice alone), average,
 * and with `reproducible` the sums that wait (leaves.h). */
static double state_bytes(const Config *config, const ParamTable *table, int ranks)
{
    const double moments = optim_has_moment2(config->optim.kind) ? 2 : 1;
    double vectors = 2 + moments / (config->zero ? ranks : 1) + (config->optim.ema_decay > 0 ? 1 : 0);
    for (int leaves = config->reproducible / ranks; leaves > 1; leaves /= 2) vectors++;
    return vectors * (double)table->size * sizeof(float);
}

/* Of the loader's ring; loader.h says what its workers have besides. */
static double ring_bytes(const Config *config, int64_t images)
{
    const double side = config->model.img_size;
    return 3.0 * (double)images * (12 * side * side + 4.0 * config->model.num_classes + 24);
}

static Status print_model(const Config *config, int ranks, FILE *out, Error *error)
{
    const int64_t largest = (config->batch_size + ranks - 1) / ranks;
    const int micro_batch = train_micro_batch(config, ranks);
    ParamTable table = {0};
    Pool *pool = NULL;
    size_t bytes = 0;
    int frozen = 0;
    Status status = config_params(config, &table, error);
    if (!status) status = pool_create(&pool, pool_useful_threads(config->threads), error);
    if (!status) status = model_measure(&config->model, micro_batch, MODEL_TRAIN, pool, &bytes, error);
    if (!status) {
        for (int i = 0; i < table.count; i++) frozen += table.items[i].frozen;
        const double state = state_bytes(config, &table, ranks), ring = ring_bytes(config, largest);
        fprintf(out,
                "model       %s: %" PRId64 " parameters, %" PRId64 " of them trainable, %d tensors frozen; %.3f GMAC\n",
                config->model.name, table.numel, table.trainable, frozen,
                (double)macs_total(zoo_macs(&config->model)) * 1e-9);
        fprintf(out, "a rank      %" PRId64 " images of a step, %d at a time\n", largest, micro_batch);
        fprintf(out,
                "memory      %.0f MB a rank: %.0f activations and the model's copies, %.0f weights, gradients and "
                "optimizer, %.0f images\n",
                ((double)bytes + state + ring) / MB, (double)bytes / MB, state / MB, ring / MB);
    }
    pool_free(pool);
    params_free(&table);
    return status;
}

static Status print_data(const Config *config, FILE *out, Error *error)
{
    if (!config->data[0]) {
        fprintf(out, "data        none given, so neither data nor steps are checked: --set data=DIR\n");
        return STATUS_OK;
    }
    Dataset *images = NULL, *validation = NULL;
    Status status = dataset_open(&images, config->data, "train", error);
    if (!status) status = dataset_open(&validation, config->data, "val", error);
    if (!status && dataset_classes(images) > config->model.num_classes)
        status = error_set(error, STATUS_USAGE, "num_classes: %d, but %s has %d classes", config->model.num_classes,
                           config->data, dataset_classes(images));
    if (!status && dataset_count(images) < config->batch_size)
        status =
            error_set(error, STATUS_DATA,
                      "%s has %" PRId64 " training images, fewer than batch_size, %" PRId64 ": an epoch has no step",
                      config->data, dataset_count(images), config->batch_size);
    if (!status) {
        const int64_t steps = dataset_count(images) / config->batch_size;
        const int epochs = schedule_total_epochs(&config->schedule);
        fprintf(out,
                "data        %s: %" PRId64 " training and %" PRId64 " validation images, %d classes for a head of %d\n",
                config->data, dataset_count(images), dataset_count(validation), dataset_classes(images),
                config->model.num_classes);
        fprintf(out, "steps       %" PRId64 " = %d epochs of %" PRId64 "; %" PRId64 " images are left out of each\n",
                steps * epochs, epochs, steps, dataset_count(images) % config->batch_size);
    }
    dataset_close(validation);
    dataset_close(images);
    return status;
}

Status dry_run(const Config *config, int ranks, FILE *out, Error *error)
{
    char *settings = NULL, text[512];
    Status status = config_text(config, &settings, error);
    if (status) return status;
    fprintf(out, "%s\n", settings);
    free(settings);
    config_describe_lr(config, text, sizeof text);
    fprintf(out, "ranks       %d; global batch %" PRId64 "; %s\n", ranks, config->batch_size, text);
    status = print_model(config, ranks, out, error);
    if (!status) status = print_data(config, out, error);
    if (!status) fprintf(out, "dry run: nothing was written\n");
    return status;
}
