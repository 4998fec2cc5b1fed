#include "tests/support/golden.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"

/* FNV-1a of the stream's name, then SplitMix64's finaliser at index i. */
uint64_t fill_hash(const char *stream, uint64_t index)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (const char *at = stream; *at; at++) hash = (hash ^ (unsigned char)*at) * 0x100000001B3u;
    return rng_mix(hash + index * 0x9E3779B97F4A7C15u);
}

double fill_unit(const char *stream, uint64_t index)
{
    return (double)(fill_hash(stream, index) >> 40) * 0x1p-23 - 1;
}

static void fill_affine(const char *stream, double shift, double scale, float *out, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double product = scale * fill_unit(stream, (uint64_t)i);
        out[i] = (float)(shift + product);
    }
}

void fill_scaled(const char *stream, double scale, float *out, int64_t count)
{
    fill_affine(stream, 0, scale, out, count);
}

void fill_param(const Param *param, float *out)
{
    const char *dot = strrchr(param->name, '.'), *leaf = dot ? dot + 1 : param->name;
    double shift = 0, scale = 0.1; /* biases, cls_token, a learned pos_embed */
    if (param->init == INIT_SINUSOID) {
        params_sinusoid(param->shape[1], param->shape[2], out);
        return;
    }
    if (strcmp(leaf, "w") == 0) {
        scale = sqrt(3.0 * (double)param->shape[0] / (double)param->shape[1]);
    } else if (strcmp(leaf, "weight") == 0 && param->ndim == 1) {
        shift = 1;
    } else if (strcmp(leaf, "weight") == 0) {
        scale = sqrt(3.0 / (double)(param->numel / param->shape[0]));
        if (strstr(param->name, "kqv.weight")) scale *= 0.25;
    }
    fill_affine(param->name, shift, scale, out, param->numel);
}

void fill_weights(const ParamTable *table, float *weights)
{
    memset(weights, 0, (size_t)table->size * sizeof *weights);
    for (int i = 0; i < table->count; i++) fill_param(&table->items[i], weights + table->items[i].offset);
}

Safetensors golden_open(const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "tests/goldens/%s.safetensors", name);
    Safetensors file;
    Error error = {0};
    cr_assert_eq(safetensors_open(&file, path, &error), STATUS_OK, "%s", error.message);
    return file;
}

static const SafetensorsEntry *find(const Safetensors *file, const char *name, int64_t *count)
{
    const SafetensorsEntry *entry = safetensors_find(file, name);
    cr_assert(entry, "%s: no tensor %s", file->path, name);
    *count = entry->numel;
    return entry;
}

static void *read_stored(const Safetensors *file, const SafetensorsEntry *entry)
{
    void *out = malloc(entry->end - entry->begin + 1);
    Error error = {0};
    cr_assert(out);
    cr_assert_eq(safetensors_read(file, entry, out, &error), STATUS_OK, "%s", error.message);
    return out;
}

float *golden_floats(const Safetensors *file, const char *name, int64_t *count)
{
    const SafetensorsEntry *entry = find(file, name, count);
    float *out = malloc((size_t)entry->numel * sizeof *out + 1);
    Error error = {0};
    cr_assert(out);
    cr_assert_eq(safetensors_read_f32(file, entry, out, &error), STATUS_OK, "%s", error.message);
    return out;
}

double *golden_doubles(const Safetensors *file, const char *name, int64_t *count)
{
    const SafetensorsEntry *entry = find(file, name, count);
    cr_assert_eq(entry->dtype, DTYPE_F64, "%s: %s is %s", file->path, name, dtype_name(entry->dtype));
    return read_stored(file, entry);
}

int64_t *golden_ints(const Safetensors *file, const char *name, int64_t *count)
{
    const SafetensorsEntry *entry = find(file, name, count);
    cr_assert_eq(entry->dtype, DTYPE_I64, "%s: %s is %s", file->path, name, dtype_name(entry->dtype));
    return read_stored(file, entry);
}

/* A NaN on either side counts as infinitely wrong: no comparison may pass because of it. */
static double nan_is_infinite(double value)
{
    return isnan(value) ? INFINITY : value;
}

double max_abs_difference(const float *a, const float *b, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) most = fmax(most, nan_is_infinite(fabs((double)a[i] - b[i])));
    return most;
}

double max_abs(const float *a, int64_t count)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) most = fmax(most, nan_is_infinite(fabs((double)a[i])));
    return most;
}

double relative_l2(const float *got, const float *want, int64_t count)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (double)got[i] - want[i];
        difference += d * d;
        norm += (double)want[i] * want[i];
    }
    if (norm == 0) return difference == 0 ? 0 : INFINITY;
    return nan_is_infinite(sqrt(difference / norm));
}
