#include "dist/config/config.h"

#include <inttypes.h>
#include <math.h>

#include "dist/config/config_keys.h"

/* ---- defaults: main.py of the official code, whose global batch is 512 (8 x 64) */

void config_defaults(Config *config)
{
    *config = (Config){
        .shuffle = true,
        .workers = 2,
        .batch_size = 512,
        .accumulate = 1,
        .optim = {.kind = OPT_ADAMW, .weight_decay = 0.05, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .momentum = 0.9},
        .lr = 5e-4,
        .lr_base_batch = 512,
        .transfer_ratio = 1,
        .schedule = {.kind = SCHED_COSINE,
                     .min_lr = 1e-5,
                     .warmup_lr = 1e-6,
                     .epochs = 300,
                     .warmup_epochs = 10,
                     .cooldown_epochs = 10},
        .model_ema = true,
        .model_ema_decay = 0.99996,
        .seed = 42,
        .bucket_mb = 8,
        .watchdog = 600,
        .checkpoint_unit = CHECKPOINT_SECONDS,
        .checkpoint_every = 1800,
        .keep = 3,
        .checkpoint_failures = 3,
        .grace = 120,
        .eval_every = 1,
        .log_interval = 50,
    };
    Error none = {0};
    augment_defaults(&config->pipeline);
    zoo_find("t2t_vit_14", &config->model, &none);
    config->model.drop_path = 0.1;
    config_resolve(config);
}

/* Linear: Goyal et al. (2017). Square root: for Adam and LAMB, You et al. (ICLR 2020). */
static double lr_factor(const Config *config)
{
    const double ratio = (double)config->batch_size / (double)config->lr_base_batch;
    return config->lr_scale == LR_SCALE_LINEAR ? ratio : config->lr_scale == LR_SCALE_SQRT ? sqrt(ratio) : 1;
}

void config_resolve(Config *config)
{
    config->pipeline.img_size = config->model.img_size;
    config->optim.ema_decay = config->model_ema ? config->model_ema_decay : 0;
    config->schedule.lr = config->lr * lr_factor(config);
}

/* ---- what no single key shows */

static Status check_pair(const char *low_name, double low, const char *high_name, double high, Error *error)
{
    if (low <= high) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "%s: %g must not be more than %s, %g", low_name, low, high_name, high);
}

/* Each of W logical workers takes batch_size / W images, and their gradients are the leaves of one balanced tree. */
static Status check_reproducible(const Config *config, Error *error)
{
    const int workers = config->reproducible;
    if (workers == 0) return STATUS_OK;
    int power = 1;
    while (power * 2 <= workers) power *= 2;
    if (power != workers)
        return error_set(error, STATUS_USAGE, "reproducible: %d is no power of two: take %d, or 0 for off", workers,
                         power);
    int fits = workers;
    while (config->batch_size % fits != 0) fits /= 2;
    if (fits != workers)
        return error_set(error, STATUS_USAGE,
                         "reproducible: %d logical workers cannot share a batch_size of %lld equally: take %d, or a "
                         "batch_size that is a multiple of %d",
                         workers, (long long)config->batch_size, fits, workers);
    if (config->wire != WIRE_FP32)
        return error_set(error, STATUS_USAGE,
                         "reproducible: needs wire: fp32; bf16 and fp16 round on the way between ranks, where another "
                         "number of ranks rounds elsewhere");
    if (config->allreduce != ALLREDUCE_AUTO && config->allreduce != ALLREDUCE_TREE)
        return error_set(error, STATUS_USAGE,
                         "reproducible: needs allreduce: tree, or auto, which then takes it; the other ways add in an "
                         "order that depends on the number of ranks");
    if (config->zero == 1 && config->optim.kind == OPT_LAMB)
        return error_set(
            error, STATUS_USAGE,
            "reproducible: with opt: lamb it needs zero: 0; otherwise the norms of tensors are summed over "
            "slices, which depend on the number of ranks");
    if (config->accumulate > config->batch_size / workers)
        return error_set(error, STATUS_USAGE,
                         "accumulate: %d parts of a logical worker's %lld images: take at most as many",
                         config->accumulate, (long long)(config->batch_size / workers));
    return STATUS_OK;
}

Status config_check(const Config *config, Error *error)
{
    const ScheduleConfig *schedule = &config->schedule;
    Status status = zoo_check(&config->model, error);
    if (!status) status = augment_check(&config->pipeline, error);
    if (!status && schedule->warmup_epochs >= schedule->epochs)
        status = error_set(error, STATUS_USAGE, "warmup_epochs: %d must be less than epochs, %d",
                           schedule->warmup_epochs, schedule->epochs);
    if (!status && schedule->kind == SCHED_COSINE)
        status = check_pair("min_lr", schedule->min_lr, "lr", schedule->lr, error);
    if (!status && schedule->warmup_epochs > 0)
        status = check_pair("warmup_lr", schedule->warmup_lr, "lr", schedule->lr, error);
    if (!status) status = check_pair("accumulate", config->accumulate, "batch_size", (double)config->batch_size, error);
    if (!status) status = check_reproducible(config, error);
    ParamTable table = {0};
    if (!status) status = config_params(config, &table, error);
    params_free(&table);
    return status;
}

Status config_params(const Config *config, ParamTable *table, Error *error)
{
    Status status = params_build(table, &config->model, error);
    int left = 0;
    for (int i = 0; i < config->freeze.count && !status; i++)
        if (params_freeze(table, config->freeze.items[i]) == 0)
            status =
                error_set(error, STATUS_USAGE,
                          "freeze: \"%s\" matches no trained tensor of this model; expected names or patterns such as "
                          "cls_token, norm.* or blocks.[0-3].*",
                          config->freeze.items[i]);
    for (int i = 0; i < table->count; i++) left += table->items[i].trainable && !table->items[i].frozen;
    if (!status && left == 0) status = error_set(error, STATUS_USAGE, "freeze: nothing is left to train");
    if (config->weight_decay_all) params_decay_all(table);
    return status;
}

void config_describe_lr(const Config *config, char *text, size_t size)
{
    snprintf(text, size, "lr %g", config->schedule.lr);
    if (config->lr_scale == LR_SCALE_NONE) return;
    snprintf(text, size, "lr %g = %g x %g (lr_scale %s: batch_size %" PRId64 " over lr_base_batch %" PRId64 ")",
             config->schedule.lr, config->lr, lr_factor(config),
             config->lr_scale == LR_SCALE_LINEAR ? "linear" : "sqrt", config->batch_size, config->lr_base_batch);
}

/* The published rates are 5e-4 (14, 19, 24) and 1e-3 (7, 10, 12) at a global batch of 512. A rate of one's own is
 * nobody's business, and a factor of four leaves room for other ways of scaling. */
bool config_lr_unscaled(const Config *config, char *text, size_t size)
{
    double scale = (double)config->batch_size / 512, lr = config->lr;
    bool published = lr == 5e-4 || lr == 1e-3;
    if (config->optim.kind != OPT_ADAMW || config->init_weights[0] || !published) return false;
    if (config->lr_scale != LR_SCALE_NONE) return false;
    if (scale >= 0.25 && scale <= 4) return false;
    snprintf(text, size,
             "lr %g is as published for a global batch of 512, but batch_size is %lld; scaled with it, it would be %g",
             lr, (long long)config->batch_size, lr * scale);
    return true;
}
