#include "data/image/resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"

/* Longest sum for which the low halves cannot overflow: 255 * 8192 * taps < 2^31. */
enum { MAX_SPLIT_GROUPS = 256 };

static double filter_bilinear(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

/* Keys's cubic with a = -0.5. */
static double filter_bicubic(double x)
{
    x = fabs(x);
    if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5;
    return 0.0;
}

static Status grow(void *pointer, size_t *size, size_t need, Error *error)
{
    void **memory = pointer;
    if (need <= *size) return STATUS_OK;
    need += need / 4; /* crops differ in size: fewer steps on the way to the largest */
    free(*memory);
    *size = 0;
    *memory = memory_alloc_aligned(64, (int64_t)need, 1, "resizing an image", error);
    if (!*memory) return STATUS_FAILED;
    *size = need;
    return STATUS_OK;
}

static int32_t fixed_point(double weight)
{
    return (int32_t)(weight * (1 << RESIZE_BITS) + (weight < 0.0 ? -0.5 : 0.5));
}

/* Taps for outputs begin .. begin+outputs-1 of `size` made from `source` inputs, backwards if mirrored. The order of
 * operations is Pillow's: another one would round differently. */
static Status taps_build(ResizeTaps *taps, int source, int size, int begin, int outputs, bool mirror,
                         Interpolation filter, Error *error)
{
    double (*const kernel)(double) = filter == INTERPOLATION_BICUBIC ? filter_bicubic : filter_bilinear;
    double scale = (double)source / size;
    double filter_scale = scale < 1.0 ? 1.0 : scale;
    double support = (filter == INTERPOLATION_BICUBIC ? 2.0 : 1.0) * filter_scale, inverse = 1.0 / filter_scale;
    int groups = ((int)ceil(support) * 2 + 1 + 3) / 4;
    size_t cells = (size_t)outputs * (size_t)groups * 4;
    Status status = grow(&taps->spans, &taps->spans_size, (size_t)outputs * sizeof *taps->spans, error);
    if (!status) status = grow(&taps->taps, &taps->taps_size, cells * sizeof *taps->taps, error);
    if (!status) status = grow(&taps->halves, &taps->halves_size, 2 * cells * sizeof *taps->halves, error);
    if (!status) status = grow(&taps->weights, &taps->weights_size, (size_t)groups * 4 * sizeof(double), error);
    if (status) return status;
    taps->outputs = outputs;
    taps->groups = groups;
    taps->used = 0;
    for (int i = 0; i < outputs; i++) {
        int output = begin + (mirror ? outputs - 1 - i : i);
        double centre = (output + 0.5) * scale, sum = 0.0;
        int first = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
        if (first < 0) first = 0;
        if (end > source) end = source;
        int count = end - first;
        for (int j = 0; j < count; j++) sum += taps->weights[j] = kernel((j + first - centre + 0.5) * inverse);
        int32_t *tap = taps->taps + (size_t)i * (size_t)groups * 4;
        int16_t *half = taps->halves + (size_t)i * (size_t)groups * 8;
        for (int j = 0; j < 4 * groups; j++) {
            tap[j] = j < count ? fixed_point(sum != 0.0 ? taps->weights[j] / sum : taps->weights[j]) : 0;
            int32_t high = (tap[j] + (1 << (RESIZE_SPLIT - 1))) >> RESIZE_SPLIT;
            half[j / 4 * 8 + j % 4] = (int16_t)(tap[j] - high * (1 << RESIZE_SPLIT));
            half[j / 4 * 8 + 4 + j % 4] = (int16_t)high;
        }
        taps->spans[i] = (ResizeSpan){first, count};
        if (count > taps->used) taps->used = count;
    }
    return STATUS_OK;
}

static uint8_t clip_sum(int32_t sum)
{
    int32_t value = sum >> RESIZE_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

void resize_rows(const Resizer *resizer, const uint8_t *const rows[], int count, uint8_t *out)
{
    const ResizeTaps *taps = &resizer->x;
    for (int y = 0; y < count; y++, out += resizer->stride) {
        for (int x = 0; x < taps->outputs; x++) {
            const ResizeSpan span = taps->spans[x];
            const int32_t *tap = taps->taps + (size_t)x * (size_t)taps->groups * 4;
            for (int c = 0; c < 3; c++) {
                int32_t sum = 1 << (RESIZE_BITS - 1);
                for (int j = 0; j < span.count; j++) sum += tap[j] * rows[y][(span.first + j) * 3 + c];
                out[3 * x + c] = clip_sum(sum);
            }
        }
    }
}

void resize_columns(const Resizer *resizer, int output, uint8_t *out)
{
    const ResizeTaps *taps = &resizer->y;
    const ResizeSpan span = taps->spans[output];
    const int32_t *tap = taps->taps + (size_t)output * (size_t)taps->groups * 4;
    const uint8_t *in = resizer->rows + (span.first - resizer->first) * resizer->stride;
    for (int x = 0; x < 3 * resizer->target.columns; x++) {
        int32_t sum = 1 << (RESIZE_BITS - 1);
        for (int j = 0; j < span.count; j++) sum += tap[j] * in[j * resizer->stride + x];
        out[x] = clip_sum(sum);
    }
}

/* The faster passes that this processor runs, as long as a sum has no more terms than they can hold. */
static void choose_passes(Resizer *resizer)
{
    resizer->pass_rows = resize_rows;
    resizer->pass_columns = resize_columns;
#if defined(__x86_64__)
    if (resizer->portable || !__builtin_cpu_supports("avx2")) return;
    if (resizer->x.groups <= MAX_SPLIT_GROUPS) resizer->pass_rows = resize_rows_avx2;
    if (resizer->y.groups <= MAX_SPLIT_GROUPS) resizer->pass_columns = resize_columns_avx2;
#endif
}

static Status reserve(Resizer *resizer, Error *error)
{
    /* The vector pass sums pairs of pixels: past the last pixel lie as many zeros as a sum may have terms. */
    const size_t width = 3 * (size_t)resizer->width, past = 3 * ((size_t)resizer->x.used + 1) + 32;
    const size_t stride = (size_t)resizer->stride, rows = (size_t)(resizer->end - resizer->first);
    Status status = grow(&resizer->rows, &resizer->rows_size, rows * stride, error);
    if (!status) status = grow(&resizer->in_columns, &resizer->in_size, (width + past) * RESIZE_STRIP, error);
    if (!status) status = grow(&resizer->out_columns, &resizer->out_size, stride * RESIZE_STRIP, error);
    if (!status) memset(resizer->in_columns + width * RESIZE_STRIP, 0, past * RESIZE_STRIP);
    return status;
}

Status resize_begin(Resizer *resizer, int width, int height, ResizeTarget target, Interpolation filter, uint8_t *out,
                    Error *error)
{
    Status status =
        taps_build(&resizer->x, width, target.width, target.x, target.columns, target.mirror, filter, error);
    if (!status) status = taps_build(&resizer->y, height, target.height, target.y, target.rows, false, filter, error);
    if (status) return status;
    const ResizeSpan *spans = resizer->y.spans, *last = &spans[target.rows - 1];
    resizer->target = target;
    resizer->width = width;
    resizer->height = height;
    resizer->stride = (3 * (ptrdiff_t)target.columns + 31) / 32 * 32;
    resizer->first = height == target.height ? target.y : spans->first;
    resizer->end = height == target.height ? target.y + target.rows : last->first + last->count;
    resizer->seen = resizer->filled = 0;
    resizer->out = out;
    choose_passes(resizer);
    return reserve(resizer, error);
}

/* At most a strip of source rows that are in use, from row number `seen` on: resampled, or at the same width copied. */
static void take_strip(Resizer *resizer, const uint8_t *const rows[], int count)
{
    const ResizeTarget *target = &resizer->target;
    uint8_t *out = resizer->rows + (resizer->seen - resizer->first) * resizer->stride;
    if (resizer->width != target->width || target->mirror) {
        resizer->pass_rows(resizer, rows, count, out);
        return;
    }
    for (int y = 0; y < count; y++)
        memcpy(out + y * resizer->stride, rows[y] + 3 * (size_t)target->x, 3 * (size_t)target->columns);
}

/* The output rows for which all source rows were seen. */
static void fill(Resizer *resizer)
{
    const ResizeTarget *target = &resizer->target;
    const size_t bytes = 3 * (size_t)target->columns;
    const bool same = resizer->height == target->height;
    for (; resizer->filled < target->rows; resizer->filled++) {
        const ResizeSpan span = resizer->y.spans[resizer->filled];
        uint8_t *out = resizer->out + (size_t)resizer->filled * bytes;
        if (resizer->seen < (same ? target->y + resizer->filled + 1 : span.first + span.count)) return;
        if (same)
            memcpy(out, resizer->rows + resizer->filled * resizer->stride, bytes);
        else
            resizer->pass_columns(resizer, resizer->filled, out);
    }
}

void resize_take(Resizer *resizer, const uint8_t *const rows[], int count)
{
    while (count > 0) {
        int strip = count < RESIZE_STRIP ? count : RESIZE_STRIP;
        if (resizer->seen < resizer->first && strip > resizer->first - resizer->seen) /* up to the first in use */
            strip = resizer->first - resizer->seen;
        if (resizer->seen >= resizer->first && resizer->seen < resizer->end) {
            if (strip > resizer->end - resizer->seen) strip = resizer->end - resizer->seen;
            take_strip(resizer, rows, strip);
        }
        resizer->seen += strip;
        rows += strip;
        count -= strip;
    }
    fill(resizer);
}

Status resize(Resizer *resizer, ResizeSource source, ResizeTarget target, Interpolation filter, uint8_t *out,
              Error *error)
{
    Status status = resize_begin(resizer, source.width, source.height, target, filter, out, error);
    for (int y = 0; y < source.height && !status; y += RESIZE_STRIP) {
        const uint8_t *rows[RESIZE_STRIP];
        int count = source.height - y < RESIZE_STRIP ? source.height - y : RESIZE_STRIP;
        for (int i = 0; i < count; i++) rows[i] = source.pixels + (y + i) * source.stride;
        resize_take(resizer, rows, count);
    }
    return status;
}

static void taps_free(ResizeTaps *taps)
{
    free(taps->spans);
    free(taps->taps);
    free(taps->halves);
    free(taps->weights);
}

void resizer_free(Resizer *resizer)
{
    taps_free(&resizer->x);
    taps_free(&resizer->y);
    free(resizer->rows);
    free(resizer->in_columns);
    free(resizer->out_columns);
    *resizer = (Resizer){0};
}
