#include "core/optim/loss.h"

#include <math.h>
#include <stddef.h>

/* One image. In double: a thousand classes cost nothing beside the model, and no digit is lost in the difference of
 * large logits. */
static double image_loss(const float *logits, const float *targets, int classes, double scale, float *grad)
{
    double largest = -INFINITY;
    for (int c = 0; c < classes; c++) largest = fmax(largest, logits[c]);
    double sum = 0, total = 0, dot = 0;
    for (int c = 0; c < classes; c++) {
        double shifted = logits[c] - largest;
        sum += exp(shifted);
        total += targets[c];
        dot += targets[c] * shifted;
    }
    if (grad)
        for (int c = 0; c < classes; c++)
            grad[c] = (float)(scale * (exp(logits[c] - largest) / sum * total - targets[c]));
    return scale * (total * log(sum) - dot);
}

double loss_soft_target(const float *logits, const float *targets, int batch, int classes, double scale,
                        float *grad_logits)
{
    double loss = 0;
    for (int b = 0; b < batch; b++) {
        ptrdiff_t row = (ptrdiff_t)b * classes;
        loss += image_loss(logits + row, targets + row, classes, scale, grad_logits ? grad_logits + row : NULL);
    }
    return loss;
}

void loss_smooth_targets(const int64_t *labels, int batch, int classes, double smoothing, float *targets)
{
    float off = (float)(smoothing / classes), on = (float)(1 - smoothing + smoothing / classes);
    for (int b = 0; b < batch; b++)
        for (int c = 0; c < classes; c++) targets[(ptrdiff_t)b * classes + c] = c == labels[b] ? on : off;
}

int loss_topk(const float *logits, const int64_t *labels, int batch, int classes, int k)
{
    int hits = 0;
    for (int b = 0; b < batch; b++) {
        const float *row = logits + (ptrdiff_t)b * classes;
        float own = row[labels[b]];
        int ahead = 0;
        /* Written so that a NaN anywhere never makes a hit. */
        for (int c = 0; c < classes; c++)
            ahead += c != labels[b] && !(row[c] < own || (row[c] == own && c > labels[b]));
        hits += ahead < k && own == own;
    }
    return hits;
}

int loss_likeliest(const float *logits, int classes, int k, Guess *top)
{
    int count = 0;
    double sum = 0;
    for (int c = 0; c < classes; c++) { /* until the end, a probability is the logit */
        int at = count < k ? count++ : k;
        while (at > 0 && logits[c] > top[at - 1].probability) {
            if (at < k) top[at] = top[at - 1];
            at--;
        }
        if (at < k) top[at] = (Guess){c, logits[c]};
    }
    const double largest = top[0].probability;
    for (int c = 0; c < classes; c++) sum += exp(logits[c] - largest);
    for (int i = 0; i < count; i++) top[i].probability = exp(top[i].probability - largest) / sum;
    return count;
}
