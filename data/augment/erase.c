#include "data/augment/erase.h"

#include <math.h>

static const double MIN_AREA = 0.02, MAX_AREA = 1.0 / 3.0, MIN_ASPECT = 0.3;

int erase_sample(Rng *rng, int size, double probability, int count, EraseBox boxes[ERASE_MAX_COUNT])
{
    if (rng_uniform(rng) >= probability) return 0;
    const double area = (double)size * size, spread = log(1.0 / MIN_ASPECT);
    if (count > 1) count = 1 + (int)rng_below(rng, (uint64_t)count);
    int found = 0;
    for (int i = 0; i < count; i++) {
        for (int attempt = 0; attempt < 10; attempt++) {
            double target = rng_range(rng, MIN_AREA, MAX_AREA) * area / count;
            double aspect = exp(rng_range(rng, -spread, spread));
            int height = (int)rint(sqrt(target * aspect)), width = (int)rint(sqrt(target / aspect));
            if (width >= size || height >= size) continue;
            int top = (int)rng_below(rng, (uint64_t)(size - height) + 1);
            int left = (int)rng_below(rng, (uint64_t)(size - width) + 1);
            boxes[found++] = (EraseBox){top, left, height, width};
            break;
        }
    }
    return found;
}

void erase_fill(const GaussianTable *table, Rng *rng, float *image, int size, EraseBox box, EraseMode mode)
{
    for (int c = 0; c < 3; c++) {
        float color = mode == ERASE_RAND ? (float)gaussian_draw(table, rng) : 0.0f;
        for (int y = box.top; y < box.top + box.height; y++) {
            float *row = image + ((int64_t)c * size + y) * size + box.left;
            if (mode == ERASE_PIXEL)
                gaussian_fill(table, rng, row, box.width);
            else
                for (int x = 0; x < box.width; x++) row[x] = color;
        }
    }
}
