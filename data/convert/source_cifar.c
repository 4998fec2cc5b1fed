/* source_cifar.c: CIFAR-10 and CIFAR-100 binary.
 *
 * A record is one label byte (CIFAR-10) or a coarse and a fine label byte (CIFAR-100), then 32 x 32 pixels, all red,
 * all green, all blue, row after row. The class names are in a text file beside.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/base/path.h"
#include "data/convert/source.h"

enum { SIDE = 32, PIXELS = SIDE * SIDE, MAX_FILES = 8 };

typedef struct Layout {
    const char *folder, *classes;
    int label_bytes;
    const char *train[6], *val; /* train: up to a NULL */
} Layout;

static const Layout LAYOUTS[] = {
    {"cifar-10-batches-bin",
     "batches.meta.txt",
     1,
     {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin", NULL},
     "test_batch.bin"},
    {"cifar-100-binary", "fine_label_names.txt", 2, {"train.bin", NULL}, "test.bin"},
};

typedef struct CifarState {
    const Layout *layout;
    char folder[PATH_SIZE];
    char *files[MAX_FILES];
    int count;
} CifarState;

static Status cifar_read_image(const Source *source, const SourceItem *item, SourceImage *image, Error *error)
{
    const CifarState *state = source->state;
    Status status = image_reserve(&image->pixels, SIDE, SIDE, error);
    if (status) return status;
    const char *planes = state->files[item->file] + item->offset;
    for (int i = 0; i < PIXELS; i++)
        for (int c = 0; c < 3; c++) image->pixels.pixels[3 * i + c] = (uint8_t)planes[c * PIXELS + i];
    image->is_pixels = true;
    image->gray = false;
    return STATUS_OK;
}

static Status read_classes(Source *source, const CifarState *state, Error *error)
{
    char path[PATH_SIZE], *text;
    size_t size;
    Status status = path_join(path, sizeof path, state->folder, state->layout->classes, error);
    if (!status) status = file_read(path, 1 << 20, &text, &size, error);
    if (status) return status;
    NameList names = {0};
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) && !status;) {
        line[strcspn(line, "\r")] = 0;
        if (line[0]) status = name_list_add(&names, line, error);
    }
    if (!status) status = source_set_classes(source, names.names, names.count, error);
    name_list_free(&names);
    free(text);
    return status;
}

static Status add_file(Source *source, CifarState *state, SourceSplitKind split, const char *file, Error *error)
{
    char path[PATH_SIZE];
    size_t size, label_bytes = (size_t)state->layout->label_bytes, record = label_bytes + 3 * PIXELS;
    Status status = path_join(path, sizeof path, state->folder, file, error);
    if (!status) status = file_read(path, (size_t)1 << 30, &state->files[state->count], &size, error);
    if (status) return status;
    const char *bytes = state->files[state->count++];
    if (size % record)
        return error_set(error, STATUS_DATA,
                         "%s: %zu bytes are not a multiple of %zu, the size of a record; copy it again", path, size,
                         record);
    for (size_t i = 0; i < size / record && !status; i++) {
        char name[64];
        SourceItem item = {.offset = i * record + label_bytes, .size = 3 * PIXELS, .file = state->count - 1};
        item.label = (uint8_t)bytes[item.offset - 1];
        if (item.label >= source->classes)
            return error_set(error, STATUS_DATA, "%s: record %zu has label %d, but there are %d classes", path, i,
                             item.label, source->classes);
        snprintf(name, sizeof name, "%s/%s/%06zu", source_split_name(split), file, i);
        status = source_add(source, split, name, &item, error);
    }
    return status;
}

static void cifar_free_state(void *pointer)
{
    CifarState *state = pointer;
    for (int i = 0; i < state->count; i++) free(state->files[i]);
    free(state);
}

/* The layout whose first file is in the source's folder, or in its usual folder below it. */
static bool find_layout(const char *root, CifarState *state)
{
    for (size_t i = 0; i < sizeof LAYOUTS / sizeof LAYOUTS[0]; i++)
        for (int below = 0; below < 2; below++) {
            char path[PATH_SIZE];
            Error ignored = {0};
            state->layout = &LAYOUTS[i];
            Status status =
                path_join(state->folder, sizeof state->folder, root, below ? LAYOUTS[i].folder : "", &ignored);
            if (!status) status = path_join(path, sizeof path, state->folder, LAYOUTS[i].train[0], &ignored);
            if (!status && file_exists(path)) return true;
        }
    return false;
}

Status source_open_cifar(Source *source, Error *error)
{
    CifarState *state = memory_alloc(1, sizeof *state, "a source", error);
    if (!state) return STATUS_FAILED;
    source->kind = "cifar";
    source->encode_as = IMAGE_PNG; /* small images do not bear a second lossy coding */
    source->read = cifar_read_image;
    source->state = state;
    source->free_state = cifar_free_state;
    if (!find_layout(source->root, state)) return STATUS_OK;
    Status status = read_classes(source, state, error);
    for (int i = 0; state->layout->train[i] && !status; i++)
        status = add_file(source, state, SPLIT_TRAIN, state->layout->train[i], error);
    return status ? status : add_file(source, state, SPLIT_VAL, state->layout->val, error);
}
