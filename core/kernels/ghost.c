#include "core/kernels/ghost.h"

#include <stddef.h>

void ghost_widen(int rows, int half, const float *factor, float *x, int ld)
{
    for (int r = 0; r < rows; r++, x += ld)
        for (int c = 0; c < half; c++) x[half + c] = x[c] * factor[c];
}

void ghost_widen_backward(int rows, int half, const float *factor, const float *x, int ld, float *dx, int ldg,
                          float *dfactor)
{
    for (int r = 0; r < rows; r++, x += ld, dx += ldg)
        for (int c = 0; c < half; c++) {
            dfactor[c] += dx[half + c] * x[c];
            dx[c] += dx[half + c] * factor[c];
        }
}

void ghost_expand(const Kernels *kernels, int rows, int dim, const float *h, int ldh, const float *factor2,
                  const float *factor3, float *y, int ldy)
{
    for (int r = 0; r < rows; r++, h += ldh, y += ldy) {
        kernels->gelu(dim, h, y);
        for (int c = 0; c < dim; c++) {
            y[dim + c] = y[c] * factor2[c];
            y[2 * dim + c] = y[c] * factor3[c];
        }
        kernels->gelu(2 * dim, y + dim, y + dim);
    }
}

void ghost_expand_backward(const Kernels *kernels, int rows, int dim, const float *h, int ldh, const float *factor2,
                           const float *factor3, float *dy, int ldy, float *dh, float *dfactor2, float *dfactor3,
                           float *scratch)
{
    float *g = scratch, *scaled = scratch + dim;
    for (int r = 0; r < rows; r++, h += ldh, dh += ldh, dy += ldy) {
        const float *factors[] = {factor2, factor3};
        float *dfactors[] = {dfactor2, dfactor3};
        kernels->gelu(dim, h, g);
        for (int part = 0; part < 2; part++) {
            float *d = dy + (part + 1) * dim;
            for (int c = 0; c < dim; c++) scaled[c] = g[c] * factors[part][c];
            kernels->gelu_backward(dim, scaled, d, NULL, d);
            for (int c = 0; c < dim; c++) {
                dfactors[part][c] += d[c] * g[c];
                dy[c] += d[c] * factors[part][c];
            }
        }
        kernels->gelu_backward(dim, h, dy, NULL, dh);
    }
}
