#include "core/kernels/gate.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

void gate_forward(const Gate *g, const float *y, int ldy, float *mean, float *squeezed, float *gate)
{
    memset(mean, 0, (size_t)g->dim * sizeof(float));
    for (int t = 0; t < g->tokens; t++)
        for (int c = 0; c < g->dim; c++) mean[c] += y[(int64_t)t * ldy + c];
    for (int c = 0; c < g->dim; c++) mean[c] /= (float)g->tokens;
    for (int h = 0; h < g->hidden; h++) {
        float sum = 0.0f;
        for (int c = 0; c < g->dim; c++) sum += g->w1[h * g->dim + c] * mean[c];
        squeezed[h] = sum > 0.0f ? sum : 0.0f;
    }
    for (int c = 0; c < g->dim; c++) {
        float sum = 0.0f;
        for (int h = 0; h < g->hidden; h++) sum += g->w2[c * g->hidden + h] * squeezed[h];
        gate[c] = 1.0f / (1.0f + expf(-sum));
    }
}

void gate_backward(const Gate *g, const float *mean, const float *squeezed, const float *gate, float *dgate, float *dw1,
                   float *dw2, float *drow, float *dsqueezed)
{
    memset(dsqueezed, 0, (size_t)g->hidden * sizeof(float));
    for (int c = 0; c < g->dim; c++) {
        dgate[c] *= gate[c] * (1.0f - gate[c]);
        for (int h = 0; h < g->hidden; h++) {
            dw2[c * g->hidden + h] += dgate[c] * squeezed[h];
            dsqueezed[h] += dgate[c] * g->w2[c * g->hidden + h];
        }
    }
    memset(drow, 0, (size_t)g->dim * sizeof(float));
    for (int h = 0; h < g->hidden; h++) {
        if (squeezed[h] <= 0.0f) continue;
        for (int c = 0; c < g->dim; c++) {
            dw1[h * g->dim + c] += dsqueezed[h] * mean[c];
            drow[c] += dsqueezed[h] * g->w1[h * g->dim + c] / (float)g->tokens;
        }
    }
}
