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
 *
 * An image that is still being decoded is given row by row, and resized while its rows are in the nearest cache:
 *
 *     resize_begin(&resizer, width, height, target, INTERPOLATION_BICUBIC, out, error);
 *     resize_take(&resizer, rows, count);          // until all `height` rows were given: out is finished
 */
#ifndef DATA_IMAGE_RESIZE_H
#define DATA_IMAGE_RESIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/base/status.h"
#include "data/image/interpolation.h"

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
    int used;            /* taps of the longest sum */
    ResizeSpan *spans;   /* (outputs) */
    int32_t *taps;       /* (outputs, groups, 4) with 22 fraction bits */
    int16_t *halves;     /* (outputs, groups, 2, 4): tap = high << 14 + low, low halves first: for 16-bit multipliers */
    double *weights;     /* (4 * groups) scratch */
    size_t spans_size, taps_size, halves_size, weights_size;
} ResizeTaps;

struct Resizer;
typedef void (*ResizeRows)(const struct Resizer *resizer, const uint8_t *const rows[], int count, uint8_t *out);
typedef void (*ResizeColumns)(const struct Resizer *resizer, int output, uint8_t *out);

typedef struct Resizer {
    ResizeTaps x, y;
    uint8_t *rows;        /* the horizontal pass's result: (source rows in use, stride) */
    uint8_t *in_columns;  /* vector pass: a strip of source rows, turned: (3 * width and more, RESIZE_STRIP) */
    uint8_t *out_columns; /* and its result: (stride, RESIZE_STRIP) */
    size_t rows_size, in_size, out_size;
    bool portable; /* for tests: use the reference even where there is something faster */
    /* of the image in hand */
    ResizeTarget target;
    int width, height; /* source */
    ptrdiff_t stride;  /* of `rows`: 3 * target.columns bytes, rounded up to 32 */
    int first, end;    /* source rows in use */
    int seen, filled;  /* source rows given, output rows written */
    uint8_t *out;
    ResizeRows pass_rows; /* the passes that suit the processor and the taps */
    ResizeColumns pass_columns;
} Resizer;

/* out: (target.rows, target.columns, 3). filter: INTERPOLATION_BILINEAR or _BICUBIC. Fails only for want of memory. */
Status resize(Resizer *resizer, ResizeSource source, ResizeTarget target, Interpolation filter, uint8_t *out,
              Error *error);
void resizer_free(Resizer *resizer);

/* The same in steps; `out` must stay until the last row was given. */
Status resize_begin(Resizer *resizer, int width, int height, ResizeTarget target, Interpolation filter, uint8_t *out,
                    Error *error);
void resize_take(Resizer *resizer, const uint8_t *const rows[], int count); /* each (width, 3) */

/* The two passes, portable and AVX2. Rows: up to RESIZE_STRIP source rows -> as many of resizer->rows, from `out` on.
 * Columns: resizer->rows -> row number `output` of the result, counted within the window. */
void resize_rows(const Resizer *resizer, const uint8_t *const rows[], int count, uint8_t *out);
void resize_rows_avx2(const Resizer *resizer, const uint8_t *const rows[], int count, uint8_t *out);
void resize_columns(const Resizer *resizer, int output, uint8_t *out);
void resize_columns_avx2(const Resizer *resizer, int output, uint8_t *out);

enum { RESIZE_BITS = 22, RESIZE_SPLIT = 14, RESIZE_STRIP = 8 };

#endif
