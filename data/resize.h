/* resize.h: Pillow's antialiased resize, bit for bit.
 *
 * Pillow resamples with separable filters whose support grows with the reduction, taps rounded to 22-bit fixed point,
 * rows first, then columns, with bytes in between. We do the same, so a model sees the pixels that it would see in
 * PyTorch. The source may be a crop inside a larger image (stride); no pixel outside the crop is read, as if the crop
 * had been cut out first. Of the resized image only a window is computed: evaluation wants its centre.
 *
 *     Resizer resizer = {0};                       // one per thread; its buffers grow and are reused
 *     ResizeSource source = {pixels, width, height, stride};
 *     ResizeTarget target = {.width = 330, .height = 248, .x = 53, .y = 12, .columns = 224, .rows = 224};
 *     resize(&resizer, source, target, INTERPOLATION_BICUBIC, out, error);
 *     resizer_free(&resizer);
 */
#ifndef DATA_RESIZE_H
#define DATA_RESIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/status.h"
#include "data/pipeline.h"

typedef struct ResizeSource {
    const uint8_t *pixels; /* (height, width, 3) */
    int width, height;
    ptrdiff_t stride; /* bytes from row to row */
} ResizeSource;

typedef struct ResizeTarget {
    int width, height; /* of the whole resized image */
    int x, y;          /* the window that is wanted */
    int columns, rows;
    bool mirror; /* left and right exchanged, for nothing */
} ResizeTarget;

/* The taps of one axis: output i is the sum over j < count of k[j] * input[first + j]. */
typedef struct ResizeSpan {
    int first, count;
} ResizeSpan;

typedef struct ResizeTaps {
    int outputs, groups; /* room for taps per output, in groups of four, the rest zero */
    int used;            /* groups that the longest sum needs */
    ResizeSpan *spans;   /* (outputs) */
    int32_t *taps;       /* (outputs, groups, 4) with 22 fraction bits */
    int16_t *halves;     /* (outputs, groups, 2, 4): tap = high << 14 + low, low halves first: for 16-bit multipliers */
    double *weights;     /* (4 * groups) scratch */
    size_t spans_size, taps_size, halves_size, weights_size;
} ResizeTaps;

typedef struct Resizer {
    ResizeTaps x, y;
    uint8_t *rows; /* the horizontal pass's result: (source rows in use, row_stride) */
    size_t rows_size;
    uint8_t *tail; /* the last source rows, followed by bytes that may be read */
    size_t tail_size;
    bool portable; /* for tests: use the reference even where there is something faster */
} Resizer;

/* out: (target.rows, target.columns, 3). filter: INTERPOLATION_BILINEAR or _BICUBIC. Fails only for want of memory. */
Status resize(Resizer *resizer, ResizeSource source, ResizeTarget target, Interpolation filter, uint8_t *out,
              Error *error);
void resizer_free(Resizer *resizer);

/* The two passes over rows, portable and AVX2. in, out: `count` rows; out rows have `out_stride` >= 3 * outputs + 1
 * bytes and `in` must be readable 12 * taps->used + 16 bytes past the last pixel of the last row. */
typedef void (*ResizeRows)(const ResizeTaps *taps, const uint8_t *in, ptrdiff_t in_stride, int count, uint8_t *out,
                           ptrdiff_t out_stride);
/* rows: the first row of the horizontal pass's result, source row number `first_row`; out: one finished row of `bytes`
 * bytes, the one that `output` of the taps describes. The rows of `in` are readable to a multiple of 32 bytes. */
typedef void (*ResizeColumns)(const ResizeTaps *taps, int output, const uint8_t *in, ptrdiff_t in_stride, int first_row,
                              uint8_t *out, int bytes);
void resize_rows(const ResizeTaps *taps, const uint8_t *in, ptrdiff_t in_stride, int count, uint8_t *out,
                 ptrdiff_t out_stride);
void resize_columns(const ResizeTaps *taps, int output, const uint8_t *in, ptrdiff_t in_stride, int first_row,
                    uint8_t *out, int bytes);
void resize_rows_avx2(const ResizeTaps *taps, const uint8_t *in, ptrdiff_t in_stride, int count, uint8_t *out,
                      ptrdiff_t out_stride);
void resize_columns_avx2(const ResizeTaps *taps, int output, const uint8_t *in, ptrdiff_t in_stride, int first_row,
                         uint8_t *out, int bytes);

enum { RESIZE_BITS = 22, RESIZE_SPLIT = 14 };

#endif
