#include "data/augment/augment.h"

#include "data/augment/randaugment.h"

void augment_defaults(PipelineConfig *config)
{
    *config = (PipelineConfig){
        .img_size = 224,
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
    };
}

static Status check_order(const char *key, const double pair[2], Error *error)
{
    if (pair[0] <= pair[1]) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "%s: %g must not be more than its second number, %g", key, pair[0], pair[1]);
}

Status augment_check(const PipelineConfig *config, Error *error)
{
    RandAugment policy;
    Status status = randaugment_parse(&policy, config->aa, error);
    if (!status) status = check_order("scale", config->scale, error);
    if (!status) status = check_order("ratio", config->ratio, error);
    if (!status && config->crop_padding > config->img_size)
        status = error_set(error, STATUS_USAGE, "crop_padding: %d must not be more than img_size, %d",
                           config->crop_padding, config->img_size);
    if (!status && config->mixup_group % 2 != 0)
        status = error_set(error, STATUS_USAGE, "mixup_group: %d is odd, and neighbours are mixed in pairs: take %d",
                           config->mixup_group, config->mixup_group + 1);
    if (!status && config->interpolation == INTERPOLATION_RANDOM)
        status = error_set(error, STATUS_USAGE,
                           "interpolation: evaluation takes bilinear or bicubic; random is for train_interpolation");
    return status;
}
