/* color_jitter.h: torchvision's ColorJitter with one strength for brightness, contrast and saturation (no hue), as timm uses
 * it where there is no auto-augment. */
#ifndef DATA_AUGMENT_COLOR_JITTER_H
#define DATA_AUGMENT_COLOR_JITTER_H

#include <stdint.h>
#include "core/base/rng.h"

typedef enum ColorJitterKind { JITTER_BRIGHTNESS, JITTER_CONTRAST, JITTER_SATURATION, JITTER_KINDS } ColorJitterKind;

typedef struct ColorJitter {
    ColorJitterKind order[JITTER_KINDS];
    double factor[JITTER_KINDS]; /* by kind */
} ColorJitter;

/* Factors uniform in max(0, 1 - strength) .. 1 + strength, in a random order. */
ColorJitter color_jitter_sample(Rng *rng, double strength);
void color_jitter_apply(const ColorJitter *jitter, uint8_t *pixels, int64_t count); /* pixels: (count, 3), in place */

#endif
