#include "data/normalise.h"

void normalise_table(NormaliseTable *table, const double mean[3], const double std[3])
{
    for (int c = 0; c < 3; c++) {
        float shift = (float)(mean[c] * 255), scale = (float)(std[c] * 255);
        for (int x = 0; x < 256; x++) table->value[c][x] = ((float)x - shift) / scale;
    }
}

void normalise(const NormaliseTable *table, const uint8_t *pixels, int64_t count, float *out)
{
    float *restrict red = out, *restrict green = out + count, *restrict blue = out + 2 * count;
    for (int64_t i = 0; i < count; i++, pixels += 3) {
        red[i] = table->value[0][pixels[0]];
        green[i] = table->value[1][pixels[1]];
        blue[i] = table->value[2][pixels[2]];
    }
}
