/* normalise.h: bytes, interleaved, to floats, planar: (x - 255 mean) / (255 std), as timm's loader computes it.
 *
 * A byte has 256 values, so each channel is a table, made once with the reference's own rounding. */
#ifndef DATA_NORMALISE_H
#define DATA_NORMALISE_H

#include <stdint.h>

typedef struct NormaliseTable {
    float value[3][256];
} NormaliseTable;

void normalise_table(NormaliseTable *table, const double mean[3], const double std[3]);

/* pixels: (count, 3) -> out: (3, count) */
void normalise(const NormaliseTable *table, const uint8_t *pixels, int64_t count, float *out);

#endif
