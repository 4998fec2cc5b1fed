#include "data/convert/source.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "data/dataset/imagenet_classes.h"
#include "data/dataset/manifest.h"

/* ---- lists of names */

Status name_list_add(NameList *list, const char *name, Error *error)
{
    if (list->count == list->capacity) {
        int capacity = 2 * list->capacity + 64;
        Status status = memory_resize((void **)&list->names, capacity, sizeof *list->names, "a list of names", error);
        if (status) return status;
        list->capacity = capacity;
    }
    list->names[list->count] = memory_copy_text(name, "a name", error);
    if (!list->names[list->count]) return STATUS_FAILED;
    list->count++;
    return STATUS_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void name_list_sort(NameList *list)
{
    if (list->count > 1) qsort(list->names, (size_t)list->count, sizeof *list->names, compare_names);
}

int name_list_find(const NameList *list, const char *name)
{
    if (list->count == 0) return -1;
    char **found = bsearch(&name, list->names, (size_t)list->count, sizeof *list->names, compare_names);
    return found ? (int)(found - list->names) : -1;
}

Status name_list_folder(NameList *list, const char *path, Error *error)
{
    DIR *folder = opendir(path);
    if (!folder) {
        bool is_file = errno == ENOTDIR;
        error_set(error, STATUS_DATA, "%s: cannot read the folder: %m", path);
        return is_file ? error_add(error, "  hint: give the folder in which it is") : STATUS_DATA;
    }
    Status status = STATUS_OK;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (!entry) break;
        if (entry->d_name[0] != '.') status = name_list_add(list, entry->d_name, error);
        if (status) break;
    }
    if (!status && errno) status = error_set(error, STATUS_FAILED, "%s: cannot read the folder: %m", path);
    closedir(folder);
    name_list_sort(list);
    return status;
}

void name_list_free(NameList *list)
{
    for (int i = 0; i < list->count; i++) free(list->names[i]);
    free(list->names);
    *list = (NameList){0};
}

/* ---- images */

Status source_image_reserve(SourceImage *image, size_t size, Error *error)
{
    if (size > image->capacity) {
        Status status = memory_resize((void **)&image->bytes, (int64_t)size, 1, "the file of an image", error);
        if (status) return status;
        image->capacity = size;
    }
    image->size = size;
    image->is_pixels = false;
    return STATUS_OK;
}

void source_image_free(SourceImage *image)
{
    free(image->bytes);
    image_free(&image->pixels);
    *image = (SourceImage){0};
}

/* ---- building an index */

static Status add_name(Source *source, const char *name, uint64_t *offset, Error *error)
{
    size_t size = strlen(name) + 1;
    if (source->names_capacity - source->names_used < size) {
        size_t capacity = 2 * source->names_capacity + size + 65536;
        Status status = memory_resize((void **)&source->names, (int64_t)capacity, 1, "the names of the images", error);
        if (status) return status;
        source->names_capacity = capacity;
    }
    memcpy(source->names + source->names_used, name, size);
    *offset = source->names_used;
    source->names_used += size;
    return STATUS_OK;
}

Status source_add(Source *source, SourceSplitKind kind, const char *name, const SourceItem *item, Error *error)
{
    SourceSplit *split = &source->splits[kind];
    if (split->count == split->capacity) {
        int64_t capacity = 2 * split->capacity + 1024;
        Status status =
            memory_resize((void **)&split->items, capacity, sizeof *split->items, "the index of the images", error);
        if (status) return status;
        split->capacity = capacity;
    }
    if (split->count == INT32_MAX) return error_set(error, STATUS_DATA, "%s: too many images", source->root);
    SourceItem *added = &split->items[split->count];
    *added = *item;
    Status status = add_name(source, name, &added->name, error);
    if (!status) split->count++;
    return status;
}

static int compare_items(const void *a, const void *b, void *names)
{
    return strcmp((char *)names + ((const SourceItem *)a)->name, (char *)names + ((const SourceItem *)b)->name);
}

Status source_sort(Source *source, SourceSplitKind kind, Error *error)
{
    SourceSplit *split = &source->splits[kind];
    if (split->count < 2) return STATUS_OK;
    qsort_r(split->items, (size_t)split->count, sizeof *split->items, compare_items, source->names);
    for (int64_t i = 1; i < split->count; i++)
        if (compare_items(&split->items[i - 1], &split->items[i], source->names) == 0)
            return error_set(error, STATUS_DATA, "%s: there are two images named %s", source->root,
                             source_name(source, &split->items[i]));
    return STATUS_OK;
}

static const char CLASSES_PURPOSE[] = "the names of the classes";

Status source_set_classes(Source *source, char *const *names, int count, Error *error)
{
    if (count < 1 || count > MAX_CLASSES)
        return error_set(error, STATUS_DATA, "%s: %d classes; 1 to %d are possible", source->root, count, MAX_CLASSES);
    source->class_names = memory_alloc(count, sizeof *names, CLASSES_PURPOSE, error);
    source->class_words = memory_alloc(count, sizeof *names, CLASSES_PURPOSE, error);
    if (!source->class_names || !source->class_words) return STATUS_FAILED;
    source->classes = count;
    for (int i = 0; i < count; i++) {
        const ImagenetClass *class = imagenet_class_of_wnid(names[i]);
        source->class_names[i] = memory_copy_text(names[i], CLASSES_PURPOSE, error);
        if (class) source->class_words[i] = memory_copy_text(class->words, CLASSES_PURPOSE, error);
        if (!source->class_names[i] || (class && !source->class_words[i])) return STATUS_FAILED;
    }
    return STATUS_OK;
}

Status source_number_classes(Source *source, int count, Error *error)
{
    NameList list = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < count && !status; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        status = name_list_add(&list, name, error);
    }
    if (!status) status = source_set_classes(source, list.names, list.count, error);
    name_list_free(&list);
    return status;
}

Status source_read_class_names(Source *source, const char *path, Error *error)
{
    char *text, *rest;
    size_t size;
    Status status = file_read(path, 64 << 20, &text, &size, error);
    if (status) return status;
    int count = 0;
    rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        line[strcspn(line, "\r")] = 0;
        if (!line[0]) continue;
        if (count < source->classes) {
            char *copy = memory_copy_text(line, CLASSES_PURPOSE, error);
            if (!copy) {
                status = STATUS_FAILED;
                goto free_text;
            }
            free(source->class_names[count]);
            source->class_names[count] = copy;
        }
        count++;
    }
    if (count != source->classes)
        status = error_set(error, STATUS_DATA, "%s: %d names, but %s has %d classes", path, count, source->root,
                           source->classes);
free_text:
    free(text);
    return status;
}

/* ---- opening */

const char *source_name(const Source *source, const SourceItem *item)
{
    return source->names + item->name;
}

const char *source_split_name(SourceSplitKind split)
{
    static const char *const NAMES[SOURCE_SPLITS] = {"train", "val", "test"};
    return NAMES[split];
}

static bool any_name(const NameList *list, const char *part)
{
    for (int i = 0; i < list->count; i++)
        if (strstr(list->names[i], part)) return true;
    return false;
}

static Status not_recognised(const char *path, const NameList *list, Error *error)
{
    error_set(error, STATUS_DATA, "%s: not recognised as a source of images; it holds %d entries%s%s", path,
              list->count, list->count ? ", the first is " : "", list->count ? list->names[0] : "");
    return error_add(
        error,
        "  hint: these are: a folder with train/CLASS/* and val/CLASS/* (or validation/), perhaps test/CLASS/*; a "
        "folder with "
        "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the devkit; CIFAR-10/100 binary; "
        "IDX files of the MNIST family");
}

static Status open_kind(Source *source, Error *error)
{
    NameList list = {0};
    Status status = name_list_folder(&list, source->root, error);
    if (!status) {
        if (any_name(&list, "idx3-ubyte"))
            status = source_open_idx(source, error);
        else if (any_name(&list, ".tar") && !any_name(&list, "cifar"))
            status = source_open_tars(source, error);
        else if (name_list_find(&list, "train") >= 0 || name_list_find(&list, "val") >= 0 ||
                 name_list_find(&list, "validation") >= 0)
            status = source_open_folder(source, error);
        else
            status = source_open_cifar(source, error);
    }
    int64_t images = 0;
    for (int i = 0; i < SOURCE_SPLITS; i++) images += source->splits[i].count;
    if (!status && images == 0) status = not_recognised(source->root, &list, error);
    name_list_free(&list);
    return status;
}

Status source_open(Source *source, const char *path, Error *error)
{
    *source = (Source){0};
    snprintf(source->root, sizeof source->root, "%s", path);
    Status status = open_kind(source, error);
    for (int split = 0; split < SOURCE_SPLITS && !status; split++)
        status = source_sort(source, (SourceSplitKind)split, error);
    if (status) source_close(source);
    return status;
}

void source_close(Source *source)
{
    if (source->free_state) source->free_state(source->state);
    for (int i = 0; i < source->classes; i++) {
        free(source->class_names[i]);
        free(source->class_words[i]);
    }
    free(source->class_names);
    free(source->class_words);
    free(source->names);
    name_list_free(&source->left_out);
    for (int i = 0; i < SOURCE_SPLITS; i++) free(source->splits[i].items);
    *source = (Source){0};
}
