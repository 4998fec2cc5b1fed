/* randaugment.h: RandAugment as timm 0.3.4 means it: the policy's text, what it draws, and its application.
 *
 * "rand-m9-n2-mstd0.5-inc1": magnitude 9 of 10, 2 operations per image drawn with replacement, each applied with
 * probability 0.5, magnitude drawn from a normal distribution of deviation 0.5 and clipped to 0 .. 10, operations of
 * the "increasing" set, which all grow more severe with the magnitude. Without inc1: the original set, in which
 * enhancements, Posterize and Solarize do not. Omitted: m10, n2, mstd0, inc0.
 *
 *     RandAugment policy;
 *     randaugment_parse(&policy, "rand-m9-mstd0.5-inc1", error);
 *     AugmentStep steps[AUGMENT_MAX_LAYERS];
 *     int count = randaugment_sample(&policy, &rng, INTERPOLATION_RANDOM, steps);
 *     for (int i = 0; i < count; i++) augment_apply(&steps[i], fill, &canvas);
 */
#ifndef DATA_AUGMENT_RANDAUGMENT_H
#define DATA_AUGMENT_RANDAUGMENT_H

#include <stdbool.h>
#include <stdint.h>
#include "core/base/rng.h"
#include "core/base/status.h"
#include "data/augment/augment.h"

enum { AUGMENT_MAX_LAYERS = 16 };

typedef struct RandAugment {
    double magnitude, deviation;
    int layers; /* 0: off */
    bool increasing;
} RandAugment;

typedef enum AugmentOp { /* timm's order of the set */
                         AUGMENT_AUTO_CONTRAST,
                         AUGMENT_EQUALIZE,
                         AUGMENT_INVERT,
                         AUGMENT_ROTATE,
                         AUGMENT_POSTERIZE,
                         AUGMENT_SOLARIZE,
                         AUGMENT_SOLARIZE_ADD,
                         AUGMENT_COLOR,
                         AUGMENT_CONTRAST,
                         AUGMENT_BRIGHTNESS,
                         AUGMENT_SHARPNESS,
                         AUGMENT_SHEAR_X,
                         AUGMENT_SHEAR_Y,
                         AUGMENT_TRANSLATE_X,
                         AUGMENT_TRANSLATE_Y,
                         AUGMENT_OPS,
} AugmentOp;

typedef struct AugmentStep {
    AugmentOp op;
    double argument; /* degrees, factor, bits, threshold, amount, or share of the image's side; see augment_argument */
    Interpolation filter;
} AugmentStep;

/* An image that is worked on, and room for operations that cannot work in place; they exchange the two. */
typedef struct Canvas {
    int width, height;
    uint8_t *pixels, *spare; /* (height, width, 3) */
} Canvas;

/* "" is off. An unknown part is STATUS_USAGE. */
Status randaugment_parse(RandAugment *policy, const char *text, Error *error);

/* The steps that are to be applied, in order; returns their number. */
int randaugment_sample(const RandAugment *policy, Rng *rng, Interpolation filter,
                       AugmentStep steps[AUGMENT_MAX_LAYERS]);

/* timm's level_to_arg: the operation's argument at a magnitude of 0 .. 10; 0 for operations without one. */
double augment_argument(AugmentOp op, double magnitude, bool increasing, bool negate);
bool augment_is_signed(AugmentOp op, bool increasing); /* negated with probability 0.5 */

void augment_apply(const AugmentStep *step, const uint8_t fill[3], Canvas *canvas);

#endif
