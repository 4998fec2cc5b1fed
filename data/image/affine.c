#include "data/image/affine.h"

#include <math.h>
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

/* One channel, around (x, y) with the rest (dx, dy). */
static double sample(const uint8_t *in, int width, int height, int x, int y, double dx, double dy, bool is_cubic)
{
    int taps = is_cubic ? 4 : 2, first = is_cubic ? -1 : 0;
    double column[4] = {0};
    for (int j = 0; j < taps; j++) {
        const uint8_t *row = in + 3 * (int64_t)width * clamp(y + first + j, height);
        double v[4] = {0};
        for (int i = 0; i < taps; i++) v[i] = row[3 * clamp(x + first + i, width)];
        column[j] = is_cubic ? cubic(v, dx) : linear(v[0], v[1], dx);
    }
    return is_cubic ? cubic(column, dy) : linear(column[0], column[1], dy);
}

void affine_portable(const Affine *affine, const uint8_t *in, int width, int height, bool is_cubic,
                     const uint8_t fill[3], uint8_t *out)
{
    const double *m = affine->m;
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++, out += 3) {
            double sx = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2], sy = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];
            if (!(sx >= 0.0 && sx < width && sy >= 0.0 && sy < height)) {
                memcpy(out, fill, 3);
                continue;
            }
            sx -= 0.5;
            sy -= 0.5;
            int ix = (int)floor(sx), iy = (int)floor(sy);
            for (int c = 0; c < 3; c++) {
                double value = sample(in + c, width, height, ix, iy, sx - ix, sy - iy, is_cubic);
                out[c] = (uint8_t)(value <= 0.0 ? 0.0 : value >= 255.0 ? 255.0 : value);
            }
        }
    }
}

void affine_apply(const Affine *affine, const uint8_t *in, int width, int height, Interpolation filter,
                  const uint8_t fill[3], uint8_t *out)
{
    bool is_cubic = filter == INTERPOLATION_BICUBIC;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        affine_avx2(affine, in, width, height, is_cubic, fill, out);
        return;
    }
#endif
    affine_portable(affine, in, width, height, is_cubic, fill, out);
}
