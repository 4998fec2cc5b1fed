/* attention_maps.h: who attends to whom, from what a block's qkv layer put out: attention weights and their rollout. */
#ifndef CORE_MODEL_ATTENTION_MAPS_H
#define CORE_MODEL_ATTENTION_MAPS_H

/* weights (heads, tokens, tokens) = softmax(scale * q k^T) by rows, from qkv (tokens, 3 heads * width): q, k, v side by
 * side, the heads of each one after the other. */
void attention_weights(const float *qkv, int tokens, int heads, int width, double scale, float *weights);

/* Attention rollout (Abnar, Zuidema 2020, doi 10.18653/v1/2020.acl-main.385), a block at a time from the first: rollout
 * (tokens, tokens) becomes (A + I) / 2 times rollout, A being the mean over heads of `weights`. It starts as the
 * identity. scratch: (tokens, tokens). */
void attention_rollout(const float *weights, int tokens, int heads, float *rollout, float *scratch);

#endif
