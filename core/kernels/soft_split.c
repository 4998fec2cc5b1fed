#include "core/kernels/soft_split.h"

#include <stdint.h>
#include <string.h>

static SplitShape split_make(int channels, int side, int kernel, int stride, int padding)
{
    return (SplitShape){.channels = channels,
                        .side = side,
                        .kernel = kernel,
                        .stride = stride,
                        .padding = padding,
                        .out_side = (side + 2 * padding - kernel) / stride + 1};
}

SplitShape split_image(int channels, int side, int kernel, int stride, int padding)
{
    SplitShape shape = split_make(channels, side, kernel, stride, padding);
    shape.channel_step = side * side;
    shape.pixel_step = 1;
    return shape;
}

SplitShape split_tokens(int channels, int side, int kernel, int stride, int padding)
{
    SplitShape shape = split_make(channels, side, kernel, stride, padding);
    shape.channel_step = 1;
    shape.pixel_step = channels;
    return shape;
}

int split_width(const SplitShape *shape)
{
    return shape->channels * shape->kernel * shape->kernel;
}

/* Window columns [low, high) along an axis that lie inside the grid, for a window that starts at `start`. */
static void inside(const SplitShape *shape, int start, int *low, int *high)
{
    *low = start < 0 ? -start : 0;
    *high = shape->side - start < shape->kernel ? shape->side - start : shape->kernel;
}

static void split_row(const SplitShape *shape, const float *grid, int row, float *out)
{
    int k = shape->kernel, y0 = row / shape->out_side * shape->stride - shape->padding;
    int x0 = row % shape->out_side * shape->stride - shape->padding, ylow, yhigh, xlow, xhigh;
    inside(shape, y0, &ylow, &yhigh);
    inside(shape, x0, &xlow, &xhigh);
    if (xlow > 0 || ylow > 0 || xhigh < k || yhigh < k) memset(out, 0, (size_t)split_width(shape) * sizeof(float));
    for (int ky = ylow; ky < yhigh; ky++)
        for (int kx = xlow; kx < xhigh; kx++) {
            const float *from = grid + ((int64_t)(y0 + ky) * shape->side + x0 + kx) * shape->pixel_step;
            float *to = out + ky * k + kx;
            for (int c = 0; c < shape->channels; c++) to[c * k * k] = from[(int64_t)c * shape->channel_step];
        }
}

void split_rows(const SplitShape *shape, const float *grid, int first, int count, float *out, int ld)
{
    for (int i = 0; i < count; i++) split_row(shape, grid, first + i, out + (int64_t)i * ld);
}

void split_gather(const SplitShape *shape, const float *drows, int ld, int first, int count, float *grid)
{
    int k = shape->kernel, stride = shape->stride, out_side = shape->out_side;
    for (int pixel = first; pixel < first + count; pixel++) {
        int y = pixel / shape->side + shape->padding, x = pixel % shape->side + shape->padding;
        float *to = grid + (int64_t)pixel * shape->pixel_step;
        for (int c = 0; c < shape->channels; c++) to[(int64_t)c * shape->channel_step] = 0.0f;
        for (int wy = y < k ? 0 : (y - k) / stride + 1; wy < out_side && wy * stride <= y; wy++)
            for (int wx = x < k ? 0 : (x - k) / stride + 1; wx < out_side && wx * stride <= x; wx++) {
                const float *from =
                    drows + (int64_t)(wy * out_side + wx) * ld + (y - wy * stride) * k + x - wx * stride;
                for (int c = 0; c < shape->channels; c++) to[(int64_t)c * shape->channel_step] += from[c * k * k];
            }
    }
}
