/* pixel_kernels.h: the loops over bytes that a compiler vectorises by itself. pixel_kernels_body.h is compiled twice, for any
 * machine and for AVX2; both give the same bytes, since nothing in data/ is contracted or reordered. */
#ifndef DATA_IMAGE_PIXEL_KERNELS_H
#define DATA_IMAGE_PIXEL_KERNELS_H

#include <stdint.h>

typedef struct PixelKernels {
    /* rint(own * keep + partner * take), ties to even, on `count` bytes; sums within 0 .. 255 */
    void (*mixup)(const uint8_t *own, const uint8_t *partner, int64_t count, float keep, float take, uint8_t *out);
    /* (count, 3): from the pixel's gray (factor 0) to itself (1) and beyond */
    void (*color)(uint8_t *pixels, int64_t count, float factor);
    /* bytes 3 .. row-4 of a row of `row` bytes whose neighbours lie `row` bytes before and behind: from smooth to
     * itself */
    void (*sharpen)(const uint8_t *in, int64_t row, float factor, uint8_t *out);
    /* below the threshold as it is, from there on inverted */
    void (*solarize)(uint8_t *bytes, int64_t count, int threshold);
    void (*solarize_add)(uint8_t *bytes, int64_t count, int amount);
    void (*keep_bits)(uint8_t *bytes, int64_t count, uint8_t mask);
    /* One channel: bytes 0, 3, 6 ... of `pixels`, `count` of them, as (byte - shift) / scale. AVX2 writes past the caches:
     * the batch is read much later, and what the next image needs stays in them. */
    void (*normalise)(const uint8_t *pixels, int64_t count, float shift, float scale, float *out);
    int64_t (*luma_sum)(const uint8_t *pixels, int64_t count); /* (count, 3) */
} PixelKernels;

extern const PixelKernels pixel_kernels_portable, pixel_kernels_avx2;

const PixelKernels *pixel_kernels(void); /* the faster that this processor runs */

#endif
