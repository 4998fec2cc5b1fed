#include "core/model/weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"

Status weights_save(const char *path, const ParamTable *table, const float *weights, const char *const *metadata,
                    Error *error)
{
    SafetensorsTensor *tensors = memory_alloc(table->count, sizeof *tensors, path, error);
    if (!tensors) return STATUS_FAILED;
    for (int i = 0; i < table->count; i++) {
        const Param *param = &table->items[i];
        tensors[i] = (SafetensorsTensor){
            .name = param->name, .dtype = DTYPE_F32, .ndim = param->ndim, .data = weights + param->offset};
        memcpy(tensors[i].shape, param->shape, sizeof param->shape);
    }
    Status status = safetensors_write(path, tensors, table->count, metadata, error);
    free(tensors);
    return status;
}

/* ---- does the file fit? */

static bool same_shape(const Param *param, const SafetensorsEntry *entry)
{
    return param->ndim == entry->ndim &&
           memcmp(param->shape, entry->shape, (size_t)param->ndim * sizeof *param->shape) == 0;
}

/* The class count of a head of the model's width but of other classes; 0 when the file has none. */
static int64_t other_classes(const Safetensors *file, const ParamTable *table)
{
    const Param *param = params_find(table, "head.weight");
    const SafetensorsEntry *weight = safetensors_find(file, "head.weight"), *bias = safetensors_find(file, "head.bias");
    if (!weight || !bias || weight->ndim != 2 || bias->ndim != 1 || weight->shape[0] != bias->shape[0]) return 0;
    return weight->shape[1] == param->shape[1] && weight->shape[0] != param->shape[0] ? weight->shape[0] : 0;
}

static bool is_head(const Param *param)
{
    return strncmp(param->name, "head.", 5) == 0;
}

/* The side of the grid of a table of 1 + side^2 positions; 0 when there is none. */
static int grid_side(int64_t positions)
{
    if (positions < 2 || positions > 1 << 30) return 0;
    int side = (int)lrint(sqrt((double)(positions - 1)));
    return (int64_t)side * side == positions - 1 ? side : 0;
}

static bool fits_as_positions(const Param *param, const SafetensorsEntry *entry)
{
    return strcmp(param->name, "pos_embed") == 0 && entry->ndim == 3 && entry->shape[0] == 1 &&
           entry->shape[2] == param->shape[2] && grid_side(entry->shape[1]) > 0;
}

int weights_compare(const Safetensors *file, const ParamTable *table, WeightsReport *report, WeightsMismatch mismatch,
                    void *context)
{
    int count = 0;
    int64_t classes = other_classes(file, table);
    *report = (WeightsReport){.head_dropped = classes > 0, .file_classes = classes};
    for (int i = 0; i < table->count; i++) {
        const Param *param = &table->items[i];
        const SafetensorsEntry *entry = safetensors_find(file, param->name);
        if (entry && (same_shape(param, entry) || (classes && is_head(param)))) continue;
        if (entry && fits_as_positions(param, entry)) {
            report->positions_resized = true;
            report->file_positions = entry->shape[1];
        } else {
            mismatch(context, param, entry);
            count++;
        }
    }
    for (int i = 0; i < file->count; i++) {
        if (params_find(table, file->entries[i].name)) continue;
        mismatch(context, NULL, &file->entries[i]);
        count++;
    }
    return count;
}

const char *weights_shape_text(const int64_t *shape, int ndim, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "(");
    for (int i = 0; i < ndim && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, i ? ", " : "", shape[i]);
    if (used < size) snprintf(text + used, size - used, ")");
    return text;
}

typedef struct FirstMismatch {
    const char *path;
    bool told;
    Error *error;
} FirstMismatch;

static void tell_first(void *context, const Param *expected, const SafetensorsEntry *found)
{
    FirstMismatch *first = context;
    char want[128], have[256];
    if (first->told) return;
    first->told = true;
    if (expected) weights_shape_text(expected->shape, expected->ndim, want, sizeof want);
    if (found) weights_shape_text(found->shape, found->ndim, have, sizeof have);
    if (!found)
        error_set(first->error, STATUS_DATA, "%s: does not fit the model: tensor %s %s is missing", first->path,
                  expected->name, want);
    else if (!expected)
        error_set(first->error, STATUS_DATA, "%s: does not fit the model, which has no tensor %.200s %s", first->path,
                  found->name, have);
    else
        error_set(first->error, STATUS_DATA, "%s: does not fit the model: tensor %s: expected %s, found %s",
                  first->path, expected->name, want, have);
}

/* ---- reading */

static Status read_positions(const Safetensors *file, const SafetensorsEntry *entry, const Param *param, float *out,
                             Error *error)
{
    float *stored = memory_alloc(entry->numel, sizeof *stored, "the positions of a file", error);
    if (!stored) return STATUS_FAILED;
    Status status = safetensors_read_f32(file, entry, stored, error);
    if (!status)
        weights_resize_positions(stored, grid_side(entry->shape[1]), out, grid_side(param->shape[1]),
                                 (int)param->shape[2]);
    free(stored);
    return status;
}

static Status read_tensors(const Safetensors *file, const ParamTable *table, bool head_dropped, float *weights,
                           Error *error)
{
    for (int i = 0; i < table->count; i++) {
        const Param *param = &table->items[i];
        if (head_dropped && is_head(param)) continue;
        const SafetensorsEntry *entry = safetensors_find(file, param->name);
        Status status = same_shape(param, entry) ? safetensors_read_f32(file, entry, weights + param->offset, error)
                                                 : read_positions(file, entry, param, weights + param->offset, error);
        if (status) return status;
    }
    const Param *where;
    int64_t bad = params_find_nonfinite(table, weights, &where);
    if (bad < 0) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s: element %" PRId64 " of %s is %g; these weights come from a run that diverged", file->path,
                     bad - where->offset, where->name, weights[bad]);
}

static Status load_open_file(const Safetensors *file, const ParamTable *table, float *weights, WeightsReport *report,
                             Error *error)
{
    FirstMismatch first = {.path = file->path, .error = error};
    int mismatches = weights_compare(file, table, report, tell_first, &first);
    if (mismatches > 1) error_add(error, "  and %d more tensors differ", mismatches - 1);
    if (mismatches > 0) return error_add(error, "  hint: `t2t info %s` tells which model it is of", file->path);
    /* So that `weights` stay whole when the file turns out to be bad. */
    size_t bytes = (size_t)table->size * sizeof *weights;
    float *copy = memory_alloc(table->size, sizeof *copy, "a copy of the weights", error);
    if (!copy) return STATUS_FAILED;
    memcpy(copy, weights, bytes);
    Status status = read_tensors(file, table, report->head_dropped, copy, error);
    if (!status) memcpy(weights, copy, bytes);
    free(copy);
    return status;
}

Status weights_load(const char *path, const ParamTable *table, float *weights, WeightsReport *report, Error *error)
{
    Safetensors file;
    Status status = safetensors_open(&file, path, error);
    if (status) return status;
    status = load_open_file(&file, table, weights, report, error);
    safetensors_close(&file);
    return status;
}

/* ---- positions */

typedef struct Taps {
    int at[4];
    double weight[4];
} Taps;

/* Keys' cubic with a = -0.75, source pixel centres, edges repeated. */
static Taps cubic_taps(int from, int to, int index)
{
    const double a = -0.75;
    double source = (index + 0.5) * from / to - 0.5, left = floor(source), t = source - left;
    Taps taps;
    for (int i = 0; i < 4; i++) {
        double x = fabs(t + 1 - i);
        taps.weight[i] = x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
        int at = (int)left - 1 + i;
        taps.at[i] = at < 0 ? 0 : at >= from ? from - 1 : at;
    }
    return taps;
}

void weights_resize_positions(const float *in, int from, float *out, int to, int dim)
{
    memcpy(out, in, (size_t)dim * sizeof *out);
    in += dim;
    out += dim;
    for (int y = 0; y < to; y++) {
        Taps rows = cubic_taps(from, to, y);
        for (int x = 0; x < to; x++, out += dim) {
            Taps columns = cubic_taps(from, to, x);
            for (int d = 0; d < dim; d++) {
                double sum = 0;
                for (int i = 0; i < 16; i++) {
                    int64_t pixel = (int64_t)rows.at[i / 4] * from + columns.at[i % 4];
                    sum += rows.weight[i / 4] * columns.weight[i % 4] * in[pixel * dim + d];
                }
                out[d] = (float)sum;
            }
        }
    }
}
