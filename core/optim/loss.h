/* loss.h: cross-entropy. All three forms are one: targets as a distribution over classes.
 *
 *     loss   = scale * sum_b sum_c -target[b,c] * log_softmax(logits[b])[c]
 *     d loss = scale * (softmax(logits[b])[c] * sum(target[b]) - target[b,c])
 *
 * The mean over a batch is scale = 1/B; under data parallelism scale = 1/global batch, so that the sum over
 * ranks is the mean over the global batch.
 */
#ifndef CORE_OPTIM_LOSS_H
#define CORE_OPTIM_LOSS_H

#include <stdint.h>

/* Returns the scaled loss, summed in double. grad_logits may be NULL. */
double loss_soft_target(const float *logits, const float *targets, int batch, int classes, double scale,
                        float *grad_logits); /* all (B, classes) */

/* targets[b] = smoothing / classes everywhere, plus 1 - smoothing at labels[b]; as torch's and timm's
 * label-smoothing cross-entropy. smoothing = 0 is plain cross-entropy. */
void loss_smooth_targets(const int64_t *labels, int batch, int classes, double smoothing,
                         float *targets /* (B, classes) */);

/* Counts images whose label is among the k largest logits; ties go to the lower class index. */
int loss_topk(const float *logits, const int64_t *labels, int batch, int classes, int k);

typedef struct Guess {
    int class;          /* -1: none */
    double probability; /* 0 .. 1 */
} Guess;

/* The k largest of one image's logits as softmax probabilities, largest first; ties go to the lower class index. Returns
 * how many there are: k, or all classes. */
int loss_likeliest(const float *logits, int classes, int k, Guess *top);

#endif
