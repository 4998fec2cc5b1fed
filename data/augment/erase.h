/* erase.h: random erasing (Zhong et al., AAAI 2020) on normalised images, as timm's RandomErasing. */
#ifndef DATA_AUGMENT_ERASE_H
#define DATA_AUGMENT_ERASE_H

#include "core/base/rng.h"
#include "data/augment/gaussian.h"
#include "data/augment/augment.h"

enum { ERASE_MAX_COUNT = 100 };

typedef struct EraseBox {
    int top, left, height, width;
} EraseBox;

/* With probability `probability`, 1 .. count boxes of area 0.02 .. 1/3 of the image divided by their number and aspect
 * 0.3 .. 1/0.3, log-uniform; a box that does not fit after ten draws is left out. Returns the number of boxes. */
int erase_sample(Rng *rng, int size, double probability, int count, EraseBox boxes[ERASE_MAX_COUNT]);

/* image: (3, size, size). ERASE_CONST: 0; ERASE_RAND: one normal number per channel; ERASE_PIXEL: one per value. */
void erase_fill(const GaussianTable *table, Rng *rng, float *image, int size, EraseBox box, EraseMode mode);

#endif
