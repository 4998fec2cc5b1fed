/* source.h: where a conversion takes its images from.
 *
 * A Source is an index: classes, and for each split the list of its images with label and place. It is made once, by
 * the reader of its kind (source_folder.c, source_tar.c, source_idx.c, source_cifar.c, source_synthetic.c); then any
 * thread may read any image. The same files give the same index everywhere.
 *
 *     Source source;
 *     Status status = source_open(&source, path, error);        // the kind is told by content
 *     if (status) return status;
 *     SourceImage image = {0};                                   // one per thread, reused
 *     status = source.read(&source, item, &image, error);
 *     ...
 *     source_image_free(&image);
 *     source_close(&source);
 */
#ifndef DATA_CONVERT_SOURCE_H
#define DATA_CONVERT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/base/path.h"
#include "core/base/status.h"
#include "data/image/image.h"

typedef enum SourceSplitKind { SPLIT_TRAIN, SPLIT_VAL, SPLIT_TEST, SOURCE_SPLITS } SourceSplitKind;

typedef struct SourceItem {
    uint64_t name;   /* where in Source.names: unique, relative to the source */
    uint64_t offset; /* in file number `file`, or the number of the image */
    uint32_t size;   /* bytes in the source */
    int32_t label;
    int32_t file;
} SourceItem;

typedef struct SourceSplit {
    SourceItem *items;
    int64_t count, capacity;
} SourceSplit;

typedef struct SourceImage { /* what was read: encoded bytes, or pixels that are still to be encoded */
    uint8_t *bytes;
    size_t size, capacity;
    bool is_pixels;
    bool gray;
    Image pixels;
} SourceImage;

typedef struct NameList { /* sorted as Python sorts: by byte */
    char **names;
    int count, capacity;
} NameList;

typedef struct Source Source;

struct Source {
    const char *kind; /* "folder", "tar", "idx", "cifar", "synthetic" */
    char root[PATH_SIZE];
    char **class_names, **class_words; /* (classes); words NULL when unknown */
    int classes;
    SourceSplit splits[SOURCE_SPLITS];
    NameList left_out; /* folders that no split took: "extra: why" */
    char *names;
    size_t names_used, names_capacity;
    ImageFormat encode_as; /* for pixels */

    /* Fills *image. STATUS_DATA: this image is broken; any other failure: the source is. */
    Status (*read)(const Source *source, const SourceItem *item, SourceImage *image, Error *error);
    /* Announces what will be read soon; may be NULL. */
    void (*prefetch)(const Source *source, const SourceItem *item);
    void *state; /* the reader's own */
    void (*free_state)(void *state);
};

Status source_open(Source *source, const char *path, Error *error);
void source_close(Source *source); /* accepts a zeroed one */
const char *source_name(const Source *source, const SourceItem *item);
const char *source_split_name(SourceSplitKind split);

Status source_image_reserve(SourceImage *image, size_t size, Error *error);
void source_image_free(SourceImage *image); /* accepts a zeroed one */

/* ---- for the readers: each fills a Source of which only root is set, and leaves it to source_open to close it */
Status source_open_folder(Source *source, Error *error);
Status source_open_tars(Source *source, Error *error);
Status source_open_idx(Source *source, Error *error);
Status source_open_cifar(Source *source, Error *error);
Status source_open_synthetic(Source *source, int64_t train_images, uint64_t seed, Error *error);

Status name_list_add(NameList *list, const char *name, Error *error);
Status name_list_folder(NameList *list, const char *path, Error *error); /* entries not starting with a dot, sorted */
void name_list_sort(NameList *list);
int name_list_find(const NameList *list, const char *name); /* in a sorted list; -1: not there */
void name_list_free(NameList *list);

Status source_add(Source *source, SourceSplitKind split, const char *name, const SourceItem *item, Error *error);
/* By name, so that the order of a folder or a tar does not matter. The same name twice is STATUS_DATA. */
Status source_sort(Source *source, SourceSplitKind split, Error *error);
/* The read of an item whose name is a file below root. */
Status source_read_file(const Source *source, const SourceItem *item, SourceImage *image, Error *error);
/* Names of the classes in the order of their labels; those of ILSVRC2012 get their words too. */
Status source_set_classes(Source *source, char *const *names, int count, Error *error);
Status source_number_classes(Source *source, int count, Error *error); /* "0", "1", ... */
/* One name a line, as many as there are classes. */
Status source_read_class_names(Source *source, const char *path, Error *error);

/* Adds the images of ROOT/train/CLASS or ROOT/val/CLASS; nothing when there is no such folder. */
Status source_add_folders(Source *source, SourceSplitKind split, Error *error);

#endif
