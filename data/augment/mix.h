/* mix.h: mixup (Zhang et al., 2018) and cutmix (Yun et al., 2019) on bytes, as timm's collating loader does them.
 *
 * An image is mixed with a partner: mixup weighs the two, cutmix pastes a box of the partner. Targets are mixed in the
 * same proportion, label smoothing folded in. Nothing here knows batches: the loader says who is whose partner.
 */
#ifndef DATA_AUGMENT_MIX_H
#define DATA_AUGMENT_MIX_H

#include <stdbool.h>
#include <stdint.h>
#include "core/base/rng.h"
#include "data/augment/augment.h"

typedef struct Mix {
    double lam; /* share of the own image: 1 is "not mixed"; for cutmix, of its area that is left */
    bool cutmix;
    int top, bottom, left, right; /* the partner's box, ends excluded */
} Mix;

/* The box for a drawn lam and centre, cut off at the image's edges, and lam corrected to the area that it takes. */
Mix mix_cutmix_box(int height, int width, double lam, int centre_y, int centre_x);

/* What the settings draw for a square image of `size`. */
Mix mix_sample(const PipelineConfig *config, Rng *rng, int size);

/* The same mix for the rows first .. first+rows-1 alone. */
Mix mix_rows(const Mix *mix, int first, int rows);

/* own, partner, out: (height, width, 3), out distinct. Mixup rounds to bytes, ties to even. */
void mix_pixels(const Mix *mix, int height, int width, const uint8_t *own, const uint8_t *partner, uint8_t *out);

/* target: (classes). label_partner is ignored when lam is 1. */
void mix_target(float *target, int classes, int64_t label, int64_t label_partner, double lam, double smoothing);

#endif
