/* augment.h: from one record to one normalised image; the settings, with timm's names and defaults.
 *
 * Evaluation: resize the shorter side to floor(img_size / crop_pct), centre crop, normalise (Pillow's result).
 * Training: random resized crop, flip, auto-augment or colour jitter, [mixup, cutmix on bytes: mix.h], normalise,
 * random erasing. Every random choice is keyed by (seed, epoch, sample): see core/base/rng.h.
 */
#ifndef DATA_AUGMENT_AUGMENT_H
#define DATA_AUGMENT_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>
#include "data/image/interpolation.h"

typedef enum MixMode { MIX_BATCH, MIX_PAIR, MIX_ELEM } MixMode;
typedef enum EraseMode { ERASE_CONST, ERASE_RAND, ERASE_PIXEL } EraseMode;

typedef struct PipelineConfig {
    int img_size;
    bool no_aug;                       /* training without augmentation: the evaluation pipeline */
    double scale[2], ratio[2];         /* random resized crop: 0.08 1, 3/4 4/3 */
    int crop_padding;                  /* > 0: instead, pad and crop at random as small-image recipes do (CIFAR: 4) */
    double hflip, vflip;               /* 0.5, 0 */
    double color_jitter;               /* 0.4; only without aa */
    char aa[64];                       /* "" or "rand-m9-mstd0.5-inc1" */
    Interpolation train_interpolation; /* random */
    Interpolation interpolation;       /* evaluation: bicubic */
    double crop_pct;                   /* 0.9 */
    double mean[3], std[3];            /* of pixels in 0 .. 1 */
    double reprob;                     /* random erasing: 0.25 */
    EraseMode remode;                  /* pixel */
    int recount;                       /* 1 */
    double mixup, cutmix;              /* Beta's alpha; 0 is off: 0.8, 1.0 */
    double mixup_prob, mixup_switch_prob; /* 1.0, 0.5 */
    MixMode mixup_mode;                   /* batch */
    int mixup_group;                      /* batch mode: images of one draw; 0: the global batch. 64 */
    int mixup_off_epoch;                  /* 0: never off */
    double smoothing;                     /* label smoothing, folded into the targets: 0.1 */
    int aug_repeats;                      /* repeated augmentation: 0 is off */
} PipelineConfig;

#endif
