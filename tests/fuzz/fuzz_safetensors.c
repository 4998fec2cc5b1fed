/* Any bytes as a safetensors file: opened, every tensor read, compared with a model and loaded into it. Must never
 * crash, leak, or accept a tensor that is not wholly inside the file. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/model/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void read_all(const Safetensors *file, size_t size)
{
    for (int i = 0; i < file->count; i++) {
        const SafetensorsEntry *entry = &file->entries[i];
        Error error = {0};
        uint64_t stored = entry->end - entry->begin;
        if (stored > size || entry->numel != (int64_t)(stored / dtype_size(entry->dtype))) abort();
        char *raw = malloc(stored + 1);
        float *wide = malloc((size_t)entry->numel * sizeof *wide + 1);
        if (!raw || !wide || safetensors_read(file, entry, raw, &error) != STATUS_OK) abort();
        safetensors_read_f32(file, entry, wide, &error);
        free(raw);
        free(wide);
    }
}

/* A table of one tensor, head and positions each, so that a short input can fit it. */
static void load(const char *path)
{
    Param items[] = {
        {.name = "pos_embed", .ndim = 3, .shape = {1, 5, 2}, .numel = 10, .offset = 0},
        {.name = "head.weight", .ndim = 2, .shape = {3, 2}, .numel = 6, .offset = 16},
        {.name = "head.bias", .ndim = 1, .shape = {3}, .numel = 3, .offset = 32},
    };
    ParamTable table = {.items = items, .count = 3, .size = 48, .numel = 19};
    float weights[48] = {0};
    WeightsReport report;
    Error error = {0};
    const Param *where;
    weights_load(path, &table, weights, &report, &error);
    if (params_find_nonfinite(&table, weights, &where) >= 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    Safetensors file;
    Error error = {0};
    if (safetensors_open(&file, path, &error) == STATUS_OK) {
        read_all(&file, size);
        safetensors_metadata(&file, "format");
        safetensors_close(&file);
        load(path);
    } else if (error.status != STATUS_DATA || !error.message[0]) {
        abort();
    }
    close(fd);
    return 0;
}
