/* attention.h: softmax(scale * q k^T) v of one head of one image, in tiles: scores never lie in memory as a whole
 * (Dao et al., FlashAttention, 2022). Forward keeps one number per row, the logarithm of its sum; backward computes the
 * probabilities again from it.
 *
 * q, k, v, out and their gradients are (tokens, width) inside wider matrices, each with its own leading dimension. So
 * the heads of a fused projection (tokens, 3 * dim) are read and written where they lie. A call computes a range of the
 * tokens, so that one long head is work for many threads.
 *
 *     size_t floats = attention_scratch(197, 64);
 *     AttentionHead head = {.tokens = 197, .width = 64, .scale = 0.125f,
 *                           .q = qkv, .k = qkv + 384, .v = qkv + 768, .ld = 1152};
 *     attention_forward(kernels, &head, 0, 197, out, 384, lse, scratch);
 */
#ifndef CORE_KERNELS_ATTENTION_H
#define CORE_KERNELS_ATTENTION_H

#include <stddef.h>
#include "core/kernels/kernels.h"

typedef struct AttentionHead {
    int tokens, width;
    float scale;
    const float *q, *k, *v; /* (tokens, width), leading dimension ld */
    int ld;
    double drop;  /* dropout of the probabilities; 0: none */
    uint64_t key; /* of its random numbers: draw i * tokens + j is that of score (i, j) */
} AttentionHead;

size_t attention_scratch(int tokens, int width); /* floats that both directions need */

/* For queries first .. first + count - 1: their rows of out (tokens, width) and lse (tokens). */
void attention_forward(const Kernels *kernels, const AttentionHead *head, int first, int count, float *out, int ldo,
                       float *lse, float *scratch);

/* For keys first .. first + count - 1, from out, its gradient dout (same leading dimension) and lse of all queries: dk
 * and dv (count, width; leading dimension ldg), and what these keys add to dq (tokens, width; leading dimension ldq).
 * All are overwritten, at the end: dk and dv may be the rows of k and v themselves, and dq may be q if no other call
 * still needs it. */
void attention_backward(const Kernels *kernels, const AttentionHead *head, int first, int count, const float *out,
                        const float *dout, int ldo, const float *lse, float *dq, int ldq, float *dk, float *dv, int ldg,
                        float *scratch);

#endif
