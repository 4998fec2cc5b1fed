#include "core/model/residual.h"

#include <string.h>

/* ---- who keeps a branch */

DropPathMask drop_path_none(int tokens)
{
    return (DropPathMask){.tokens = tokens, .factor = 1.0f};
}

size_t drop_path_ints(int batch)
{
    return 2 * (size_t)batch + 1;
}

DropPathMask drop_path_sample(const StepContext *step, int layer, int branch, double p, int tokens, int *memory)
{
    int *before = memory, *images = memory + step->batch + 1, count = 0;
    bool drops = step->training && p > 0.0;
    for (int b = 0; b < step->batch; b++) {
        before[b] = count;
        if (drops) {
            Rng rng = rng_make(step->seed, RNG_DROP_PATH, step->epoch, step->samples[b]);
            rng = rng_split(rng, (uint64_t)(2 * layer + branch));
            if (rng_uniform(&rng) < p) continue;
        }
        images[count++] = b;
    }
    before[step->batch] = count;
    return (DropPathMask){.tokens = tokens,
                          .count = count,
                          .factor = drops ? (float)(1.0 / (1.0 - p)) : 1.0f,
                          .before = before,
                          .images = images};
}

/* How many kept rows lie before a row of the batch. */
static int64_t rows_before(const DropPathMask *kept, int64_t row)
{
    if (!kept->before) return row;
    int64_t image = row / kept->tokens, token = row % kept->tokens;
    bool within = token > 0 && kept->before[image + 1] > kept->before[image];
    return (int64_t)kept->before[image] * kept->tokens + (within ? token : 0);
}

Span kept_rows(const DropPathMask *kept, int64_t first, int rows)
{
    int64_t from = rows_before(kept, first);
    return (Span){from, (int)(rows_before(kept, first + rows) - from)};
}

/* The rows of one image within a tile. */
typedef struct Segment {
    int image, rows;
    int from;      /* row of the tile */
    int dense;     /* row of its kept rows */
    int64_t token; /* of the first row, within the image */
    bool kept;
} Segment;

/* From {0}, the first segment of a tile, then the next one; false after the last. */
static bool segment_next(const DropPathMask *kept, int64_t first, int rows, Segment *s)
{
    if (s->kept) s->dense += s->rows;
    s->from += s->rows;
    if (s->from >= rows) return false;
    int64_t row = first + s->from, left = kept->tokens - row % kept->tokens;
    s->image = (int)(row / kept->tokens);
    s->token = row % kept->tokens;
    s->rows = left < rows - s->from ? (int)left : rows - s->from;
    s->kept = !kept->before || kept->before[s->image + 1] > kept->before[s->image];
    return true;
}

/* ---- along the rows of a tile */

void dropout_rows(const StepContext *step, int layer, int site, double p, const DropPathMask *kept, int64_t first,
                  int rows, int cols, float *x)
{
    if (!step->training || p <= 0.0) return;
    for (Segment s = {0}; segment_next(kept, first, rows, &s);) {
        if (!s.kept) continue;
        float *at = x + (int64_t)s.dense * cols;
        step->kernels->dropout((int64_t)s.rows * cols, site_key(step, s.image, layer, site), (uint64_t)(s.token * cols),
                               p, at, at);
    }
}

void norm_forward(const StepContext *step, const Norm *norm, const DropPathMask *kept, int64_t first, int rows,
                  const float *x, int ldx, float *y, float *mean, float *rstd)
{
    const float *weight = step->weights + norm->weight, *bias = step->weights + norm->bias;
    int width = norm->width;
    for (Segment s = {0}; segment_next(kept, first, rows, &s);)
        if (s.kept)
            step->kernels->layernorm(s.rows, width, x + (int64_t)s.from * ldx, ldx, norm->eps, weight, bias,
                                     y + (int64_t)s.dense * width, width, mean + s.dense, rstd + s.dense);
}

void norm_backward(const StepContext *step, const Norm *norm, const DropPathMask *kept, int64_t first, int rows,
                   const float *x, int ldx, const float *mean, const float *rstd, const float *dy, float *y,
                   float *stream, int lds, float *dweight, float *dbias)
{
    const float *weight = step->weights + norm->weight, *bias = step->weights + norm->bias;
    int width = norm->width;
    for (Segment s = {0}; segment_next(kept, first, rows, &s);) {
        if (!s.kept) continue;
        const float *at = x + (int64_t)s.from * ldx;
        int64_t dense = (int64_t)s.dense * width;
        step->kernels->layernorm_apply(s.rows, width, at, ldx, mean + s.dense, rstd + s.dense, weight, bias, y + dense,
                                       width);
        step->kernels->layernorm_backward(s.rows, width, at, ldx, mean + s.dense, rstd + s.dense, weight, dy + dense,
                                          width, true, stream + (int64_t)s.from * lds, lds, dweight, dbias);
    }
}

/* ---- the end */

void residual_forward(const StepContext *step, const ResidualBranch *branch, int64_t first, int rows, int cols,
                      float *y, const float *bias, const float *residual, int ldr, float *out, int ldo)
{
    const DropPathMask *kept = &branch->kept;
    if (step->training && branch->drop > 0.0) {
        if (bias) step->kernels->add_bias(kept_rows(kept, first, rows).rows, cols, bias, y, cols);
        bias = NULL;
        dropout_rows(step, branch->layer, branch->site, branch->drop, kept, first, rows, cols, y);
    }
    for (Segment s = {0}; segment_next(kept, first, rows, &s);) {
        const float *from = residual + (int64_t)s.from * ldr;
        float *to = out + (int64_t)s.from * ldo;
        if (s.kept)
            step->kernels->residual(s.rows, cols, y + (int64_t)s.dense * cols, cols, bias, kept->factor, from, ldr, to,
                                    ldo);
        else
            for (int r = 0; r < s.rows; r++)
                memcpy(to + (int64_t)r * ldo, from + (int64_t)r * ldr, (size_t)cols * sizeof(float));
    }
}

void residual_backward(const StepContext *step, const ResidualBranch *branch, int64_t first, int rows, int cols,
                       const float *dout, int lddo, float *dy)
{
    const DropPathMask *kept = &branch->kept;
    for (Segment s = {0}; segment_next(kept, first, rows, &s);) {
        if (!s.kept) continue;
        const float *from = dout + (int64_t)s.from * lddo;
        float *to = dy + (int64_t)s.dense * cols;
        for (int r = 0; r < s.rows; r++)
            for (int c = 0; c < cols; c++) to[(int64_t)r * cols + c] = from[(int64_t)r * lddo + c] * kept->factor;
    }
    dropout_rows(step, branch->layer, branch->site, branch->drop, kept, first, rows, cols, dy);
}
