/* affine.h: Pillow's affine transform with bilinear or bicubic sampling, bit for bit.
 *
 * Output pixel (x, y) is read at (m0 (x+.5) + m1 (y+.5) + m2, m3 (x+.5) + m4 (y+.5) + m5); where that lies outside the
 * image the output is the fill colour. Samples near the edge repeat it. Everything is in double, truncated to a byte at
 * the end, so the order of operations below is part of the result.
 */
#ifndef DATA_IMAGE_AFFINE_H
#define DATA_IMAGE_AFFINE_H

#include <stdint.h>
#include "data/image/interpolation.h"

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
