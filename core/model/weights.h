/* weights.h: a model's flat vector to and from a safetensors file with the official state_dict names.
 *
 * A file written here loads in the official PyTorch code with strict=True; frozen tensors are in it.
 */
#ifndef CORE_MODEL_WEIGHTS_H
#define CORE_MODEL_WEIGHTS_H

#include "core/model/params.h"
#include "core/model/safetensors.h"

/* What a load did beyond copying; the caller tells the user. */
typedef struct WeightsReport {
    bool head_dropped; /* another class count: head.* left as it was in `weights` */
    int64_t file_classes;
    bool positions_resized; /* a learned or fixed table of another size, resized bicubically */
    int64_t file_positions;
} WeightsReport;

Status weights_save(const char *path, const ParamTable *table, const float *weights, const char *const *metadata,
                    Error *error);

/* `weights` holds an initialised vector (params_init) and is written only when the whole file fits: every tensor
 * present with its shape, nothing extra, all values finite. The two exceptions are those of the report. */
Status weights_load(const char *path, const ParamTable *table, float *weights, WeightsReport *report, Error *error);

/* Told each tensor that keeps a file from fitting: `expected` is NULL when the file has it and the model has not,
 * `found` when it is the other way round; when both are there, their shapes differ. */
typedef void (*WeightsMismatch)(void *context, const Param *expected, const SafetensorsEntry *found);

/* Compares names and shapes only; the report's two exceptions are no mismatch. Returns how many there are. */
int weights_compare(const Safetensors *file, const ParamTable *table, WeightsReport *report, WeightsMismatch mismatch,
                    void *context);

/* "(1000, 384)" */
const char *weights_shape_text(const int64_t *shape, int ndim, char *text, size_t size);

/* torch's interpolate(mode='bicubic', align_corners=False) of the grid part of a position table: row 0 (class token)
 * is copied. in: (1 + from*from, dim), out: (1 + to*to, dim). */
void weights_resize_positions(const float *in, int from, float *out, int to, int dim);

#endif
