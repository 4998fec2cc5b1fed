/* performer.h: attention in linear time by positive random features (Choromanski et al., "Rethinking Attention with
 * Performers", ICLR 2021), as the T2T module uses it: with phi(x) = exp(w x - |x|^2 / 2) / sqrt(m), w (m, width),
 *
 *     y_i = (phi(q_i) . sum_j phi(k_j) v_j) / (phi(q_i) . sum_j phi(k_j) + 1e-8)
 *
 * Everything is float32: the denominators span many orders of magnitude. The sums over an image are the only link
 * between its rows, so all functions work on a tile of rows, and the caller adds the tiles' sums in a fixed order.
 *
 * Sums are (m, width + 1) floats: kv (m, width), then k (m). Their gradient has the same layout.
 *
 *     performer_sums(kernels, &performer, rows, k, v, ld, sums, scratch);            // sums += this tile's
 *     performer_apply(kernels, &performer, rows, q, ld, sums, y, ldy, scratch);
 *     performer_apply_backward(...);   // dq, and adds to dsums
 *     performer_sums_backward(...);    // dk, dv from the image's whole dsums
 */
#ifndef CORE_KERNELS_PERFORMER_H
#define CORE_KERNELS_PERFORMER_H

#include <stddef.h>
#include "core/kernels/packed.h"

typedef struct Performer {
    int width, features;   /* E, m */
    const float *w;        /* (m, E) */
    PackedMatrix w_packed; /* (E, m) */
} Performer;

size_t performer_sums_size(const Performer *performer);         /* floats */
size_t performer_scratch(const Performer *performer, int rows); /* floats, enough for each function */

void performer_sums(const Kernels *kernels, const Performer *performer, int rows, const float *k, const float *v,
                    int ld, float *sums, float *scratch);
void performer_apply(const Kernels *kernels, const Performer *performer, int rows, const float *q, int ld,
                     const float *sums, float *y, int ldy, float *scratch);

/* y is what performer_apply gave, dy its gradient, both with leading dimension ldy. */
void performer_apply_backward(const Kernels *kernels, const Performer *performer, int rows, const float *q, int ld,
                              const float *sums, const float *y, const float *dy, int ldy, float *dq, int ldg,
                              float *dsums, float *scratch);
/* dk is overwritten; dv is added to, for the skip connection has its share in it already. dk and dv may be k and a
 * buffer other than v. */
void performer_sums_backward(const Kernels *kernels, const Performer *performer, int rows, const float *k,
                             const float *v, int ld, const float *dsums, float *dk, int ldk, float *dv, int ldv,
                             float *scratch);

#endif
