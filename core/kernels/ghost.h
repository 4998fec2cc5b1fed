/* ghost.h: the cheap operations of T2T-ViT-Ghost (after Han et al., GhostNet, CVPR 2020): features that are not
 * computed by a product but by scaling channels of those that were (a depthwise 1x1 convolution).
 */
#ifndef CORE_KERNELS_GHOST_H
#define CORE_KERNELS_GHOST_H

#include "core/kernels/kernels.h"

/* Attention: x (rows, 2 * half) has its left half computed; right = left * factor (half). */
void ghost_widen(int rows, int half, const float *factor, float *x, int ld);
/* dx's left half += right half * factor; dfactor += column sums of right gradient * left value. */
void ghost_widen_backward(int rows, int half, const float *factor, const float *x, int ld, float *dx, int ldg,
                          float *dfactor);

/* MLP: y (rows, 3 * dim) = [g, gelu(g * factor2), gelu(g * factor3)] with g = gelu(h), h (rows, dim). */
void ghost_expand(const Kernels *kernels, int rows, int dim, const float *h, int ldh, const float *factor2,
                  const float *factor3, float *y, int ldy);
/* From dy (rows, 3 * dim), which is used as scratch, to dh (may be h); adds to dfactor2 and dfactor3. */
void ghost_expand_backward(const Kernels *kernels, int rows, int dim, const float *h, int ldh, const float *factor2,
                           const float *factor3, float *dy, int ldy, float *dh, float *dfactor2, float *dfactor3,
                           float *scratch /* (2 * dim) */);

#endif
