#include "tools/trace_input.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/model/safetensors.h"
#include "core/optim/loss.h"

static Status check_shape(const Safetensors *file, const SafetensorsEntry *entry, Dtype dtype, int ndim,
                          const int64_t *shape, Error *error)
{
    bool right = entry->dtype == dtype && entry->ndim == ndim;
    for (int i = 0; right && i < ndim; i++) right = entry->shape[i] == shape[i];
    if (right) return STATUS_OK;
    char found[160] = "", expected[160] = "";
    for (int i = 0; i < entry->ndim; i++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%s%" PRId64, i ? ", " : "", entry->shape[i]);
    for (int i = 0; i < ndim; i++)
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%s%" PRId64, i ? ", " : "",
                 shape[i]);
    return error_set(error, STATUS_DATA, "%s: '%s' is %s (%s), expected %s (%s)", file->path, entry->name,
                     dtype_name(entry->dtype), found, dtype_name(dtype), expected);
}

static Status read_images(TraceInput *input, const Safetensors *file, const ModelConfig *model, Error *error)
{
    const SafetensorsEntry *entry = safetensors_find(file, "input");
    if (!entry) return error_set(error, STATUS_DATA, "%s: there is no tensor 'input'", file->path);
    int64_t shape[] = {entry->shape[0], model->in_chans, model->img_size, model->img_size};
    Status status = check_shape(file, entry, DTYPE_F32, 4, shape, error);
    if (status) return status;
    if (shape[0] < 1 || shape[0] > 1 << 16)
        return error_set(error, STATUS_DATA, "%s: 'input' has %" PRId64 " images; 1 to 65536 can be run", file->path,
                         shape[0]);
    input->batch = (int)shape[0];
    input->images = memory_alloc(entry->numel, sizeof(float), "the input", error);
    return input->images ? safetensors_read_f32(file, entry, input->images, error) : STATUS_FAILED;
}

static Status read_labels(TraceInput *input, const Safetensors *file, const SafetensorsEntry *entry, int classes,
                          double smoothing, Error *error)
{
    int64_t shape[] = {input->batch};
    Status status = check_shape(file, entry, DTYPE_I64, 1, shape, error);
    if (status) return status;
    int64_t *labels = memory_alloc(input->batch, sizeof *labels, "the labels", error);
    if (!labels) return STATUS_FAILED;
    status = safetensors_read(file, entry, labels, error);
    for (int b = 0; !status && b < input->batch; b++)
        if (labels[b] < 0 || labels[b] >= classes)
            status = error_set(error, STATUS_DATA, "%s: target %d is %" PRId64 "; the model has classes 0 .. %d",
                               file->path, b, labels[b], classes - 1);
    if (!status) loss_smooth_targets(labels, input->batch, classes, smoothing, input->targets);
    free(labels);
    return status;
}

static Status read_targets(TraceInput *input, const Safetensors *file, int classes, double smoothing, Error *error)
{
    const SafetensorsEntry *labels = safetensors_find(file, "target"), *soft = safetensors_find(file, "soft_target");
    if (!labels && !soft) return STATUS_OK;
    if (labels && soft)
        return error_set(error, STATUS_DATA, "%s: both 'target' and 'soft_target'; one is needed", file->path);
    input->targets = memory_alloc((int64_t)input->batch * classes, sizeof(float), "the input", error);
    if (!input->targets) return STATUS_FAILED;
    if (labels) return read_labels(input, file, labels, classes, smoothing, error);
    int64_t shape[] = {input->batch, classes};
    Status status = check_shape(file, soft, DTYPE_F32, 2, shape, error);
    return status ? status : safetensors_read_f32(file, soft, input->targets, error);
}

Status trace_input_read(TraceInput *input, const char *path, const ModelConfig *model, double smoothing, Error *error)
{
    Safetensors file = {0};
    Status status = safetensors_open(&file, path, error);
    if (status) return status;
    status = read_images(input, &file, model, error);
    if (!status) status = read_targets(input, &file, model->num_classes, smoothing, error);
    safetensors_close(&file);
    return status;
}

void trace_input_free(TraceInput *input)
{
    free(input->images);
    free(input->targets);
    *input = (TraceInput){0};
}
