/* head.h: logits = head(norm(class token)). Internal to core/. Only the first row of each image is read. */
#ifndef CORE_MODEL_HEAD_H
#define CORE_MODEL_HEAD_H

#include "core/model/step_context.h"

typedef struct Head {
    int tokens, dim, classes;
    Norm norm;
    Linear linear;
    float *mean, *rstd;      /* (batch) */
    float *normal, *dnormal; /* (batch, dim) */
    float *row_sums;         /* (batch tiles, row_sum_size) */
    float *weight_sums;
    PartialSum sums[3];
    int64_t row_sum_size;
} Head;

void head_build(Head *head, ParamLookup *lookup, const ModelConfig *config);
void head_carve(Head *head, Arena *arena, int batch, bool training);

void head_forward(const Head *head, const StepContext *step, const float *x, float *logits);
/* x (batch, tokens, dim) to dx (same): all rows but the class tokens' are zero. */
void head_backward(const Head *head, const StepContext *step, const float *x, const float *dlogits, float *dx);

#endif
