#include "data/normalise.h"

#include "data/loops.h"

Normalise normalise_make(const double mean[3], const double std[3])
{
    Normalise made;
    for (int c = 0; c < 3; c++) {
        made.shift[c] = (float)(mean[c] * 255);
        made.scale[c] = (float)(std[c] * 255);
    }
    return made;
}

void normalise_apply(const Normalise *normalise, const uint8_t *pixels, int64_t count, float *out)
{
    const Loops *fast = loops();
    for (int c = 0; c < 3; c++)
        fast->normalise(pixels + c, count, normalise->shift[c], normalise->scale[c], out + c * count);
}
