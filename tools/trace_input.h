/* trace_input.h: the tensors that `t2t trace` runs a model on, read from a safetensors file. */
#ifndef TOOLS_TRACE_INPUT_H
#define TOOLS_TRACE_INPUT_H

#include "core/base/status.h"
#include "core/model/model.h"

typedef struct TraceInput {
    int batch;
    float *images;  /* (batch, in_chans, img_size, img_size) */
    float *targets; /* (batch, num_classes); NULL when the file has none */
} TraceInput;

/* Reads `input`, and `target` or `soft_target` if there is one. Free the result even after a failure. */
Status trace_input_read(TraceInput *input, const char *path, const ModelConfig *model, double smoothing, Error *error);
void trace_input_free(TraceInput *input); /* accepts a zeroed one */

#endif
