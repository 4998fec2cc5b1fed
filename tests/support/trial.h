/* trial.h: a model with the goldens' weights, input and targets, run once in evaluation mode. */
#ifndef TESTS_SUPPORT_TRIAL_H
#define TESTS_SUPPORT_TRIAL_H

#include "core/model/model.h"

typedef struct Trial {
    ModelConfig config;
    Pool *pool;
    Model *model;
    const ParamTable *table;
    int batch;
    ModelInput input;
    float *weights, *grads, *images;
    float *logits, *targets, *dlogits; /* (batch, classes) */
    double loss;
} Trial;

/* Targets are the goldens' labels, smoothed by 0.1. grads is filled with NaN until trial_backward. */
Trial trial_start(const ModelConfig *config, int batch, ModelMode mode, int threads);
void trial_forward(Trial *trial);  /* logits, loss, dlogits */
void trial_backward(Trial *trial); /* grads */
void trial_end(Trial *trial);

#endif
