/* gaussian.h: many normal numbers, quickly: Marsaglia and Tsang's ziggurat (Journal of Statistical Software, 2000) in
 * Doornik's form with 128 layers. Random erasing of a 224 x 224 image may want 50,000. */
#ifndef DATA_AUGMENT_GAUSSIAN_H
#define DATA_AUGMENT_GAUSSIAN_H

#include <stdbool.h>
#include "core/base/rng.h"

enum { GAUSSIAN_LAYERS = 128 };

typedef struct GaussianTable {
    double edge[GAUSSIAN_LAYERS + 1]; /* right edges of the layers, from the base outwards to 0 */
    double inner[GAUSSIAN_LAYERS];    /* share of a layer's width that lies under the curve everywhere */
} GaussianTable;

void gaussian_table(GaussianTable *table);
double gaussian_draw(const GaussianTable *table, Rng *rng);
void gaussian_fill(const GaussianTable *table, Rng *rng, float *out, int count); /* the next `count` of them */

#endif
