#include "data/resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    *memory = aligned_alloc(64, (need + 63) / 64 * 64);
    if (!*memory) return error_set(error, STATUS_FAILED, "out of memory: %zu bytes for resizing an image", need);
    *size = need;
    return STATUS_OK;
}

static int32_t fixed_point(double weight)
{
    return (int32_t)(weight * (1 << RESIZE_BITS) + (weight < 0.0 ? -0.5 : 0.5));
}

/* Taps for outputs begin .. begin+outputs-1 of `size` made from `source` inputs, backwards if mirrored. The order of operations is Pillow's:
 * another one would round differently. */
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
        if ((count + 3) / 4 > taps->used) taps->used = (count + 3) / 4;
    }
    return STATUS_OK;
}

static uint8_t clip(int32_t sum)
{
    int32_t value = sum >> RESIZE_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

void resize_rows(const ResizeTaps *taps, const uint8_t *in, ptrdiff_t in_stride, int count, uint8_t *out,
                 ptrdiff_t out_stride)
{
    for (int y = 0; y < count; y++, in += in_stride, out += out_stride) {
        for (int x = 0; x < taps->outputs; x++) {
            const ResizeSpan span = taps->spans[x];
            const int32_t *tap = taps->taps + (size_t)x * (size_t)taps->groups * 4;
            for (int c = 0; c < 3; c++) {
                int32_t sum = 1 << (RESIZE_BITS - 1);
                for (int j = 0; j < span.count; j++) sum += tap[j] * in[(span.first + j) * 3 + c];
                out[3 * x + c] = clip(sum);
            }
        }
    }
}

void resize_columns(const ResizeTaps *taps, int output, const uint8_t *in, ptrdiff_t in_stride, int first_row,
                    uint8_t *out, int bytes)
{
    const ResizeSpan span = taps->spans[output];
    const int32_t *tap = taps->taps + (size_t)output * (size_t)taps->groups * 4;
    in += (span.first - first_row) * in_stride;
    for (int x = 0; x < bytes; x++) {
        int32_t sum = 1 << (RESIZE_BITS - 1);
        for (int j = 0; j < span.count; j++) sum += tap[j] * in[j * in_stride + x];
        out[x] = clip(sum);
    }
}

static bool fast(const Resizer *resizer, const ResizeTaps *taps)
{
#if defined(__x86_64__)
    return !resizer->portable && taps->groups <= MAX_SPLIT_GROUPS && __builtin_cpu_supports("avx2");
#else
    (void)resizer, (void)taps;
    return false;
#endif
}

static ResizeRows choose_rows(const Resizer *resizer)
{
#if defined(__x86_64__)
    if (fast(resizer, &resizer->x)) return resize_rows_avx2;
#endif
    return resize_rows;
}

static ResizeColumns choose_columns(const Resizer *resizer)
{
#if defined(__x86_64__)
    if (fast(resizer, &resizer->y)) return resize_columns_avx2;
#endif
    return resize_columns;
}

/* How far past the source's last pixel the vector pass may read: every sum takes `used` whole groups. */
static size_t slack(const ResizeTaps *taps)
{
    return 12 * (size_t)taps->used + 16;
}

static int tail_rows(const ResizeTaps *taps, int width, int rows)
{
    size_t tail = 1 + slack(taps) / (3 * (size_t)width);
    return tail < (size_t)rows ? (int)tail : rows;
}

/* Source rows first .. first+count-1, resampled (or, at the same width, copied) into resizer->rows. */
static void run_rows(Resizer *resizer, ResizeSource source, ResizeTarget target, int first, int count, ptrdiff_t stride)
{
    const uint8_t *in = source.pixels + first * source.stride;
    if (source.width == target.width && !target.mirror) {
        for (int y = 0; y < count; y++)
            memcpy(resizer->rows + y * stride, in + y * source.stride + 3 * target.x, 3 * (size_t)target.columns);
        return;
    }
    /* What lies behind the last row may not be ours to read: the rows that end close to it are copied. */
    ResizeRows rows = choose_rows(resizer);
    size_t width = 3 * (size_t)source.width;
    int tail = tail_rows(&resizer->x, source.width, count);
    rows(&resizer->x, in, source.stride, count - tail, resizer->rows, stride);
    in += (count - tail) * source.stride;
    for (int y = 0; y < tail; y++) memcpy(resizer->tail + (size_t)y * width, in + y * source.stride, width);
    rows(&resizer->x, resizer->tail, (ptrdiff_t)width, tail, resizer->rows + (count - tail) * stride, stride);
}

Status resize(Resizer *resizer, ResizeSource source, ResizeTarget target, Interpolation filter, uint8_t *out,
              Error *error)
{
    Status status =
        taps_build(&resizer->x, source.width, target.width, target.x, target.columns, target.mirror, filter, error);
    if (!status)
        status = taps_build(&resizer->y, source.height, target.height, target.y, target.rows, false, filter, error);
    if (status) return status;
    const ResizeSpan *spans = resizer->y.spans;
    bool same_height = source.height == target.height;
    int first = same_height ? target.y : spans[0].first;
    int end = same_height ? target.y + target.rows : spans[target.rows - 1].first + spans[target.rows - 1].count;
    ptrdiff_t stride = (3 * (ptrdiff_t)target.columns + 1 + 31) / 32 * 32;
    status = grow(&resizer->rows, &resizer->rows_size, (size_t)(end - first) * (size_t)stride, error);
    size_t tail = 3 * (size_t)source.width * (size_t)tail_rows(&resizer->x, source.width, end - first);
    if (!status) status = grow(&resizer->tail, &resizer->tail_size, tail + slack(&resizer->x), error);
    if (status) return status;
    run_rows(resizer, source, target, first, end - first, stride);
    ResizeColumns columns = choose_columns(resizer);
    int bytes = 3 * target.columns;
    for (int y = 0; y < target.rows; y++) {
        uint8_t *row = out + (size_t)y * (size_t)bytes;
        if (same_height)
            memcpy(row, resizer->rows + y * stride, (size_t)bytes);
        else
            columns(&resizer->y, y, resizer->rows, stride, first, row, bytes);
    }
    return STATUS_OK;
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
    free(resizer->tail);
    *resizer = (Resizer){0};
}
