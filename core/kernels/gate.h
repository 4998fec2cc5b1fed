/* gate.h: the squeeze-and-excitation gate (Hu et al., CVPR 2018) of one image, as T2T-ViT-SE puts it after attention:
 *
 *     gate = sigmoid(w2 relu(w1 mean over tokens of y)),   y * gate
 *
 * w1 (hidden, dim), w2 (dim, hidden), no biases. The multiplication itself is the caller's (it is fused with the
 * residual); these give the gate and, going back, what the mean hands to every row.
 */
#ifndef CORE_KERNELS_GATE_H
#define CORE_KERNELS_GATE_H

typedef struct Gate {
    int tokens, dim, hidden;
    const float *w1, *w2;
} Gate;

/* y (tokens, dim) to mean (dim), squeezed (hidden, after the ReLU) and gate (dim), which backward needs. */
void gate_forward(const Gate *g, const float *y, int ldy, float *mean, float *squeezed, float *gate);

/* From dgate (dim), the gradient of the gate, to dw1 and dw2 (added to) and drow (dim): what each row of dy gains.
 * dgate is used as scratch; dsqueezed is scratch (hidden). */
void gate_backward(const Gate *g, const float *mean, const float *squeezed, const float *gate, float *dgate, float *dw1,
                   float *dw2, float *drow, float *dsqueezed);

#endif
