#include "data/loader/batch_sampler.h"

#include <stdlib.h>

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
            return error_set(error, STATUS_USAGE, "loader: images %lld .. %lld of %lld in batches of %d",
                             (long long)config->begin, (long long)config->end, (long long)count, config->batch);
        return STATUS_OK;
    }
    if (config->global_batch > count)
        return error_set(error, STATUS_USAGE,
                         "the training split has %lld images, fewer than the global batch of %lld: lower batch_size",
                         (long long)count, (long long)config->global_batch);
    if (config->begin < 0 || config->begin > config->end || config->end > config->global_batch)
        return error_set(error, STATUS_USAGE, "loader: part %lld .. %lld of a global batch of %lld",
                         (long long)config->begin, (long long)config->end, (long long)config->global_batch);
    return STATUS_OK;
}

static Status create_order(LoaderPlan *plan, const Dataset *dataset, Error *error)
{
    const LoaderConfig *config = plan->config;
    int shards = dataset_shards(dataset);
    int64_t *begin = malloc(((size_t)shards + 1) * sizeof *begin);
    if (!begin) return error_set(error, STATUS_FAILED, "out of memory: the bounds of %d shards", shards);
    for (int i = 0; i <= shards; i++) begin[i] = dataset_shard_begin(dataset, i);
    OrderConfig order = {.seed = config->seed,
                         .shuffle = config->shuffle,
                         .repeats = config->pipeline.aug_repeats,
                         .step = config->global_batch};
    Status status = order_create(&plan->order, &order, begin, shards, error);
    free(begin);
    return status;
}

Status loader_plan_create(LoaderPlan *plan, const Dataset *dataset, const LoaderConfig *config, Error *error)
{
    *plan = (LoaderPlan){.config = config};
    Status status = check(config, dataset, error);
    if (status) return status;
    plan->steps = config->training ? dataset_count(dataset) / config->global_batch : 0;
    plan->local = config->training ? config->end - config->begin : config->batch;
    return config->training ? create_order(plan, dataset, error) : STATUS_OK;
}

void loader_plan_free(LoaderPlan *plan)
{
    order_free(&plan->order);
}

int64_t loader_plan_images(const LoaderPlan *plan, int64_t sequence)
{
    if (plan->config->training) return plan->local;
    int64_t left = plan->config->end - plan->config->begin - sequence * plan->local;
    return left < plan->local ? left : plan->local;
}

/* Units of a training batch are the pairs (0 1)(2 3) ... of the global batch that touch this rank's part. */
int64_t loader_plan_units(const LoaderPlan *plan, int64_t sequence)
{
    if (!plan->config->training || plan->local == 0) return loader_plan_images(plan, sequence);
    return (plan->config->end - 1) / 2 - plan->config->begin / 2 + 1;
}

bool loader_plan_is_past_end(const LoaderPlan *plan, int64_t sequence)
{
    return !plan->config->training && loader_plan_images(plan, sequence) <= 0;
}

int64_t loader_plan_epoch(const LoaderPlan *plan, int64_t sequence)
{
    return plan->first_epoch + (plan->config->training ? (plan->first_step + sequence) / plan->steps : 0);
}

int64_t loader_plan_step(const LoaderPlan *plan, int64_t sequence)
{
    int64_t step = plan->first_step + sequence;
    return plan->config->training ? step % plan->steps : step;
}

static WorkImage training_image(const LoaderPlan *plan, int64_t step, int64_t offset)
{
    const LoaderConfig *config = plan->config;
    int64_t position = step * config->global_batch + offset;
    bool own = offset >= config->begin && offset < config->end;
    return (WorkImage){position, order_at(&plan->order, position), own ? (int)(offset - config->begin) : -1};
}

static void name_images(LoaderPlan *plan, int64_t sequence, int64_t number, WorkUnit *unit)
{
    const LoaderConfig *config = plan->config;
    int64_t epoch = loader_plan_epoch(plan, sequence), step = loader_plan_step(plan, sequence);
    unit->count = 1;
    if (!config->training) {
        int64_t index = config->begin + step * plan->local + number;
        unit->images[0] = (WorkImage){index, index, (int)number};
        return;
    }
    if (plan->order.epoch != epoch) order_set_epoch(&plan->order, epoch);
    int64_t offset = (config->begin / 2 + number) * 2, partner = offset + 1;
    if (partner == config->global_batch) partner = offset - 1; /* the odd one out borrows its predecessor's partner */
    unit->images[0] = training_image(plan, step, offset);
    if (partner < 0) return;
    unit->images[1] = training_image(plan, step, partner);
    if (partner < offset) unit->images[1].place = -1;
    unit->count = 2;
}

/* Within an epoch: what the unit PREFETCH_UNITS further will read. */
static void look_ahead(LoaderPlan *plan, int64_t sequence, int64_t number, WorkUnit *unit)
{
    const int64_t epoch = loader_plan_epoch(plan, sequence);
    unit->ahead[0] = unit->ahead[1] = -1;
    number += PREFETCH_UNITS;
    while (!loader_plan_is_past_end(plan, sequence) && number >= loader_plan_units(plan, sequence))
        number -= loader_plan_units(plan, sequence++);
    if (loader_plan_is_past_end(plan, sequence) || loader_plan_epoch(plan, sequence) != epoch) return;
    WorkUnit later;
    name_images(plan, sequence, number, &later);
    for (int i = 0; i < later.count; i++) unit->ahead[i] = later.images[i].index;
}

void loader_plan_unit(LoaderPlan *plan, int64_t sequence, int64_t number, WorkUnit *unit)
{
    name_images(plan, sequence, number, unit);
    look_ahead(plan, sequence, number, unit);
}
