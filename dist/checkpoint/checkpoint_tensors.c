/* checkpoint_tensors.c: a checkpoint's safetensors files, written and verified, read and put together. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/base/memory.h"
#include "core/base/path.h"
#include "core/model/safetensors.h"
#include "core/model/weights.h"
#include "dist/checkpoint/checkpoint.h"

enum { MOMENTS = 2 };
static const char *const MOMENT_PREFIX[MOMENTS] = {"moment1.", "moment2."};

typedef struct MomentName {
    char text[sizeof((Param *)0)->name + 16];
} MomentName;

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- verifying what was written */

typedef struct Region { /* of a file, and what it should hold */
    const SafetensorsTensor *tensor;
    uint64_t begin, end;
} Region;

static int by_place(const void *a, const void *b)
{
    const Region *left = a, *right = b;
    return (left->begin > right->begin) - (left->begin < right->begin);
}

/* Compares a block that lies at byte `at` of the file; *next is the first region that does not end before it. */
static Status block_verify(const char *path, const char *block, uint64_t at, uint64_t size, const Region *regions,
                           int count, int *next, Error *error)
{
    while (*next < count && regions[*next].end <= at) (*next)++;
    for (int i = *next; i < count && regions[i].begin < at + size; i++) {
        const Region *region = &regions[i];
        uint64_t from = region->begin > at ? region->begin : at;
        uint64_t to = region->end < at + size ? region->end : at + size;
        const char *want = (const char *)region->tensor->data + (from - region->begin);
        if (memcmp(block + (from - at), want, to - from) != 0)
            return error_set(error, STATUS_FAILED, "%s: %s reads back otherwise than it was written: a failing disk?",
                             path, region->tensor->name);
    }
    return STATUS_OK;
}

/* Reads a file from the disk once: its hash and, against memory, its regions (in order of place; may be none). */
static Status file_read_back(const char *path, const Region *regions, int count, CheckpointFile *file, Error *error)
{
    enum { BLOCK = 1 << 18 }; /* stays in the second cache between hashing and comparing */
    Status status = STATUS_OK;
    int next = 0;
    XXH3_state_t *state = XXH3_createState();
    char *block = memory_alloc(BLOCK, 1, path, error);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (!state || !block) {
        status = memory_failed(path, error);
        goto release;
    }
    if (fd < 0) {
        status = error_set(error, STATUS_DATA, "%s: cannot open: %s", path, strerror(errno));
        goto release;
    }
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* only clean pages go: it was fsynced */
    XXH3_64bits_reset(state);
    file->bytes = 0;
    for (;;) {
        ssize_t got = read(fd, block, BLOCK);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            status = error_set(error, STATUS_DATA, "%s: cannot read at byte %" PRIu64 ": %s", path, file->bytes,
                               strerror(errno));
            goto release;
        }
        if (got == 0) break;
        status = block_verify(path, block, file->bytes, (uint64_t)got, regions, count, &next, error);
        if (status) goto release;
        XXH3_64bits_update(state, block, (size_t)got);
        file->bytes += (uint64_t)got;
    }
    if (count && regions[count - 1].end > file->bytes)
        status = error_set(error, STATUS_FAILED, "%s: %" PRIu64 " bytes were written, %" PRIu64 " are read back", path,
                           regions[count - 1].end, file->bytes);
    file->hash = XXH3_64bits_digest(state);
release:
    if (fd >= 0) close(fd);
    free(block);
    XXH3_freeState(state);
    return status;
}

Status checkpoint_hash_file(const char *path, CheckpointFile *file, Error *error)
{
    return file_read_back(path, NULL, 0, file, error);
}

static Status find_regions(const Safetensors *file, const SafetensorsTensor *tensors, int count, Region *regions,
                           Error *error)
{
    for (int i = 0; i < count; i++) {
        const SafetensorsTensor *tensor = &tensors[i];
        const SafetensorsEntry *entry = safetensors_find(file, tensor->name);
        size_t bytes = dtype_size(tensor->dtype);
        for (int d = 0; d < tensor->ndim; d++) bytes *= (size_t)tensor->shape[d];
        if (!entry || entry->dtype != tensor->dtype || entry->end - entry->begin != bytes)
            return error_set(error, STATUS_FAILED, "%s: %s was written but is not there when read back", file->path,
                             tensor->name);
        regions[i] = (Region){tensor, file->data_start + entry->begin, file->data_start + entry->end};
    }
    qsort(regions, (size_t)count, sizeof *regions, by_place);
    return STATUS_OK;
}

/* Writes, reads back, compares, hashes. */
static Status write_verified(const char *path, const char *name, const SafetensorsTensor *tensors, int count,
                             const char *const *metadata, CheckpointFile *file, Error *error)
{
    char whole[CHECKPOINT_PATH];
    Safetensors written = {0};
    snprintf(file->name, sizeof file->name, "%s", name);
    Status status = path_join(whole, sizeof whole, path, name, error);
    if (!status) status = safetensors_write(whole, tensors, count, metadata, error);
    if (!status) status = safetensors_open(&written, whole, error);
    if (status) return status;
    Region *regions = memory_alloc(count, sizeof *regions, "reading a checkpoint back", error);
    if (!regions) status = STATUS_FAILED;
    if (!status) status = find_regions(&written, tensors, count, regions, error);
    if (!status) status = file_read_back(whole, regions, count, file, error);
    free(regions);
    safetensors_close(&written);
    return status;
}

static int64_t largest_tensor(const ParamTable *table)
{
    int64_t largest = 0;
    for (int i = 0; i < table->count; i++) largest = max64(largest, table->items[i].numel);
    return largest;
}

/* ---- weights */

Status checkpoint_write_vector(const char *path, const char *name, const ParamTable *table, const float *vector,
                               int64_t step, const char *const *metadata, CheckpointFile *file, Error *error)
{
    const Param *bad = NULL;
    int64_t index = params_find_nonfinite(table, vector, &bad);
    if (index >= 0)
        return error_set(error, STATUS_FAILED,
                         "step %" PRId64 ": %s holds %g at element %" PRId64
                         " of %s; not written, and the checkpoints before it stay as they are",
                         step, name, (double)vector[index], index - bad->offset, bad->name);
    SafetensorsTensor *tensors = memory_alloc(table->count, sizeof *tensors, "writing a checkpoint", error);
    if (!tensors) return STATUS_FAILED;
    for (int i = 0; i < table->count; i++) {
        const Param *param = &table->items[i];
        tensors[i] = (SafetensorsTensor){
            .name = param->name, .dtype = DTYPE_F32, .ndim = param->ndim, .data = vector + param->offset};
        memcpy(tensors[i].shape, param->shape, sizeof param->shape);
    }
    Status status = write_verified(path, name, tensors, table->count, metadata, file, error);
    free(tensors);
    return status;
}

/* ---- moments */

/* What [begin, end) of the flat vector holds of a tensor, in elements of the tensor; false: nothing. */
static bool tensor_part(const Param *param, int64_t begin, int64_t end, int64_t *from, int64_t *to)
{
    *from = max64(begin - param->offset, 0);
    *to = min64(end - param->offset, param->numel);
    return param->trainable && *from < *to;
}

Status checkpoint_write_moments(const char *path, const ParamTable *table, const RunVectors *vectors, int64_t step,
                                int part, int parts, CheckpointFile *file, Error *error)
{
    const float *moments[MOMENTS] = {vectors->moment1, vectors->moment2};
    static const char PURPOSE[] = "writing the optimizer's state";
    const int64_t room = (int64_t)table->count * MOMENTS;
    SafetensorsTensor *tensors = memory_alloc(room, sizeof *tensors, PURPOSE, error);
    MomentName *names = memory_alloc(room, sizeof *names, PURPOSE, error);
    const char **metadata = memory_alloc(2 * (int64_t)table->count + 3, sizeof *metadata, PURPOSE, error);
    char(*ranges)[48] = memory_alloc((int64_t)table->count + 1, sizeof *ranges, PURPOSE, error);
    char name[sizeof file->name] = "optimizer.safetensors";
    int count = 0, cut = 0;
    Status status = STATUS_OK;
    if (!tensors || !names || !metadata || !ranges) {
        status = STATUS_FAILED;
        goto release;
    }
    snprintf(ranges[table->count], sizeof ranges[0], "%" PRId64, step);
    metadata[0] = "step";
    metadata[1] = ranges[table->count];
    for (int i = 0; i < table->count; i++) {
        const Param *param = &table->items[i];
        int64_t from, to;
        if (!tensor_part(param, vectors->begin, vectors->end, &from, &to)) continue;
        bool whole = from == 0 && to == param->numel;
        for (int m = 0; m < MOMENTS; m++) {
            if (!moments[m]) continue;
            snprintf(names[count].text, sizeof names[count].text, "%s%s", MOMENT_PREFIX[m], param->name);
            SafetensorsTensor *tensor = &tensors[count];
            *tensor = (SafetensorsTensor){.name = names[count].text,
                                          .dtype = DTYPE_F32,
                                          .ndim = whole ? param->ndim : 1,
                                          .shape = {to - from},
                                          .data = moments[m] + (param->offset + from - vectors->begin)};
            if (whole) memcpy(tensor->shape, param->shape, sizeof param->shape);
            count++;
        }
        if (whole) continue;
        snprintf(ranges[cut], sizeof ranges[cut], "%" PRId64 ":%" PRId64, from, to);
        metadata[2 * cut + 2] = param->name;
        metadata[2 * cut + 3] = ranges[cut];
        cut++;
    }
    if (parts > 1) snprintf(name, sizeof name, "optimizer-%03d-of-%03d.safetensors", part, parts);
    status = write_verified(path, name, tensors, count, metadata, file, error);
release:
    free(ranges);
    free(metadata);
    free(names);
    free(tensors);
    return status;
}

/* ---- loading */

/* Copies what the file holds of one tensor's moment into the slice [begin, end), as far as that wants it, and adds the
 * number of elements found to *found. */
static Status load_moment_part(const Safetensors *file, const Param *param, int moment, float *slice, int64_t begin,
                               int64_t end, float *scratch, int64_t *found, Error *error)
{
    MomentName name;
    snprintf(name.text, sizeof name.text, "%s%s", MOMENT_PREFIX[moment], param->name);
    const SafetensorsEntry *entry = safetensors_find(file, name.text);
    if (!entry) return STATUS_OK;
    int64_t from = 0, to = param->numel, wanted_from, wanted_to;
    const char *range = safetensors_metadata(file, param->name);
    if (range && (sscanf(range, "%" SCNd64 ":%" SCNd64, &from, &to) != 2 || from < 0 || to > param->numel))
        return error_set(error, STATUS_DATA,
                         "%s: metadata \"%s\" is \"%s\"; a range in %" PRId64 " elements is expected", file->path,
                         param->name, range, param->numel);
    if (entry->numel != to - from)
        return error_set(error, STATUS_DATA, "%s: %s has %" PRId64 " elements; the model needs %" PRId64, file->path,
                         name.text, entry->numel, to - from);
    *found += entry->numel;
    if (!tensor_part(param, begin, end, &wanted_from, &wanted_to)) return STATUS_OK;
    wanted_from = max64(wanted_from, from);
    wanted_to = min64(wanted_to, to);
    if (wanted_from >= wanted_to) return STATUS_OK;
    Status status = safetensors_read_f32(file, entry, scratch, error);
    if (!status)
        memcpy(slice + (param->offset + wanted_from - begin), scratch + (wanted_from - from),
               (size_t)(wanted_to - wanted_from) * sizeof *slice);
    return status;
}

static Status load_moments(const Checkpoint *checkpoint, const ParamTable *table, RunVectors *vectors, Error *error)
{
    float *moments[MOMENTS] = {vectors->moment1, vectors->moment2};
    int64_t *found = memory_alloc(table->count * MOMENTS, sizeof *found, "loading moments", error);
    float *scratch = memory_alloc(largest_tensor(table), sizeof *scratch, "loading moments", error);
    Status status = found && scratch ? STATUS_OK : STATUS_FAILED;
    for (int i = 0; !status && i < checkpoint->count; i++) {
        if (strncmp(checkpoint->files[i].name, "optimizer", 9) != 0) continue;
        char path[CHECKPOINT_PATH];
        Safetensors file = {0};
        status = path_join(path, sizeof path, checkpoint->path, checkpoint->files[i].name, error);
        if (!status) status = safetensors_open(&file, path, error);
        for (int p = 0; !status && p < table->count; p++)
            for (int m = 0; !status && m < MOMENTS; m++)
                if (moments[m])
                    status = load_moment_part(&file, &table->items[p], m, moments[m], vectors->begin, vectors->end,
                                              scratch, &found[p * MOMENTS + m], error);
        safetensors_close(&file);
    }
    for (int p = 0; !status && p < table->count; p++)
        for (int m = 0; !status && m < MOMENTS; m++)
            if (moments[m] && table->items[p].trainable && found[p * MOMENTS + m] != table->items[p].numel)
                status = error_set(error, STATUS_DATA,
                                   "%s: %" PRId64 " of the %" PRId64 " elements of %s%s are stored: the checkpoint is "
                                   "of another optimizer, or of another model",
                                   checkpoint->path, found[p * MOMENTS + m], table->items[p].numel, MOMENT_PREFIX[m],
                                   table->items[p].name);
    free(scratch);
    free(found);
    return status;
}

static bool has_file(const Checkpoint *checkpoint, const char *name)
{
    for (int i = 0; i < checkpoint->count; i++)
        if (strcmp(checkpoint->files[i].name, name) == 0) return true;
    return false;
}

static Status load_vector(const Checkpoint *checkpoint, const char *name, const ParamTable *table, float *vector,
                          Error *error)
{
    char path[CHECKPOINT_PATH];
    WeightsReport report;
    Status status = path_join(path, sizeof path, checkpoint->path, name, error);
    if (!status) status = weights_load(path, table, vector, &report, error);
    if (!status && (report.head_dropped || report.positions_resized))
        status = error_set(error, STATUS_USAGE,
                           "%s: saved with another number of classes or another image size; a run goes on only with "
                           "its own. To start from these weights: --set init_weights=%s",
                           path, path);
    return status;
}

Status checkpoint_load(const Checkpoint *checkpoint, const ParamTable *table, RunVectors *vectors, Error *error)
{
    Status status = STATUS_OK;
    if (vectors->weights) status = load_vector(checkpoint, "weights.safetensors", table, vectors->weights, error);
    if (!status && vectors->ema)
        status =
            load_vector(checkpoint, has_file(checkpoint, "ema.safetensors") ? "ema.safetensors" : "weights.safetensors",
                        table, vectors->ema, error);
    if (!status && vectors->moment1) status = load_moments(checkpoint, table, vectors, error);
    return status;
}
