/* soft_split.h: overlapping windows to rows and back (torch's Unfold and Fold), for images and for token grids.
 *
 * A row holds channel-major windows: C x k x k, zero where a window leaves the grid. Channels of an image are planes,
 * channels of a token grid are neighbours in memory: the two strides of a Grid tell.
 *
 *     SplitShape shape = split_image(3, 224, 7, 4, 2);      // 3136 rows of 147
 *     split_rows(&shape, image, 0, 196, rows, 147);         // rows 0 .. 195
 */
#ifndef CORE_KERNELS_SOFT_SPLIT_H
#define CORE_KERNELS_SOFT_SPLIT_H

typedef struct SplitShape {
    int channels, side;           /* of the square grid that is read */
    int kernel, stride, padding;  /* of the windows */
    int out_side;                 /* windows along one side */
    int channel_step, pixel_step; /* floats from one channel to the next, and from one column to the next */
} SplitShape;

SplitShape split_image(int channels, int side, int kernel, int stride, int padding);  /* (C, side, side) */
SplitShape split_tokens(int channels, int side, int kernel, int stride, int padding); /* (side * side, C) */
int split_width(const SplitShape *shape);                                             /* C * k * k */

/* Windows first .. first + count - 1 of one grid to out (count, ld). */
void split_rows(const SplitShape *shape, const float *grid, int first, int count, float *out, int ld);

/* The gradient of pixels first .. first + count - 1 (row by row over the grid) from that of all windows, drows
 * (out_side^2, ld): each pixel sums its windows in a fixed order, so pixels are independent. Overwrites grid. */
void split_gather(const SplitShape *shape, const float *drows, int ld, int first, int count, float *grid);

#endif
