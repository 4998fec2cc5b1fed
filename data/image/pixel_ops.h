/* pixel_ops.h: the operations of RandAugment and colour jitter, equal to Pillow's (ImageOps, ImageEnhance, transform) in
 * every byte. All work on interleaved RGB. Most map each byte through a table of its channel, in place. */
#ifndef DATA_IMAGE_PIXEL_OPS_H
#define DATA_IMAGE_PIXEL_OPS_H

#include <stdint.h>
#include "data/image/interpolation.h"

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

/* Pillow's affine transform with bilinear or bicubic sampling.
 *
 * Output pixel (x, y) is read at (m0 (x+.5) + m1 (y+.5) + m2, m3 (x+.5) + m4 (y+.5) + m5); where that lies outside the
 * image the output is the fill colour. Samples near the edge repeat it. Everything is in double, truncated to a byte at
 * the end, so the order of operations is part of the result. */
typedef struct Affine {
    double m[6];
} Affine;

Affine affine_rotate(double degrees, int width, int height); /* counter-clockwise, about the centre, as Image.rotate */
Affine affine_shear_x(double factor);
Affine affine_shear_y(double factor);
Affine affine_translate(double x, double y); /* pixels; positive moves the content left and up */

/* in, out: (height, width, 3), distinct. */
void affine_apply(const Affine *affine, const uint8_t *in, int width, int height, Interpolation filter,
                  const uint8_t fill[3], uint8_t *out);

#endif
