#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dist/comm/compression.h"

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint16_t packed(WireType type, float value)
{
    uint16_t half;
    floats_compress(type, &value, NULL, &half, 1);
    return half;
}

static float unpacked(WireType type, uint16_t half)
{
    float value;
    floats_decompress(type, &half, &value, 1);
    return value;
}

/* The value of a finite pattern from the definition: sign, exponent, fraction. */
static double defined(WireType type, uint16_t half)
{
    int fraction_bits = type == WIRE_BF16 ? 7 : 10, bias = type == WIRE_BF16 ? 127 : 15;
    int exponent = (half & 0x7fff) >> fraction_bits, fraction = half & ((1 << fraction_bits) - 1);
    double magnitude = exponent ? ldexp(1 + ldexp(fraction, -fraction_bits), exponent - bias)
                                : ldexp(fraction, 1 - bias - fraction_bits);
    return half & 0x8000 ? -magnitude : magnitude;
}

static uint16_t infinity_of(WireType type)
{
    return type == WIRE_BF16 ? 0x7f80 : 0x7c00;
}

static const WireType NARROW[] = {WIRE_BF16, WIRE_FP16};

Test(wire, every_pattern_means_what_its_format_defines)
{
    for (int t = 0; t < 2; t++)
        for (uint32_t half = 0; half < 0x10000; half++) {
            WireType type = NARROW[t];
            float value = unpacked(type, (uint16_t)half);
            if ((half & 0x7fff) > infinity_of(type)) {
                cr_assert(isnan(value));
                cr_assert(isnan(unpacked(type, packed(type, value))));
                continue;
            }
            if ((half & 0x7fff) == infinity_of(type))
                cr_assert_eq(value, half & 0x8000 ? -INFINITY : INFINITY);
            else
                cr_assert_eq((double)value, defined(type, (uint16_t)half), "pattern %04x", half);
            cr_assert_eq(packed(type, value), half, "pattern %04x does not survive", half);
        }
}

/* Between two neighbouring patterns: the nearer one, and at the middle the even one. */
Test(wire, rounds_to_nearest_even)
{
    for (int t = 0; t < 2; t++)
        for (uint32_t half = 0; half < infinity_of(NARROW[t]); half++) {
            WireType type = NARROW[t];
            double low = defined(type, (uint16_t)half);
            double high = defined(type, (uint16_t)(half + 1)); /* for infinity: where the next binade would begin */
            float middle = (float)((low + high) / 2);
            if ((double)middle != (low + high) / 2) continue; /* below the smallest float */
            uint32_t even = half & 1 ? half + 1 : half;
            cr_assert_eq(packed(type, middle), even, "%a", (double)middle);
            cr_assert_eq(packed(type, -middle), even | 0x8000, "%a", (double)-middle);
            cr_assert_eq(packed(type, nextafterf(middle, 0)), half, "below %a", (double)middle);
            cr_assert_eq(packed(type, nextafterf(middle, INFINITY)), half + 1, "above %a", (double)middle);
        }
    cr_assert_eq(packed(WIRE_FP16, 65519.0f), 0x7bff);
    cr_assert_eq(packed(WIRE_FP16, 65520.0f), 0x7c00);
    cr_assert_eq(packed(WIRE_FP16, 1e30f), 0x7c00);
    cr_assert_eq(packed(WIRE_BF16, 3.4e38f), 0x7f80);
}

Test(wire, residual_is_what_rounding_took)
{
    enum { COUNT = 1003 };
    float values[COUNT], residual[COUNT], back[COUNT], sum[COUNT];
    uint16_t halves[COUNT];
    for (int i = 0; i < COUNT; i++) values[i] = (float)ldexp(sin(i * 1.7), i % 30 - 20);
    values[5] = INFINITY;
    values[6] = NAN;
    values[7] = float_of(0x7f7fffff);
    for (int t = 0; t < 2; t++) {
        floats_compress(NARROW[t], values, residual, halves, COUNT);
        floats_decompress(NARROW[t], halves, back, COUNT);
        memcpy(sum, residual, sizeof sum);
        floats_decompress_add(NARROW[t], halves, sum, COUNT);
        for (int i = 0; i < COUNT; i++) {
            if (i >= 5 && i <= 7) {
                cr_assert_eq(residual[i], 0, "element %d must not poison the next step", i);
                continue;
            }
            cr_assert_eq((double)residual[i], (double)values[i] - (double)back[i]);
            cr_assert_eq(sum[i], values[i]);
        }
    }
}
