/* trace_activations.h: what a model computes on its way, kept as tensors for a file. */
#ifndef TOOLS_TRACE_ACTIVATIONS_H
#define TOOLS_TRACE_ACTIVATIONS_H

#include "core/model/observe.h"
#include "core/model/safetensors.h"

enum { ACTIVATION_NAME = 112 };

typedef struct KeptActivation {
    char name[ACTIVATION_NAME]; /* activation.LAYER */
    SafetensorsTensor tensor;   /* (B, rows, cols) F32 */
    float *values;
} KeptActivation;

typedef struct ActivationList {
    KeptActivation *items;
    int count;
} ActivationList;

/* Runs the model forward on `input`, in evaluation mode, and keeps every layer whose name matches the pattern
 * (fnmatch's). STATUS_USAGE when none does; the message lists what there is. */
Status activations_trace(ActivationList *list, const ModelConfig *config, const float *weights, const ModelInput *input,
                         const char *pattern, Pool *pool, Error *error);
void activations_free(ActivationList *list); /* accepts a zeroed one */

#endif
