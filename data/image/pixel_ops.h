/* pixel_ops.h: the colour operations of RandAugment and colour jitter, equal to Pillow's (ImageOps, ImageEnhance) in
 * every byte. All work on interleaved RGB. Most map each byte through a table of its channel, in place. */
#ifndef DATA_IMAGE_PIXEL_OPS_H
#define DATA_IMAGE_PIXEL_OPS_H

#include <stdint.h>

/* pixels: (count, 3), in place */
void imageops_auto_contrast(uint8_t *pixels, int64_t count);
void imageops_equalize(uint8_t *pixels, int64_t count);
void imageops_invert(uint8_t *pixels, int64_t count);
void imageops_posterize(uint8_t *pixels, int64_t count, int bits);       /* keeps the upper bits, 0 .. 8 */
void imageops_solarize(uint8_t *pixels, int64_t count, int threshold);   /* inverts bytes from the threshold up */
void imageops_solarize_add(uint8_t *pixels, int64_t count, int amount);  /* to bytes below 128 */
void imageops_brightness(uint8_t *pixels, int64_t count, double factor); /* 0: black, 1: as it is */
void imageops_contrast(uint8_t *pixels, int64_t count, double factor);   /* 0: the mean gray */
void imageops_color(uint8_t *pixels, int64_t count, double factor);      /* 0: gray */

/* in, out: (height, width, 3), distinct. 0: Pillow's SMOOTH filter, whose border is the image's own */
void imageops_sharpness(const uint8_t *in, int width, int height, double factor, uint8_t *out);

void imageops_flip_horizontal(uint8_t *pixels, int width, int height); /* (height, width, 3) */
void imageops_flip_vertical(uint8_t *pixels, int width, int height);

#endif
