#include "dist/comm/compression.h"

#include "core/base/half.h"

size_t compressed_bytes(WireType type)
{
    return type == WIRE_FP32 ? sizeof(float) : sizeof(uint16_t);
}

void floats_add(float *restrict sum, const float *restrict addend, int64_t count)
{
    for (int64_t i = 0; i < count; i++) sum[i] += addend[i];
}

void floats_add2(float *restrict sum, const float *restrict first, const float *restrict second, int64_t count)
{
    for (int64_t i = 0; i < count; i++) sum[i] = first[i] + second[i];
}

/* ---- loops; the type is chosen outside of them */

static inline float lost(float value, float sent)
{
    float difference = value - sent;
    return difference - difference == 0 ? difference : 0; /* infinity and NaN would never leave the residual again */
}

void floats_compress(WireType type, const float *restrict values, float *restrict residual, uint16_t *restrict halves,
                     int64_t count)
{
    if (type == WIRE_BF16)
        for (int64_t i = 0; i < count; i++) halves[i] = float_to_bfloat(values[i]);
    else
        for (int64_t i = 0; i < count; i++) halves[i] = float_to_half(values[i]);
    if (!residual) return;
    if (type == WIRE_BF16)
        for (int64_t i = 0; i < count; i++) residual[i] = lost(values[i], bfloat_to_float(halves[i]));
    else
        for (int64_t i = 0; i < count; i++) residual[i] = lost(values[i], half_to_float(halves[i]));
}

void floats_decompress(WireType type, const uint16_t *restrict halves, float *restrict values, int64_t count)
{
    if (type == WIRE_BF16)
        for (int64_t i = 0; i < count; i++) values[i] = bfloat_to_float(halves[i]);
    else
        for (int64_t i = 0; i < count; i++) values[i] = half_to_float(halves[i]);
}

void floats_decompress_add(WireType type, const uint16_t *restrict halves, float *restrict sum, int64_t count)
{
    if (type == WIRE_BF16)
        for (int64_t i = 0; i < count; i++) sum[i] += bfloat_to_float(halves[i]);
    else
        for (int64_t i = 0; i < count; i++) sum[i] += half_to_float(halves[i]);
}
