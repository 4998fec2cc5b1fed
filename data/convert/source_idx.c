/* source_idx.c: the MNIST family's IDX files, gzip'ed or not.
 *
 * A file is: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a big-endian u32,
 * the data. Images have three dimensions (count, rows, columns), labels one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/base/path.h"
#include "data/convert/source.h"

static const size_t IDX_LIMIT = (size_t)16 << 30; /* what a file may hold; the largest of the family hold 0.6 GB */

typedef struct IdxFile {
    char path[PATH_SIZE];
    uint32_t dims[3];
    uint8_t *data;
} IdxFile;

enum { IDX_SPLITS = 2 }; /* training and validation, which these sets call test */

typedef struct IdxState {
    IdxFile images[IDX_SPLITS];
} IdxState;

static uint32_t big32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static Status read_exactly(gzFile file, const char *path, void *target, size_t size, Error *error)
{
    size_t got = 0;
    while (got < size) {
        unsigned part = size - got < 1 << 30 ? (unsigned)(size - got) : 1u << 30;
        int count = gzread(file, (char *)target + got, part);
        int code;
        if (count < 0) return error_set(error, STATUS_DATA, "%s: cannot read: %s", path, gzerror(file, &code));
        if (count == 0) break;
        got += (size_t)count;
    }
    if (got < size)
        return error_set(error, STATUS_DATA,
                         "%s: cut off: %zu bytes expected after the header, %zu found; copy it again", path, size, got);
    return STATUS_OK;
}

/* A header can claim any size: the file must be long enough to hold it. Deflate makes data at most 1032 times smaller
 * (RFC 1951: at best 258 bytes from two bits). */
static Status check_length(const char *path, bool compressed, size_t size, Error *error)
{
    enum { DEFLATE_RATIO = 1032 };
    uint64_t stored = file_size(path);
    if (size > IDX_LIMIT)
        return error_set(error, STATUS_DATA, "%s: its header tells of %zu bytes; at most %zu are read", path, size,
                         IDX_LIMIT);
    if (size <= stored * (compressed ? DEFLATE_RATIO : 1)) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s: cut off: %zu bytes expected after the header, but a file of %" PRIu64
                     " bytes cannot hold them; copy it again",
                     path, size, stored);
}

static Status read_data(IdxFile *idx, gzFile file, int dimensions, Error *error)
{
    uint8_t header[16];
    Status status = read_exactly(file, idx->path, header, 4 + 4 * (size_t)dimensions, error);
    if (status) return status;
    if (header[0] || header[1] || header[2] != 8 || header[3] != dimensions)
        return error_set(error, STATUS_DATA, "%s: not an IDX file of bytes with %d dimensions: it starts with %08x",
                         idx->path, dimensions, big32(header));
    size_t size = 1;
    for (int i = 0; i < dimensions; i++) {
        idx->dims[i] = big32(header + 4 + 4 * i);
        if (idx->dims[i] == 0 || __builtin_mul_overflow(size, (size_t)idx->dims[i], &size))
            return error_set(error, STATUS_DATA, "%s: dimension %d of %d is %u, which is not possible", idx->path,
                             i + 1, dimensions, idx->dims[i]);
    }
    status = check_length(idx->path, !gzdirect(file), size, error);
    if (status) return status;
    if (dimensions == 3) status = image_check_size(idx->dims[2], idx->dims[1], error);
    if (status) return error_add(error, "  in the header of %s", idx->path);
    idx->data = memory_alloc((int64_t)size + 1, 1, idx->path, error);
    if (!idx->data) return STATUS_FAILED;
    return read_exactly(file, idx->path, idx->data, size, error);
}

static Status idx_read(IdxFile *idx, int dimensions, Error *error)
{
    gzFile file = gzopen(idx->path, "rb");
    if (!file) return error_set(error, STATUS_DATA, "%s: cannot open: %m", idx->path);
    gzbuffer(file, 1 << 18);
    Status status = read_data(idx, file, dimensions, error);
    gzclose(file);
    return status;
}

/* The file whose name has `split` and `kind` in it; *path is empty when there is none. */
static Status find_file(const NameList *list, const char *folder, const char *const *splits, const char *kind,
                        char path[PATH_SIZE], Error *error)
{
    path[0] = 0;
    const char *found = NULL;
    for (int i = 0; i < list->count; i++) {
        const char *name = list->names[i];
        if (!strstr(name, kind) || (!strstr(name, splits[0]) && !strstr(name, splits[1]))) continue;
        if (found)
            return error_set(error, STATUS_DATA, "%s: both %s and %s could be meant; leave one data set in the folder",
                             folder, found, name);
        found = name;
    }
    return found ? path_join(path, PATH_SIZE, folder, found, error) : STATUS_OK;
}

static Status idx_add_split(Source *source, SourceSplitKind split, const IdxFile *images, const IdxFile *labels,
                            int *classes, Error *error)
{
    if (images->dims[0] != labels->dims[0])
        return error_set(error, STATUS_DATA, "%s has %u images, but %s has %u labels", images->path, images->dims[0],
                         labels->path, labels->dims[0]);
    for (uint32_t i = 0; i < images->dims[0]; i++) {
        char name[64];
        int label = labels->data[i];
        snprintf(name, sizeof name, "%s/%08u", source_split_name(split), i);
        if (split == SPLIT_TRAIN && label >= *classes) *classes = label + 1;
        if (label >= *classes)
            return error_set(error, STATUS_DATA, "%s: image %u has label %d; the training labels are 0 to %d",
                             labels->path, i, label, *classes - 1);
        SourceItem item = {.offset = i, .size = images->dims[1] * images->dims[2], .label = label, .file = (int)split};
        Status status = source_add(source, split, name, &item, error);
        if (status) return status;
    }
    return STATUS_OK;
}

static Status open_split(Source *source, SourceSplitKind split, const NameList *list, int *classes, Error *error)
{
    static const char *const SPLIT_NAMES[IDX_SPLITS][2] = {{"train", "train"}, {"t10k", "test"}};
    IdxFile *images = &((IdxState *)source->state)->images[split];
    IdxFile labels = {0};
    Status status = find_file(list, source->root, SPLIT_NAMES[split], "images-idx3-ubyte", images->path, error);
    if (!status) status = find_file(list, source->root, SPLIT_NAMES[split], "labels-idx1-ubyte", labels.path, error);
    if (status) return status;
    if (!images->path[0] && !labels.path[0] && split == SPLIT_VAL) return STATUS_OK;
    if (!images->path[0] || !labels.path[0])
        return error_set(error, STATUS_DATA, "%s: no file named *%s*%s-ubyte[.gz]", source->root, SPLIT_NAMES[split][0],
                         images->path[0] ? "labels-idx1" : "images-idx3");
    status = idx_read(images, 3, error);
    if (!status) status = idx_read(&labels, 1, error);
    if (!status) status = idx_add_split(source, split, images, &labels, classes, error);
    free(labels.data);
    return status;
}

static Status idx_read_image(const Source *source, const SourceItem *item, SourceImage *image, Error *error)
{
    const IdxFile *file = &((const IdxState *)source->state)->images[item->file];
    Status status = image_reserve(&image->pixels, (int)file->dims[2], (int)file->dims[1], error);
    if (status) return status;
    size_t count = (size_t)file->dims[1] * file->dims[2];
    const uint8_t *gray = file->data + item->offset * count;
    for (size_t i = 0; i < count; i++) memset(image->pixels.pixels + 3 * i, gray[i], 3);
    image->is_pixels = true;
    image->gray = true;
    return STATUS_OK;
}

static void idx_free_state(void *pointer)
{
    IdxState *state = pointer;
    for (int i = 0; i < IDX_SPLITS; i++) free(state->images[i].data);
    free(state);
}

Status source_open_idx(Source *source, Error *error)
{
    source->kind = "idx";
    source->encode_as = IMAGE_JPEG;
    source->read = idx_read_image;
    source->state = memory_alloc(1, sizeof(IdxState), "a source", error);
    source->free_state = idx_free_state;
    if (!source->state) return STATUS_FAILED;
    NameList list = {0};
    int classes = 0;
    Status status = name_list_folder(&list, source->root, error);
    for (int split = 0; split < IDX_SPLITS && !status; split++)
        status = open_split(source, (SourceSplitKind)split, &list, &classes, error);
    name_list_free(&list);
    return status ? status : source_number_classes(source, classes, error);
}
