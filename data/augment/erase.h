/* erase.h: random erasing (Zhong et al., AAAI 2020) on normalised images, as timm's RandomErasing. */
#ifndef DATA_AUGMENT_ERASE_H
#define DATA_AUGMENT_ERASE_H

#include <stdbool.h>
#include "core/base/rng.h"
#include "data/augment/augment.h"

/* Many normal numbers, quickly: Marsaglia and Tsang's ziggurat (Journal of Statistical Software, 2000) in Doornik's form
 * with 128 layers. An erased 224 x 224 image may want 50,000. */
enum { GAUSSIAN_LAYERS = 128 };

typedef struct GaussianTable {
    double edge[GAUSSIAN_LAYERS + 1]; /* right edges of the layers, from the base outwards to 0 */
    double inner[GAUSSIAN_LAYERS];    /* share of a layer's width that lies under the curve everywhere */
} GaussianTable;

void gaussian_table(GaussianTable *table);
double gaussian_draw(const GaussianTable *table, Rng *rng);
void gaussian_fill(const GaussianTable *table, Rng *rng, float *out, int count); /* the next `count` of them */

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
