#include "data/image/affine.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

/* Python's round(value, 15): the decimal nearest to the exact binary value, which printf finds too. */
static double round_15(double value)
{
    char digits[64];
    snprintf(digits, sizeof digits, "%.15f", value);
    return strtod(digits, NULL);
}

Affine affine_rotate(double degrees, int width, int height)
{
    double turn = fmod(degrees, 360.0);
    if (turn < 0.0) turn += 360.0;
    double angle = -(turn * (PI / 180.0)), x = width / 2.0, y = height / 2.0;
    double c = round_15(cos(angle)), s = round_15(sin(angle)), minus_s = round_15(-sin(angle));
    return (Affine){{c, s, c * -x + s * -y + 0.0 + x, minus_s, c, minus_s * -x + c * -y + 0.0 + y}};
}

Affine affine_shear_x(double factor)
{
    return (Affine){{1, factor, 0, 0, 1, 0}};
}

Affine affine_shear_y(double factor)
{
    return (Affine){{1, 0, 0, factor, 1, 0}};
}

Affine affine_translate(double x, double y)
{
    return (Affine){{1, 0, x, 0, 1, y}};
}

static int clamp(int value, int size)
{
    return value < 0 ? 0 : value >= size ? size - 1 : value;
}

static double linear(double a, double b, double d)
{
    return a + (b - a) * d;
}

static double cubic(const double v[4], double d) /* a = -1 */
{
    double p2 = -v[0] + v[2], p3 = 2 * (v[0] - v[1]) + v[2] - v[3], p4 = -v[0] + v[1] - v[2] + v[3];
    return v[1] + d * (p2 + d * (p3 + d * p4));
}

typedef struct Source {
    const uint8_t *in;
    int width, height;
} Source;

/* The pixel around (x, y) with the rest (dx, dy). In a direction without rest the formulas give the middle value itself,
 * so one row or column is enough there: shears and shifts have such a direction. */
__attribute__((always_inline)) static inline void sample(const Source *source, int x, int y, double dx, double dy,
                                                         int columns, int rows, bool is_cubic, uint8_t out[3])
{
    const uint8_t *row[4];
    int column[4];
    for (int j = 0; j < rows; j++)
        row[j] = source->in + 3 * (int64_t)source->width * clamp(y + j - (rows == 4), source->height);
    for (int i = 0; i < columns; i++) column[i] = 3 * clamp(x + i - (columns == 4), source->width);
    for (int c = 0; c < 3; c++) {
        double values[4], v[4];
        for (int j = 0; j < rows; j++) {
            for (int i = 0; i < columns; i++) v[i] = row[j][column[i] + c];
            values[j] = columns == 1 ? v[0] : is_cubic ? cubic(v, dx) : linear(v[0], v[1], dx);
        }
        double value = rows == 1 ? values[0] : is_cubic ? cubic(values, dy) : linear(values[0], values[1], dy);
        out[c] = (uint8_t)(value <= 0.0 ? 0.0 : value >= 255.0 ? 255.0 : value);
    }
}

__attribute__((always_inline)) static inline void transform(const double *m, const Source *source,
                                                            const uint8_t fill[3], bool is_cubic, uint8_t *out)
{
    const int taps = is_cubic ? 4 : 2, width = source->width, height = source->height;
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++, out += 3) {
            double sx = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2], sy = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];
            if (!(sx >= 0.0 && sx < width && sy >= 0.0 && sy < height)) {
                memcpy(out, fill, 3);
                continue;
            }
            sx -= 0.5;
            sy -= 0.5;
            int ix = (int)sx, iy = (int)sy;
            ix -= ix > sx; /* floor, which is a call on older processors */
            iy -= iy > sy;
            double dx = sx - ix, dy = sy - iy;
            if (dy == 0.0)
                sample(source, ix, iy, dx, dy, taps, 1, is_cubic, out);
            else if (dx == 0.0)
                sample(source, ix, iy, dx, dy, 1, taps, is_cubic, out);
            else
                sample(source, ix, iy, dx, dy, taps, taps, is_cubic, out);
        }
    }
}

void affine_apply(const Affine *affine, const uint8_t *in, int width, int height, Interpolation filter,
                  const uint8_t fill[3], uint8_t *out)
{
    const Source source = {in, width, height};
    if (filter == INTERPOLATION_BICUBIC)
        transform(affine->m, &source, fill, true, out);
    else
        transform(affine->m, &source, fill, false, out);
}
