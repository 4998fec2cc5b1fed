#include "dist/comm/compression.h"

#include <string.h>

size_t wire_bytes(WireType type)
{
    return type == WIRE_FP32 ? sizeof(float) : sizeof(uint16_t);
}

void wire_add(float *restrict sum, const float *restrict addend, int64_t count)
{
    for (int64_t i = 0; i < count; i++) sum[i] += addend[i];
}

void wire_add2(float *restrict sum, const float *restrict first, const float *restrict second, int64_t count)
{
    for (int64_t i = 0; i < count; i++) sum[i] = first[i] + second[i];
}

static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- bf16: sign, 8 bits of exponent, 7 of fraction */

static inline uint16_t bf16_from(float value)
{
    uint32_t bits = bits_of(value);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    uint32_t quiet_nan = bits >> 16 | 0x40; /* rounding could carry a NaN into infinity */
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? quiet_nan : rounded);
}

static inline float bf16_to(uint16_t half)
{
    return float_of((uint32_t)half << 16);
}

/* ---- fp16: sign, 5 bits of exponent, 10 of fraction */

static inline uint16_t fp16_from(float value)
{
    uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffff;
    /* Normal: move the exponent's bias from 127 to 15 and round 13 bits away; a carry out of the fraction raises the
     * exponent, up to infinity, as it should. */
    uint32_t normal = (magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13;
    /* Below 2^-14 the unit is 2^-24: adding 0.5, whose unit that is, makes the adder round. */
    uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
    uint32_t special = magnitude > 0x7f800000 ? 0x7e00 : 0x7c00;
    uint32_t half = magnitude < 113u << 23 ? subnormal : normal;
    half = magnitude >= 143u << 23 ? special : half; /* from 2^16 on, infinity and NaN */
    return (uint16_t)((bits >> 16 & 0x8000) | half);
}

static inline float fp16_to(uint16_t half)
{
    /* As the bits of a float, the value is too small by 2^112; the product is exact, for subnormals as well. */
    uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    uint32_t finite = bits_of(float_of(magnitude) * 0x1p112f);
    uint32_t bits = magnitude >= 31u << 23 ? magnitude | 0x7f800000 : finite;
    return float_of(bits | (uint32_t)(half & 0x8000) << 16);
}

/* ---- loops; the type is chosen outside of them */

static inline float lost(float value, float sent)
{
    float difference = value - sent;
    return difference - difference == 0 ? difference : 0; /* infinity and NaN would never leave the residual again */
}

void wire_pack(WireType type, const float *restrict values, float *restrict residual, uint16_t *restrict halves,
               int64_t count)
{
    if (type == WIRE_BF16)
        for (int64_t i = 0; i < count; i++) halves[i] = bf16_from(values[i]);
    else
        for (int64_t i = 0; i < count; i++) halves[i] = fp16_from(values[i]);
    if (!residual) return;
    if (type == WIRE_BF16)
        for (int64_t i = 0; i < count; i++) residual[i] = lost(values[i], bf16_to(halves[i]));
    else
        for (int64_t i = 0; i < count; i++) residual[i] = lost(values[i], fp16_to(halves[i]));
}

void wire_unpack(WireType type, const uint16_t *restrict halves, float *restrict values, int64_t count)
{
    if (type == WIRE_BF16)
        for (int64_t i = 0; i < count; i++) values[i] = bf16_to(halves[i]);
    else
        for (int64_t i = 0; i < count; i++) values[i] = fp16_to(halves[i]);
}

void wire_unpack_add(WireType type, const uint16_t *restrict halves, float *restrict sum, int64_t count)
{
    if (type == WIRE_BF16)
        for (int64_t i = 0; i < count; i++) sum[i] += bf16_to(halves[i]);
    else
        for (int64_t i = 0; i < count; i++) sum[i] += fp16_to(halves[i]);
}
