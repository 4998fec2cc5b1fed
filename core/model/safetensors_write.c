#include "core/model/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"

static int64_t numel_of(const SafetensorsTensor *tensor)
{
    int64_t numel = 1;
    for (int i = 0; i < tensor->ndim; i++) numel *= tensor->shape[i];
    return numel;
}

static uint64_t bytes_of(const SafetensorsTensor *tensor)
{
    return (uint64_t)numel_of(tensor) * dtype_size(tensor->dtype);
}

/* Wider types first, otherwise as given, so that every tensor is aligned to its element. */
static void lay_out(const SafetensorsTensor *tensors, int count, const SafetensorsTensor **order)
{
    int placed = 0;
    for (size_t size = 8; size > 0; size /= 2)
        for (int i = 0; i < count; i++)
            if (dtype_size(tensors[i].dtype) == size) order[placed++] = &tensors[i];
}

/* jansson's *_new functions take over their references even when they fail, and refuse NULL; so only the last result
 * of each chain needs a look. */
static int add_entry(json_t *root, const SafetensorsTensor *tensor, uint64_t begin)
{
    json_t *shape = json_array();
    for (int i = 0; i < tensor->ndim; i++)
        if (json_array_append_new(shape, json_integer(tensor->shape[i])) != 0) {
            json_decref(shape);
            return -1;
        }
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(tensor->dtype), "shape", shape,
                              "data_offsets", (json_int_t)begin, (json_int_t)(begin + bytes_of(tensor)));
    return json_object_set_new(root, tensor->name, entry);
}

static Status build_header(const char *path, const SafetensorsTensor *const *order, int count,
                           const char *const *metadata, json_t *root, Error *error)
{
    int failed = 0;
    if (metadata) {
        json_t *strings = json_object();
        failed |= json_object_set_new(root, "__metadata__", strings);
        for (int i = 0; metadata[i] && !failed; i += 2)
            failed |= json_object_set_new(strings, metadata[i], json_string(metadata[i + 1]));
        if (failed) return error_set(error, STATUS_FAILED, "%s: the metadata is not UTF-8, or memory is out", path);
    }
    uint64_t begin = 0;
    for (int i = 0; i < count; i++) {
        if (json_object_get(root, order[i]->name) || strcmp(order[i]->name, "__metadata__") == 0)
            return error_set(error, STATUS_FAILED, "%s: two tensors are named %.200s, or its name is reserved", path,
                             order[i]->name);
        if (add_entry(root, order[i], begin) != 0)
            return error_set(error, STATUS_FAILED, "%s: the name of tensor %d is not UTF-8, or memory is out", path, i);
        begin += bytes_of(order[i]);
    }
    return STATUS_OK;
}

static Status write_tensors(const char *path, const char *header, const SafetensorsTensor *const *order, int count,
                            Error *error)
{
    AtomicFile file;
    Status status = atomic_file_open(&file, path, error);
    uint64_t used = strlen(header), length = (used + 7) / 8 * 8;
    if (!status) status = atomic_file_write(&file, &length, sizeof length, error);
    if (!status) status = atomic_file_write(&file, header, used, error);
    if (!status) status = atomic_file_write(&file, "       ", length - used, error);
    for (int i = 0; i < count && !status; i++)
        status = atomic_file_write(&file, order[i]->data, bytes_of(order[i]), error);
    return atomic_file_finish(&file, status, error);
}

Status safetensors_write(const char *path, const SafetensorsTensor *tensors, int count, const char *const *metadata,
                         Error *error)
{
    const SafetensorsTensor **order = memory_alloc(count, sizeof *order, path, error);
    json_t *root = json_object();
    char *header = NULL;
    Status status = root && order ? STATUS_OK : memory_failed(path, error);
    if (status) goto free_root;
    lay_out(tensors, count, order);
    status = build_header(path, order, count, metadata, root, error);
    if (status) goto free_root;
    header = json_dumps(root, JSON_COMPACT);
    status = header ? write_tensors(path, header, order, count, error) : memory_failed(path, error);
    free(header);
free_root:
    json_decref(root);
    free(order);
    return status;
}
