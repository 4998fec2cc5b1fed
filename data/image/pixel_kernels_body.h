/* pixel_kernels_body.h: the code behind pixel_kernels.h; whoever includes it defines PIXEL_KERNELS, the table's name. */
#include "data/image/pixel_kernels.h"

/* Image.blend in its own precision: float, truncated. */
static inline uint8_t blend(int from, int to, float factor)
{
    float value = (float)from + factor * (float)(to - from);
    value = value < 0.0f ? 0.0f : value;
    return (uint8_t)(int)(value > 255.0f ? 255.0f : value);
}

static inline int luma(const uint8_t *pixel)
{
    return (int)((pixel[0] * 19595u + pixel[1] * 38470u + pixel[2] * 7471u + 0x8000u) >> 16);
}

/* Adding and subtracting 1.5 * 2^23 rounds to an integer. The products are rounded one by one, as numpy rounds them. */
static void mixup(const uint8_t *restrict own, const uint8_t *restrict partner, int64_t count, float keep, float take,
                  uint8_t *restrict out)
{
    const float magic = 12582912.0f;
    for (int64_t i = 0; i < count; i++) {
        float sum = (float)own[i] * keep + (float)partner[i] * take;
        out[i] = (uint8_t)(int)((sum + magic) - magic);
    }
}

static void color(uint8_t *pixels, int64_t count, float factor)
{
    for (int64_t i = 0; i < count; i++) {
        int gray = luma(pixels + 3 * i);
        for (int c = 0; c < 3; c++) pixels[3 * i + c] = blend(gray, pixels[3 * i + c], factor);
    }
}

/* Pillow sums (neighbours + 5 centre) / 13 in float, adds 0.5 and truncates. The exact sum is never within 1/26 of an
 * integer, far more than a float can err, so integers give the same byte. */
static void sharpen(const uint8_t *restrict in, int64_t row, float factor, uint8_t *restrict out)
{
    for (int64_t i = 3; i < row - 3; i++) {
        const uint8_t *up = in + i - row, *here = in + i, *down = in + i + row;
        unsigned sum = 0u + up[-3] + up[0] + up[3] + here[-3] + here[0] + here[3] + down[-3] + down[0] + down[3];
        int smooth = (int)((2 * (sum + 4u * here[0]) + 13) / 26);
        out[i] = blend(smooth, here[0], factor);
    }
}

static void solarize(uint8_t *bytes, int64_t count, int threshold)
{
    for (int64_t i = 0; i < count; i++) bytes[i] = bytes[i] < threshold ? bytes[i] : (uint8_t)(255 - bytes[i]);
}

static void solarize_add(uint8_t *bytes, int64_t count, int amount)
{
    for (int64_t i = 0; i < count; i++) {
        int sum = bytes[i] + amount;
        bytes[i] = (uint8_t)(bytes[i] >= 128 ? bytes[i] : sum > 255 ? 255 : sum);
    }
}

static void keep_bits(uint8_t *bytes, int64_t count, uint8_t mask)
{
    for (int64_t i = 0; i < count; i++) bytes[i] &= mask;
}

static int64_t luma_sum(const uint8_t *pixels, int64_t count)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++) sum += luma(pixels + 3 * i);
    return sum;
}

static void normalise(const uint8_t *pixels, int64_t count, float shift, float scale, float *out)
{
    for (int64_t i = 0; i < count; i++) out[i] = ((float)pixels[3 * i] - shift) / scale;
}

#ifndef NORMALISE /* by whoever has a faster one */
#define NORMALISE normalise
#endif
const PixelKernels PIXEL_KERNELS = {mixup, color, sharpen, solarize, solarize_add, keep_bits, NORMALISE, luma_sum};
