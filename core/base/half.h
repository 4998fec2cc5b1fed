/* half.h: floats of 16 bits. Every one of them is a float; the other way, both round to nearest, ties to even.
 *
 * No branches, so that a compiler can vectorise loops of them.
 */
#ifndef CORE_BASE_HALF_H
#define CORE_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- bfloat16: sign, 8 bits of exponent, 7 of fraction */

static inline uint16_t float_to_bfloat(float value)
{
    uint32_t bits = float_bits(value);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    uint32_t quiet_nan = bits >> 16 | 0x40; /* rounding could carry a NaN into infinity */
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? quiet_nan : rounded);
}

static inline float bfloat_to_float(uint16_t bfloat)
{
    return float_of_bits((uint32_t)bfloat << 16);
}

/* ---- binary16 of IEEE 754: sign, 5 bits of exponent, 10 of fraction */

static inline uint16_t float_to_half(float value)
{
    uint32_t bits = float_bits(value), magnitude = bits & 0x7fffffff;
    /* Normal: move the exponent's bias from 127 to 15 and round 13 bits away; a carry out of the fraction raises the
     * exponent, up to infinity, as it should. */
    uint32_t normal = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    /* Below 2^-14 the unit is 2^-24: adding 0.5, whose unit that is, makes the adder round. */
    uint32_t subnormal = float_bits(float_of_bits(magnitude) + 0.5f) - float_bits(0.5f);
    uint32_t special = magnitude > 0x7f800000 ? 0x7e00 : 0x7c00;
    uint32_t half = magnitude < 113u << 23 ? subnormal : normal;
    half = magnitude >= 143u << 23 ? special : half; /* from 2^16 on, infinity and NaN */
    return (uint16_t)((bits >> 16 & 0x8000) | half);
}

static inline float half_to_float(uint16_t half)
{
    /* As the bits of a float, the value is too small by 2^112; the product is exact, for subnormals as well. */
    uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    uint32_t finite = float_bits(float_of_bits(magnitude) * 0x1p112f);
    uint32_t bits = magnitude >= 31u << 23 ? magnitude | 0x7f800000 : finite;
    return float_of_bits(bits | (uint32_t)(half & 0x8000) << 16);
}

#endif
