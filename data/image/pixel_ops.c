#include "data/image/pixel_ops.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/image/pixel_kernels.h"

/* ---- colours and neighbours */

typedef uint8_t Tables[3][256];

static void map(uint8_t *pixels, int64_t count, Tables tables)
{
    for (int64_t i = 0; i < count; i++, pixels += 3) {
        pixels[0] = tables[0][pixels[0]];
        pixels[1] = tables[1][pixels[1]];
        pixels[2] = tables[2][pixels[2]];
    }
}

static void map_alike(uint8_t *pixels, int64_t count, const uint8_t table[256])
{
    for (int64_t i = 0; i < 3 * count; i++) pixels[i] = table[pixels[i]];
}

static void histogram(const uint8_t *pixels, int64_t count, int64_t bins[3][256])
{
    int64_t odd[3][256] = {{0}}; /* neighbours are often alike, and adding twice to one bin takes twice as long */
    memset(bins, 0, 3 * 256 * sizeof bins[0][0]);
    for (int64_t i = 0; i + 2 <= count; i += 2, pixels += 6)
        for (int c = 0; c < 3; c++) {
            bins[c][pixels[c]]++;
            odd[c][pixels[3 + c]]++;
        }
    for (int c = 0; c < 3; c++) {
        if (count % 2) bins[c][pixels[c]]++;
        for (int x = 0; x < 256; x++) bins[c][x] += odd[c][x];
    }
}

static uint8_t clip(int value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Image.blend in its own precision: float, truncated. */
static uint8_t blend(int from, int to, float factor)
{
    float value = (float)from + factor * (float)(to - from);
    return (uint8_t)(value <= 0.0f ? 0.0f : value >= 255.0f ? 255.0f : value);
}

void imageops_auto_contrast(uint8_t *pixels, int64_t count)
{
    int64_t bins[3][256];
    Tables tables;
    histogram(pixels, count, bins);
    for (int c = 0; c < 3; c++) {
        int low = 0, high = 255;
        while (low < 255 && !bins[c][low]) low++;
        while (high > 0 && !bins[c][high]) high--;
        double scale = high > low ? 255.0 / (high - low) : 1.0, offset = high > low ? -low * scale : 0.0;
        for (int x = 0; x < 256; x++) tables[c][x] = clip((int)(x * scale + offset));
    }
    map(pixels, count, tables);
}

static void equalize_table(const int64_t bins[256], uint8_t table[256])
{
    int64_t sum = 0, last = 0, used = 0;
    for (int x = 0; x < 256; x++) {
        if (!bins[x]) continue;
        sum += bins[x];
        last = bins[x];
        used++;
    }
    int64_t step = (sum - last) / 255, n = step / 2;
    for (int x = 0; x < 256; x++) {
        table[x] = (uint8_t)x;
        if (used <= 1 || step == 0) continue;
        table[x] = (uint8_t)(n / step > 255 ? 255 : n / step);
        n += bins[x];
    }
}

void imageops_equalize(uint8_t *pixels, int64_t count)
{
    int64_t bins[3][256];
    Tables tables;
    histogram(pixels, count, bins);
    for (int c = 0; c < 3; c++) equalize_table(bins[c], tables[c]);
    map(pixels, count, tables);
}

void imageops_invert(uint8_t *pixels, int64_t count)
{
    pixel_kernels()->solarize(pixels, 3 * count, 0);
}

void imageops_posterize(uint8_t *pixels, int64_t count, int bits)
{
    const uint8_t mask = (uint8_t)(256 - (1 << (8 - bits)));
    pixel_kernels()->keep_bits(pixels, 3 * count, mask);
}

void imageops_solarize(uint8_t *pixels, int64_t count, int threshold)
{
    pixel_kernels()->solarize(pixels, 3 * count, threshold);
}

void imageops_solarize_add(uint8_t *pixels, int64_t count, int amount)
{
    pixel_kernels()->solarize_add(pixels, 3 * count, amount);
}

/* A blend with one gray level is a function of the byte alone. */
static void blend_level(uint8_t *pixels, int64_t count, int level, double factor)
{
    uint8_t table[256];
    for (int x = 0; x < 256; x++) table[x] = blend(level, x, (float)factor);
    map_alike(pixels, count, table);
}

void imageops_brightness(uint8_t *pixels, int64_t count, double factor)
{
    blend_level(pixels, count, 0, factor);
}

void imageops_contrast(uint8_t *pixels, int64_t count, double factor)
{
    int64_t sum = pixel_kernels()->luma_sum(pixels, count);
    blend_level(pixels, count, (int)((double)sum / (double)count + 0.5), factor);
}

void imageops_color(uint8_t *pixels, int64_t count, double factor)
{
    pixel_kernels()->color(pixels, count, (float)factor);
}

void imageops_sharpness(const uint8_t *in, int width, int height, double factor, uint8_t *out)
{
    const PixelKernels *fast = pixel_kernels();
    int64_t row = 3 * (int64_t)width;
    for (int y = 0; y < height; y++, in += row, out += row) {
        if (y == 0 || y == height - 1 || width < 3) {
            memcpy(out, in, (size_t)row);
            continue;
        }
        fast->sharpen(in, row, (float)factor, out);
        memcpy(out, in, 3);
        memcpy(out + row - 3, in + row - 3, 3);
    }
}

static void swap_pixels(uint8_t *a, uint8_t *b)
{
    for (int c = 0; c < 3; c++) {
        uint8_t keep = a[c];
        a[c] = b[c];
        b[c] = keep;
    }
}

void imageops_flip_horizontal(uint8_t *pixels, int width, int height)
{
    for (int y = 0; y < height; y++, pixels += 3 * (int64_t)width)
        for (int left = 0, right = width - 1; left < right; left++, right--)
            swap_pixels(pixels + 3 * left, pixels + 3 * right);
}

void imageops_flip_vertical(uint8_t *pixels, int width, int height)
{
    int64_t row = 3 * (int64_t)width;
    for (int top = 0, bottom = height - 1; top < bottom; top++, bottom--) {
        uint8_t *a = pixels + top * row, *b = pixels + bottom * row;
        for (int64_t i = 0; i < row; i++) {
            uint8_t keep = a[i];
            a[i] = b[i];
            b[i] = keep;
        }
    }
}

/* ---- affine transforms */

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
