#include "core/model/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/half.h"
#include "core/base/memory.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors is little-endian and is read as it lies");

/* The largest published model has 322 tensors and a header of 40 kB. JSON takes some forty times its size while it is
 * parsed, so what a hostile header can cost is bounded here. */
enum { PREFIX = 8, MAX_HEADER = 16 << 20 };

static const struct {
    const char *name;
    size_t size;
} DTYPES[] = {
    [DTYPE_F32] = {"F32", 4}, [DTYPE_F64] = {"F64", 8}, [DTYPE_F16] = {"F16", 2}, [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_I64] = {"I64", 8}, [DTYPE_I32] = {"I32", 4}, [DTYPE_U8] = {"U8", 1},   [DTYPE_BOOL] = {"BOOL", 1},
};

enum { DTYPE_COUNT = sizeof DTYPES / sizeof DTYPES[0] };

size_t dtype_size(Dtype dtype)
{
    return DTYPES[dtype].size;
}

const char *dtype_name(Dtype dtype)
{
    return DTYPES[dtype].name;
}

static Status read_at(const Safetensors *file, uint64_t offset, void *out, uint64_t size, Error *error)
{
    char *at = out;
    while (size > 0) {
        ssize_t got = pread(file->fd, at, size < 1 << 30 ? size : 1 << 30, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            return error_set(error, STATUS_DATA, "%s: cannot read %" PRIu64 " bytes at offset %" PRIu64 ": %s",
                             file->path, size, offset, got < 0 ? strerror(errno) : "the file ends there");
        at += got;
        offset += (uint64_t)got;
        size -= (uint64_t)got;
    }
    return STATUS_OK;
}

/* ---- the header */

static Status parse_dtype(const Safetensors *file, const char *name, const char *dtype, Dtype *out, Error *error)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(DTYPES[i].name, dtype) != 0) continue;
        *out = (Dtype)i;
        return STATUS_OK;
    }
    return error_set(error, STATUS_DATA,
                     "%s: tensor %.200s has type %.20s; known are F32, F64, F16, BF16, I64, I32, U8, BOOL", file->path,
                     name, dtype);
}

static Status parse_shape(const Safetensors *file, json_t *shape, SafetensorsEntry *entry, Error *error)
{
    size_t ndim = json_array_size(shape); /* 0 for what is not an array */
    if (!json_is_array(shape) || ndim > MAX_DIMS)
        return error_set(error, STATUS_DATA, "%s: tensor %.200s: shape is not an array of at most %d numbers",
                         file->path, entry->name, MAX_DIMS);
    entry->ndim = (int)ndim;
    entry->numel = 1;
    for (size_t i = 0; i < ndim; i++) {
        json_t *side = json_array_get(shape, i);
        if (!json_is_integer(side) || json_integer_value(side) < 0)
            return error_set(error, STATUS_DATA, "%s: tensor %.200s: dimension %zu is not a count", file->path,
                             entry->name, i);
        entry->shape[i] = json_integer_value(side);
        if (__builtin_mul_overflow(entry->numel, entry->shape[i], &entry->numel))
            return error_set(error, STATUS_DATA, "%s: tensor %.200s: the product of its dimensions overflows",
                             file->path, entry->name);
    }
    return STATUS_OK;
}

static Status parse_offsets(const Safetensors *file, json_t *offsets, uint64_t data_size, SafetensorsEntry *entry,
                            Error *error)
{
    json_t *begin = json_array_get(offsets, 0), *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return error_set(error, STATUS_DATA, "%s: tensor %.200s: data_offsets is not [begin, end] with begin <= end",
                         file->path, entry->name);
    entry->begin = (uint64_t)json_integer_value(begin);
    entry->end = (uint64_t)json_integer_value(end);
    uint64_t bytes;
    if (__builtin_mul_overflow((uint64_t)entry->numel, dtype_size(entry->dtype), &bytes) ||
        bytes != entry->end - entry->begin)
        return error_set(error, STATUS_DATA,
                         "%s: tensor %.200s: its shape has %" PRId64 " elements of %zu bytes, but its data %" PRIu64
                         " bytes",
                         file->path, entry->name, entry->numel, dtype_size(entry->dtype), entry->end - entry->begin);
    if (entry->end > data_size)
        return error_set(error, STATUS_DATA,
                         "%s: tensor %.200s ends at byte %" PRIu64 " of the data, but the file holds %" PRIu64
                         ": truncated? Copy it again",
                         file->path, entry->name, entry->end, data_size);
    return STATUS_OK;
}

/* Names go into messages and onto terminals. */
static bool is_printable(const char *name)
{
    for (; *name; name++)
        if ((unsigned char)*name < 32 || *name == 127) return false;
    return true;
}

static Status parse_entry(Safetensors *file, const char *name, json_t *value, uint64_t data_size, Error *error)
{
    const char *dtype;
    json_t *shape, *offsets;
    if (!is_printable(name))
        return error_set(error, STATUS_DATA, "%s: the name of tensor %d has control characters", file->path,
                         file->count);
    json_error_t why;
    if (json_unpack_ex(value, &why, JSON_STRICT, "{s:s, s:o, s:o}", "dtype", &dtype, "shape", &shape, "data_offsets",
                       &offsets) != 0)
        return error_set(error, STATUS_DATA, "%s: tensor %.200s: its entry is not {dtype, shape, data_offsets}: %s",
                         file->path, name, why.text);
    SafetensorsEntry *entry = &file->entries[file->count];
    *entry = (SafetensorsEntry){.name = memory_copy_text(name, file->path, error)};
    if (!entry->name) return STATUS_FAILED;
    file->count++;
    Status status = parse_dtype(file, name, dtype, &entry->dtype, error);
    if (!status) status = parse_shape(file, shape, entry, error);
    if (!status) status = parse_offsets(file, offsets, data_size, entry, error);
    return status;
}

static Status parse_metadata(Safetensors *file, json_t *metadata, Error *error)
{
    if (!json_is_object(metadata))
        return error_set(error, STATUS_DATA, "%s: __metadata__ is not an object of strings", file->path);
    const int64_t texts = 2 * (int64_t)json_object_size(metadata);
    file->metadata = memory_alloc(texts, sizeof *file->metadata, file->path, error);
    if (!file->metadata) return STATUS_FAILED;
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return error_set(error, STATUS_DATA, "%s: __metadata__: %.200s is not a string", file->path, key);
        const char *const pair[2] = {key, json_string_value(value)};
        for (int i = 0; i < 2; i++) {
            char *copy = memory_copy_text(pair[i], file->path, error);
            if (!copy) return STATUS_FAILED;
            file->metadata[file->metadata_count++] = copy;
        }
    }
    return STATUS_OK;
}

static int compare_begin(const void *a, const void *b)
{
    const SafetensorsEntry *x = *(SafetensorsEntry *const *)a, *y = *(SafetensorsEntry *const *)b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The tensors must cover the data exactly once: an overlap or a gap means that some offset lies. */
static Status check_cover(const Safetensors *file, uint64_t data_size, Error *error)
{
    const SafetensorsEntry **order = memory_alloc(file->count, sizeof *order, file->path, error);
    if (!order) return STATUS_FAILED;
    for (int i = 0; i < file->count; i++) order[i] = &file->entries[i];
    qsort(order, (size_t)file->count, sizeof *order, compare_begin);
    Status status = STATUS_OK;
    uint64_t end = 0;
    for (int i = 0; i < file->count && !status; i++) {
        if (order[i]->begin < end)
            status =
                error_set(error, STATUS_DATA, "%s: tensors %.200s and %.200s overlap at byte %" PRIu64 " of the data",
                          file->path, order[i - 1]->name, order[i]->name, order[i]->begin);
        else if (order[i]->begin > end)
            status =
                error_set(error, STATUS_DATA, "%s: bytes %" PRIu64 " to %" PRIu64 " of the data belong to no tensor",
                          file->path, end, order[i]->begin);
        end = order[i]->end;
    }
    free(order);
    if (!status && end != data_size)
        status = error_set(error, STATUS_DATA,
                           "%s: %" PRIu64 " bytes follow the last tensor, which ends at byte %" PRIu64 " of the data",
                           file->path, data_size - end, end);
    return status;
}

static Status parse_header(Safetensors *file, const char *text, uint64_t length, uint64_t data_size, Error *error)
{
    json_error_t why;
    json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return error_set(error, STATUS_DATA, "%s: the header is not valid JSON: %s (byte %d)", file->path, why.text,
                         why.position);
    Status status = STATUS_OK;
    if (!json_is_object(root))
        status = error_set(error, STATUS_DATA, "%s: the header is not a JSON object", file->path);
    file->entries = memory_alloc((int64_t)json_object_size(root), sizeof *file->entries, file->path, error);
    if (!file->entries) status = STATUS_FAILED;
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value)
    {
        if (status) break;
        status = strcmp(name, "__metadata__") == 0 ? parse_metadata(file, value, error)
                                                   : parse_entry(file, name, value, data_size, error);
    }
    json_decref(root);
    return status ? status : check_cover(file, data_size, error);
}

static Status read_header(Safetensors *file, uint64_t size, Error *error)
{
    unsigned char prefix[PREFIX];
    if (size < PREFIX)
        return error_set(error, STATUS_DATA, "%s: %" PRIu64 " bytes are too few for a safetensors file", file->path,
                         size);
    Status status = read_at(file, 0, prefix, PREFIX, error);
    if (status) return status;
    uint64_t length;
    memcpy(&length, prefix, PREFIX);
    if (length > size - PREFIX || length > MAX_HEADER)
        return error_set(error, STATUS_DATA,
                         "%s: its header claims %" PRIu64 " bytes, of a file of %" PRIu64 " and at most %d; not a "
                         "safetensors file, or a broken one (a PyTorch .pth: convert it by tools/pth2safetensors)",
                         file->path, length, size, MAX_HEADER);
    file->data_start = PREFIX + length;
    char *text = memory_alloc((int64_t)length + 1, 1, file->path, error);
    if (!text) return STATUS_FAILED;
    status = read_at(file, PREFIX, text, length, error);
    if (!status) status = parse_header(file, text, length, size - file->data_start, error);
    free(text);
    return status;
}

Status safetensors_open(Safetensors *file, const char *path, Error *error)
{
    *file = (Safetensors){.fd = open(path, O_RDONLY | O_CLOEXEC)};
    snprintf(file->path, sizeof file->path, "%s", path);
    struct stat info;
    Status status = STATUS_OK;
    if (file->fd < 0 || fstat(file->fd, &info) != 0)
        status = error_set(error, STATUS_DATA, "%s: cannot open: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        status = error_set(error, STATUS_DATA, "%s: not a regular file", path);
    else
        status = read_header(file, (uint64_t)info.st_size, error);
    if (status) safetensors_close(file);
    return status;
}

void safetensors_close(Safetensors *file)
{
    for (int i = 0; i < file->metadata_count; i++) free(file->metadata[i]);
    for (int i = 0; i < file->count; i++) free(file->entries[i].name);
    free(file->metadata);
    free(file->entries);
    /* A zeroed struct was never open, although 0 is a descriptor. */
    if (file->path[0] && file->fd >= 0) close(file->fd);
    *file = (Safetensors){0};
}

const SafetensorsEntry *safetensors_find(const Safetensors *file, const char *name)
{
    for (int i = 0; i < file->count; i++)
        if (strcmp(file->entries[i].name, name) == 0) return &file->entries[i];
    return NULL;
}

const char *safetensors_metadata(const Safetensors *file, const char *key)
{
    for (int i = 0; i < file->metadata_count; i += 2)
        if (strcmp(file->metadata[i], key) == 0) return file->metadata[i + 1];
    return NULL;
}

/* ---- the data */

Status safetensors_read(const Safetensors *file, const SafetensorsEntry *entry, void *out, Error *error)
{
    return read_at(file, file->data_start + entry->begin, out, entry->end - entry->begin, error);
}

static void widen(Dtype dtype, const void *stored, float *out, int64_t count)
{
    const uint16_t *halves = stored;
    const double *doubles = stored;
    for (int64_t i = 0; i < count; i++)
        out[i] = dtype == DTYPE_F64   ? (float)doubles[i]
                 : dtype == DTYPE_F16 ? half_to_float(halves[i])
                                      : bfloat_to_float(halves[i]);
}

Status safetensors_read_f32(const Safetensors *file, const SafetensorsEntry *entry, float *out, Error *error)
{
    if (entry->dtype == DTYPE_F32) return safetensors_read(file, entry, out, error);
    if (entry->dtype != DTYPE_F64 && entry->dtype != DTYPE_F16 && entry->dtype != DTYPE_BF16)
        return error_set(error, STATUS_DATA, "%s: tensor %.200s has type %s; a floating-point type is needed",
                         file->path, entry->name, dtype_name(entry->dtype));
    enum { CHUNK = 4096 };
    double stored[CHUNK]; /* of the widest type, and aligned for all */
    uint64_t size = dtype_size(entry->dtype), offset = file->data_start + entry->begin;
    for (int64_t done = 0; done < entry->numel; done += CHUNK) {
        int64_t count = entry->numel - done < CHUNK ? entry->numel - done : CHUNK;
        Status status = read_at(file, offset + (uint64_t)done * size, stored, (uint64_t)count * size, error);
        if (status) return status;
        widen(entry->dtype, stored, out + done, count);
    }
    return STATUS_OK;
}
