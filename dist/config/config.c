#include "dist/config/config.h"

#include "data/augment/randaugment.h"
#include "dist/config/config_keys.h"

/* ---- defaults: main.py of the official code, whose global batch is 512 (8 x 64) */

void config_defaults(Config *config)
{
    *config = (Config){
        .pipeline =
            {
                .scale = {0.08, 1},
                .ratio = {3. / 4, 4. / 3},
                .hflip = 0.5,
                .color_jitter = 0.4,
                .aa = "rand-m9-mstd0.5-inc1",
                .train_interpolation = INTERPOLATION_RANDOM,
                .interpolation = INTERPOLATION_BICUBIC,
                .crop_pct = 0.9,
                .mean = {0.485, 0.456, 0.406},
                .std = {0.229, 0.224, 0.225},
                .reprob = 0.25,
                .remode = ERASE_PIXEL,
                .recount = 1,
                .mixup = 0.8,
                .cutmix = 1,
                .mixup_prob = 1,
                .mixup_switch_prob = 0.5,
                .mixup_mode = MIX_BATCH,
                .mixup_group = 64,
                .smoothing = 0.1,
            },
        .shuffle = true,
        .workers = 2,
        .batch_size = 512,
        .accumulate = 1,
        .optim = {.kind = OPT_ADAMW, .weight_decay = 0.05, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .momentum = 0.9},
        .schedule = {.kind = SCHED_COSINE,
                     .lr = 5e-4,
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
    zoo_find("t2t_vit_14", &config->model, &none);
    config->model.drop_path = 0.1;
    config_resolve(config);
}

void config_resolve(Config *config)
{
    config->pipeline.img_size = config->model.img_size;
    config->optim.ema_decay = config->model_ema ? config->model_ema_decay : 0;
}

/* ---- what no single key shows */

static Status check_pair(const char *low_name, double low, const char *high_name, double high, Error *error)
{
    if (low <= high) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "%s: %g must not be more than %s, %g", low_name, low, high_name, high);
}

Status config_check(const Config *config, Error *error)
{
    const ScheduleConfig *schedule = &config->schedule;
    const PipelineConfig *pipeline = &config->pipeline;
    RandAugment policy;
    Status status = zoo_check(&config->model, error);
    if (!status) status = randaugment_parse(&policy, pipeline->aa, error);
    if (!status && schedule->warmup_epochs >= schedule->epochs)
        status = error_set(error, STATUS_USAGE, "warmup_epochs: %d must be less than epochs, %d",
                           schedule->warmup_epochs, schedule->epochs);
    if (!status && schedule->kind == SCHED_COSINE)
        status = check_pair("min_lr", schedule->min_lr, "lr", schedule->lr, error);
    if (!status && schedule->warmup_epochs > 0)
        status = check_pair("warmup_lr", schedule->warmup_lr, "lr", schedule->lr, error);
    if (!status) status = check_pair("scale", pipeline->scale[0], "its second number", pipeline->scale[1], error);
    if (!status) status = check_pair("ratio", pipeline->ratio[0], "its second number", pipeline->ratio[1], error);
    if (!status) status = check_pair("accumulate", config->accumulate, "batch_size", (double)config->batch_size, error);
    if (!status) status = check_pair("crop_padding", pipeline->crop_padding, "img_size", pipeline->img_size, error);
    if (!status && pipeline->mixup_group % 2 != 0)
        status = error_set(error, STATUS_USAGE, "mixup_group: %d is odd, and neighbours are mixed in pairs: take %d",
                           pipeline->mixup_group, pipeline->mixup_group + 1);
    if (!status && pipeline->interpolation == INTERPOLATION_RANDOM)
        status = error_set(error, STATUS_USAGE,
                           "interpolation: evaluation takes bilinear or bicubic; random is for train_interpolation");
    return status;
}

/* The published rates are 5e-4 (14, 19, 24) and 1e-3 (7, 10, 12) at a global batch of 512. A rate of one's own is
 * nobody's business, and a factor of four leaves room for other ways of scaling. */
bool config_lr_unscaled(const Config *config, char *text, size_t size)
{
    double scale = (double)config->batch_size / 512, lr = config->schedule.lr;
    bool published = lr == 5e-4 || lr == 1e-3;
    if (config->optim.kind != OPT_ADAMW || config->init_weights[0] || !published) return false;
    if (scale >= 0.25 && scale <= 4) return false;
    snprintf(text, size,
             "lr %g is as published for a global batch of 512, but batch_size is %lld; scaled with it, it would be %g",
             lr, (long long)config->batch_size, lr * scale);
    return true;
}
