/* Every 16-bit float there is, there and back; the compiler's own conversions are the reference where it has them. */
#include <criterion/criterion.h>
#include <math.h>

#include "core/base/half.h"

Test(half, every_half_and_bfloat_comes_back)
{
    for (uint32_t bits = 0; bits < 1 << 16; bits++) {
        float half = half_to_float((uint16_t)bits), bfloat = bfloat_to_float((uint16_t)bits);
        if (!isnan(half)) cr_assert_eq(float_to_half(half), bits, "half %#x", bits);
        if (!isnan(bfloat)) cr_assert_eq(float_to_bfloat(bfloat), bits, "bfloat %#x", bits);
        if (isnan(half)) cr_assert(isnan(half_to_float(float_to_half(half))), "half %#x", bits);
        if (isnan(bfloat)) cr_assert(isnan(bfloat_to_float(float_to_bfloat(bfloat))), "bfloat %#x", bits);
    }
}

Test(half, values)
{
    cr_assert_eq(half_to_float(0x3c00), 1);
    cr_assert_eq(half_to_float(0xc000), -2);
    cr_assert_eq(half_to_float(0x0001), 0x1p-24f);
    cr_assert_eq(half_to_float(0x03ff), 1023 * 0x1p-24f);
    cr_assert_eq(half_to_float(0x7bff), 65504);
    cr_assert(isinf(half_to_float(0xfc00)) && half_to_float(0xfc00) < 0);
    cr_assert_eq(float_to_half(65520), 0x7c00);
    cr_assert_eq(float_to_half(65519), 0x7bff);
    cr_assert_eq(float_to_half(0x1p-25f), 0);
    cr_assert_eq(float_to_half(0x1.8p-25f), 1);
    cr_assert(signbit(half_to_float(0x8000)) && half_to_float(0x8000) == 0);
    cr_assert_eq(bfloat_to_float(0x3fc0), 1.5f);
    cr_assert_eq(float_to_bfloat(0x1.01p0f), 0x3f80); /* a tie goes to even */
    cr_assert_eq(float_to_bfloat(0x1.03p0f), 0x3f82);
}

Test(half, the_next_float_rounds_to_the_nearer_half)
{
    for (uint32_t bits = 0; bits < 0x7bff; bits++) {
        float low = half_to_float((uint16_t)bits), high = half_to_float((uint16_t)(bits + 1));
        float middle = low + (high - low) / 2;
        cr_assert_eq(float_to_half(nextafterf(middle, 0)), bits);
        cr_assert_eq(float_to_half(nextafterf(middle, INFINITY)), bits + 1);
        cr_assert_eq(float_to_half(middle), bits + (bits & 1));
    }
}
