/* residual.h: the residual branches of a batch: which images compute them, where their rows lie, how they begin and end.
 * Internal to core/.
 *
 * Stochastic depth (Huang et al. 2016) drops a branch for some images. Nothing of it is computed for them: the rows of
 * the images that keep it lie densely, in the batch's order, from the branch's norm to its last layer. Tasks are still
 * tiles of the batch's rows; the kept rows of a tile are one span of the dense rows, which may be empty.
 *
 *     Span span = kept_rows(&kept, first, rows);
 *     norm_forward(step, &norm, &kept, first, rows, x, cols, y, mean + span.first, rstd + span.first);
 *     linear_forward(step, &linear, span.rows, y, ...);
 *     residual_forward(step, &branch, first, rows, cols, y, bias, x, cols, out, cols);
 */
#ifndef CORE_MODEL_RESIDUAL_H
#define CORE_MODEL_RESIDUAL_H

#include "core/model/step_context.h"

typedef struct DropPathMask {
    int tokens;        /* rows of an image */
    int count;         /* images that keep the branch; not set by drop_path_none */
    float factor;      /* of what the branch adds: 1 / (1 - p) */
    const int *before; /* (batch + 1): how many keep it before each image; NULL: all do */
    const int *images; /* (count) */
} DropPathMask;

typedef struct Span {
    int64_t first; /* of the dense rows */
    int rows;
} Span;

DropPathMask drop_path_none(int tokens);
/* Draws who keeps a branch; all do when not training. `memory` (drop_path_ints(batch)) is the caller's and stays in use. */
DropPathMask drop_path_sample(const StepContext *step, int layer, int branch, double p, int tokens, int *memory);
size_t drop_path_ints(int batch);
Span kept_rows(const DropPathMask *kept, int64_t first, int rows); /* of rows `first` .. of the batch */

/* In all of these `first` and `rows` name rows of the batch; x, out, stream, dout point at row `first`, with a row for
 * each; y, dy, mean, rstd point at the first of its kept rows. */

/* x (kept rows, cols), contiguous: dropout in place. */
void dropout_rows(const StepContext *step, int layer, int site, double p, const DropPathMask *kept, int64_t first,
                  int rows, int cols, float *x);

/* y (kept rows, width) = norm(x (rows, width)); y is contiguous */
void norm_forward(const StepContext *step, const Norm *norm, const DropPathMask *kept, int64_t first, int rows,
                  const float *x, int ldx, float *y, float *mean, float *rstd);
/* stream (rows, width) += gradient of x, from dy (kept rows, width); y again; dweight, dbias (width) are added to. */
void norm_backward(const StepContext *step, const Norm *norm, const DropPathMask *kept, int64_t first, int rows,
                   const float *x, int ldx, const float *mean, const float *rstd, const float *dy, float *y,
                   float *stream, int lds, float *dweight, float *dbias);

typedef struct ResidualBranch {
    int layer, site;
    double drop;
    DropPathMask kept;
} ResidualBranch;

/* The end of a branch. Forward: out = residual + factor * dropout(y + bias), and out = residual where it was dropped;
 * y is scratch afterwards. Backward: dy = factor * dropout mask * dout. y, dy are contiguous. */
void residual_forward(const StepContext *step, const ResidualBranch *branch, int64_t first, int rows, int cols,
                      float *y, const float *bias, const float *residual, int ldr, float *out, int ldo);
void residual_backward(const StepContext *step, const ResidualBranch *branch, int64_t first, int rows, int cols,
                       const float *dout, int lddo, float *dy);

#endif
