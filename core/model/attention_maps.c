#include "core/model/attention_maps.h"

#include <math.h>
#include <string.h>

static void softmax_row(int count, float *row)
{
    float largest = row[0];
    double sum = 0;
    for (int i = 1; i < count; i++) largest = row[i] > largest ? row[i] : largest;
    for (int i = 0; i < count; i++) sum += row[i] = expf(row[i] - largest);
    for (int i = 0; i < count; i++) row[i] = (float)(row[i] / sum);
}

void attention_weights(const float *qkv, int tokens, int heads, int width, double scale, float *weights)
{
    int dim = heads * width;
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < tokens; i++) {
            const float *q = qkv + (long)i * 3 * dim + h * width;
            float *row = weights + ((long)h * tokens + i) * tokens;
            for (int j = 0; j < tokens; j++) {
                const float *k = qkv + (long)j * 3 * dim + dim + h * width;
                double dot = 0;
                for (int c = 0; c < width; c++) dot += (double)q[c] * k[c];
                row[j] = (float)(scale * dot);
            }
            softmax_row(tokens, row);
        }
}

void attention_rollout(const float *weights, int tokens, int heads, float *rollout, float *scratch)
{
    long size = (long)tokens * tokens;
    memcpy(scratch, rollout, (size_t)size * sizeof *scratch);
    for (int i = 0; i < tokens; i++) {
        float *to = rollout + (long)i * tokens; /* the identity's half is there already */
        for (int c = 0; c < tokens; c++) to[c] *= 0.5f;
        for (int j = 0; j < tokens; j++) {
            double mean = 0;
            for (int h = 0; h < heads; h++) mean += weights[h * size + (long)i * tokens + j];
            float half = (float)(0.5 * mean / heads);
            for (int c = 0; c < tokens; c++) to[c] += half * scratch[(long)j * tokens + c];
        }
    }
}
