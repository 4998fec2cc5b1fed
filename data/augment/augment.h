/* augment.h: from one record to one normalised image; the settings, with timm's names.
 *
 * Evaluation: resize the shorter side to floor(img_size / crop_pct), centre crop, normalise (Pillow's result).
 * Training: random resized crop, flip, auto-augment or colour jitter, [mixup, cutmix on bytes: mix.h], normalise,
 * random erasing. Every random choice is keyed by (seed, epoch, sample): see core/base/rng.h.
 */
#ifndef DATA_AUGMENT_AUGMENT_H
#define DATA_AUGMENT_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>
#include "core/base/status.h"
#include "data/image/interpolation.h"

typedef enum MixMode { MIX_BATCH, MIX_PAIR, MIX_ELEM } MixMode;
typedef enum EraseMode { ERASE_CONST, ERASE_RAND, ERASE_PIXEL } EraseMode;

typedef struct PipelineConfig {
    int img_size;
    bool no_aug;                       /* training without augmentation: the evaluation pipeline */
    double scale[2], ratio[2];         /* random resized crop: share of the area; width over height */
    int crop_padding;                  /* > 0: instead, pad and crop at random as small-image recipes do (CIFAR: 4) */
    double hflip, vflip;               /* probabilities */
    double color_jitter;               /* only without aa */
    char aa[64];                       /* "" or a policy such as "rand-m9-mstd0.5-inc1" */
    Interpolation train_interpolation; /* may be random */
    Interpolation interpolation;       /* evaluation */
    double crop_pct;                   /* evaluation: share of the resized side that is kept */
    double mean[3], std[3];            /* of pixels in 0 .. 1 */
    double reprob;                     /* random erasing: its probability */
    EraseMode remode;
    int recount;                          /* most areas erased, up to ERASE_MAX_COUNT */
    double mixup, cutmix;                 /* Beta's alpha; 0 is off */
    double mixup_prob, mixup_switch_prob; /* of either; of cutmix when both are on */
    MixMode mixup_mode;
    int mixup_group;     /* batch mode: images of one draw; 0: the global batch */
    int mixup_off_epoch; /* 0: never off */
    double smoothing;    /* label smoothing, folded into the targets */
    int aug_repeats;     /* repeated augmentation: 0 is off */
} PipelineConfig;

void augment_defaults(PipelineConfig *config); /* the published recipe's */

/* What no single setting shows; each setting's range is the caller's business (dist/config's table of keys). STATUS_USAGE;
 * messages begin with the setting: "scale: 1 must not be more than its second number, 0.5". */
Status augment_check(const PipelineConfig *config, Error *error);

#endif
