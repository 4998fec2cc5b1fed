/* safetensors.h: tensors in a file.
 *
 * Format: u64 little-endian header length N; N bytes of JSON {name: {"dtype", "shape", "data_offsets": [begin, end]},
 * "__metadata__": {string: string}}; then the data, offsets counted from the end of the header. Every header is
 * treated as hostile: lengths, overlaps, gaps, duplicates and products that overflow are checked before use.
 *
 *     Safetensors file = {0};
 *     if (safetensors_open(&file, path, error)) ...
 *     const SafetensorsEntry *entry = safetensors_find(&file, "head.weight");
 *     safetensors_read_f32(&file, entry, out, error);      // F16, BF16, F64 become F32
 *     safetensors_close(&file);
 */
#ifndef CORE_MODEL_SAFETENSORS_H
#define CORE_MODEL_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>
#include "core/base/path.h"
#include "core/base/status.h"

typedef enum Dtype { DTYPE_F32, DTYPE_F64, DTYPE_F16, DTYPE_BF16, DTYPE_I64, DTYPE_I32, DTYPE_U8, DTYPE_BOOL } Dtype;

enum { MAX_DIMS = 8 };

typedef struct SafetensorsEntry {
    char *name;
    Dtype dtype;
    int ndim;
    int64_t shape[MAX_DIMS];
    int64_t numel;
    uint64_t begin, end; /* bytes from the start of the data */
} SafetensorsEntry;

typedef struct Safetensors {
    char path[PATH_SIZE];
    int fd;
    uint64_t data_start; /* byte offset of the data in the file */
    SafetensorsEntry *entries;
    int count;
    char **metadata; /* key, value, key, value ... */
    int metadata_count;
} Safetensors;

Status safetensors_open(Safetensors *file, const char *path, Error *error);
void safetensors_close(Safetensors *file); /* accepts a zeroed one */
const SafetensorsEntry *safetensors_find(const Safetensors *file, const char *name);
const char *safetensors_metadata(const Safetensors *file, const char *key); /* NULL when there is none */
Status safetensors_read(const Safetensors *file, const SafetensorsEntry *entry, void *out,
                        Error *error); /* as stored */
Status safetensors_read_f32(const Safetensors *file, const SafetensorsEntry *entry, float *out, Error *error);
size_t dtype_size(Dtype dtype);
const char *dtype_name(Dtype dtype);

typedef struct SafetensorsTensor { /* one tensor to write; nothing is copied */
    const char *name;
    Dtype dtype;
    int ndim;
    int64_t shape[MAX_DIMS];
    const void *data;
} SafetensorsTensor;

/* Atomic (file.h). metadata: key, value, ..., NULL; or NULL. Wider types are laid first, so that all is aligned. */
Status safetensors_write(const char *path, const SafetensorsTensor *tensors, int count, const char *const *metadata,
                         Error *error);

#endif
