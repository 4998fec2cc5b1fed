#include "data/loader/batch_sampler.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/base/memory.h"

/* Units between the one that is claimed and the one whose record is fetched from disk. */
enum { PREFETCH_UNITS = 32 };

static Status check(const LoaderConfig *config, const Dataset *dataset, Error *error)
{
    int64_t count = dataset_count(dataset);
    if (config->depth < 2) return error_set(error, STATUS_USAGE, "loader: depth %d: at least 2", config->depth);
    if (config->classes < dataset_classes(dataset))
        return error_set(error, STATUS_USAGE, "the data set has %d classes, but num_classes is %d",
                         dataset_classes(dataset), config->classes);
    if (!config->training) {
        if (config->batch < 1 || config->begin < 0 || config->begin > config->end || config->end > count)
            return error_set(error, STATUS_USAGE,
                             "loader: images %" PRId64 " .. %" PRId64 " of %" PRId64 " in batches of %d", config->begin,
                             config->end, count, config->batch);
        return STATUS_OK;
    }
    if (config->global_batch > count)
        return error_set(error, STATUS_USAGE,
                         "the training split has %" PRId64 " images, fewer than the global batch of %" PRId64
                         ": lower batch_size",
                         count, config->global_batch);
    if (config->begin < 0 || config->begin > config->end || config->end > config->global_batch)
        return error_set(error, STATUS_USAGE, "loader: part %" PRId64 " .. %" PRId64 " of a global batch of %" PRId64,
                         config->begin, config->end, config->global_batch);
    return STATUS_OK;
}

static Status create_order(BatchSampler *sampler, const Dataset *dataset, Error *error)
{
    const LoaderConfig *config = sampler->config;
    int shards = dataset_shards(dataset);
    int64_t *begin = memory_alloc(shards + 1, sizeof *begin, "the bounds of the shards", error);
    if (!begin) return STATUS_FAILED;
    for (int i = 0; i <= shards; i++) begin[i] = dataset_shard_begin(dataset, i);
    OrderConfig order = {.seed = config->seed,
                         .shuffle = config->shuffle,
                         .repeats = config->pipeline.aug_repeats,
                         .step = config->global_batch};
    Status status = order_create(&sampler->order, &order, begin, shards, error);
    free(begin);
    return status;
}

Status batch_sampler_create(BatchSampler *sampler, const Dataset *dataset, const LoaderConfig *config, Error *error)
{
    *sampler = (BatchSampler){.config = config};
    Status status = check(config, dataset, error);
    if (status) return status;
    sampler->steps = config->training ? dataset_count(dataset) / config->global_batch : 0;
    sampler->local = config->training ? config->end - config->begin : config->batch;
    return config->training ? create_order(sampler, dataset, error) : STATUS_OK;
}

void batch_sampler_free(BatchSampler *sampler)
{
    order_free(&sampler->order);
}

int64_t batch_sampler_images(const BatchSampler *sampler, int64_t sequence)
{
    if (sampler->config->training) return sampler->local;
    int64_t left = sampler->config->end - sampler->config->begin - sequence * sampler->local;
    return left < sampler->local ? left : sampler->local;
}

/* Units of a training batch are the pairs (0 1)(2 3) ... of the global batch that touch this rank's part. */
int64_t batch_sampler_units(const BatchSampler *sampler, int64_t sequence)
{
    if (!sampler->config->training || sampler->local == 0) return batch_sampler_images(sampler, sequence);
    return (sampler->config->end - 1) / 2 - sampler->config->begin / 2 + 1;
}

bool batch_sampler_is_past_end(const BatchSampler *sampler, int64_t sequence)
{
    return !sampler->config->training && batch_sampler_images(sampler, sequence) <= 0;
}

int64_t batch_sampler_epoch(const BatchSampler *sampler, int64_t sequence)
{
    return sampler->first_epoch + (sampler->config->training ? (sampler->first_step + sequence) / sampler->steps : 0);
}

int64_t batch_sampler_step(const BatchSampler *sampler, int64_t sequence)
{
    int64_t step = sampler->first_step + sequence;
    return sampler->config->training ? step % sampler->steps : step;
}

static WorkImage training_image(const BatchSampler *sampler, int64_t step, int64_t offset)
{
    const LoaderConfig *config = sampler->config;
    int64_t position = step * config->global_batch + offset;
    bool own = offset >= config->begin && offset < config->end;
    return (WorkImage){position, order_at(&sampler->order, position), own ? (int)(offset - config->begin) : -1};
}

static void name_images(BatchSampler *sampler, int64_t sequence, int64_t number, WorkUnit *unit)
{
    const LoaderConfig *config = sampler->config;
    int64_t epoch = batch_sampler_epoch(sampler, sequence), step = batch_sampler_step(sampler, sequence);
    unit->count = 1;
    if (!config->training) {
        int64_t index = config->begin + step * sampler->local + number;
        unit->images[0] = (WorkImage){index, index, (int)number};
        return;
    }
    if (sampler->order.epoch != epoch) order_set_epoch(&sampler->order, epoch);
    int64_t offset = (config->begin / 2 + number) * 2, partner = offset + 1;
    if (partner == config->global_batch) partner = offset - 1; /* the odd one out borrows its predecessor's partner */
    unit->images[0] = training_image(sampler, step, offset);
    if (partner < 0) return;
    unit->images[1] = training_image(sampler, step, partner);
    if (partner < offset) unit->images[1].place = -1;
    unit->count = 2;
}

/* Within an epoch: what the unit PREFETCH_UNITS further will read. */
static void look_ahead(BatchSampler *sampler, int64_t sequence, int64_t number, WorkUnit *unit)
{
    const int64_t epoch = batch_sampler_epoch(sampler, sequence);
    unit->ahead[0] = unit->ahead[1] = -1;
    number += PREFETCH_UNITS;
    while (!batch_sampler_is_past_end(sampler, sequence) && number >= batch_sampler_units(sampler, sequence))
        number -= batch_sampler_units(sampler, sequence++);
    if (batch_sampler_is_past_end(sampler, sequence) || batch_sampler_epoch(sampler, sequence) != epoch) return;
    WorkUnit later;
    name_images(sampler, sequence, number, &later);
    for (int i = 0; i < later.count; i++) unit->ahead[i] = later.images[i].index;
}

void batch_sampler_unit(BatchSampler *sampler, int64_t sequence, int64_t number, WorkUnit *unit)
{
    name_images(sampler, sequence, number, unit);
    look_ahead(sampler, sequence, number, unit);
}
