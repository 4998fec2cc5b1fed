/* normalise.h: bytes, interleaved, to floats, planar: (x - 255 mean) / (255 std), with the roundings of timm's
 * loader. */
#ifndef DATA_AUGMENT_NORMALISE_H
#define DATA_AUGMENT_NORMALISE_H

#include <stdint.h>

typedef struct Normalise {
    float shift[3], scale[3]; /* 255 mean, 255 std */
} Normalise;

Normalise normalise_make(const double mean[3], const double std[3]);

/* pixels: (count, 3) -> out: three runs of `count` floats, `plane` floats apart */
void normalise_apply(const Normalise *normalise, const uint8_t *pixels, int64_t count, float *out, int64_t plane);

/* One channel, portable and AVX2, which writes past the caches: the batch is read much later, and what the next image
 * needs stays in them. pixels: every third byte of 3 * count, beginning with the channel's first. */
void normalise_plane(const uint8_t *pixels, int64_t count, float shift, float scale, float *out);
void normalise_plane_avx2(const uint8_t *pixels, int64_t count, float shift, float scale, float *out);

#endif
