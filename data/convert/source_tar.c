/* source_tar.c: ILSVRC2012_img_train.tar, a tar of one tar a class, and ILSVRC2012_img_val.tar, a tar of images, read
 * in place. libarchive walks them once, in a mapping, and tells where each image lies; images are then read by offset.
 *
 * In a plain tar held in memory libarchive hands out pointers into that memory: which is how the place is found.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/base/path.h"
#include "data/convert/imagenet_devkit.h"
#include "data/convert/source.h"
#include "data/dataset/imagenet_classes.h"

typedef struct Tar {
    char path[PATH_SIZE];
    int fd;
    const uint8_t *map;
    size_t size;
} Tar;

typedef struct TarState {
    Tar tars[SOURCE_SPLITS]; /* fd is -1 where there is none */
    ImagenetDevkit devkit;
} TarState;

/* ---- one tar */

static Status tar_open(Tar *tar, Error *error)
{
    struct stat info;
    tar->fd = open(tar->path, O_RDONLY | O_CLOEXEC);
    if (tar->fd < 0 || fstat(tar->fd, &info) != 0)
        return error_set(error, STATUS_DATA, "%s: cannot open: %m", tar->path);
    tar->size = (size_t)info.st_size;
    if (tar->size == 0) return error_set(error, STATUS_DATA, "%s: the file is empty", tar->path);
    void *map = mmap(NULL, tar->size, PROT_READ, MAP_PRIVATE, tar->fd, 0);
    if (map == MAP_FAILED) return error_set(error, STATUS_FAILED, "%s: cannot map: %m", tar->path);
    madvise(map, tar->size, MADV_RANDOM); /* only headers are looked at */
    tar->map = map;
    return STATUS_OK;
}

static void tar_close(Tar *tar)
{
    if (tar->map) munmap((void *)(uintptr_t)tar->map, tar->size);
    if (tar->fd >= 0) close(tar->fd);
}

/* Called for each regular file of a tar: its bytes are tar->map[begin, begin + size). */
typedef Status (*TarVisit)(void *context, const Tar *tar, const char *name, size_t begin, size_t size, Error *error);

static Status cut_off(const Tar *tar, const char *name, const char *detail, Error *error)
{
    return error_set(error, STATUS_DATA, "%s: cut off or damaged after %s: %s; %zu bytes: download it again", tar->path,
                     name[0] ? name : "its beginning", detail, tar->size);
}

/* The data of the present entry: [*begin, *begin + size). */
static Status find_data(struct archive *archive, const Tar *tar, const char *name, size_t size, size_t *begin,
                        Error *error)
{
    const void *block = tar->map;
    size_t length = 0;
    la_int64_t offset = 0;
    int code = size ? archive_read_data_block(archive, &block, &length, &offset) : ARCHIVE_OK;
    if (code != ARCHIVE_OK && code != ARCHIVE_EOF) return cut_off(tar, name, archive_error_string(archive), error);
    if ((const uint8_t *)block < tar->map || (const uint8_t *)block > tar->map + tar->size || offset != 0 ||
        length < size)
        return cut_off(tar, name, "its data are not whole", error);
    *begin = (size_t)((const uint8_t *)block - tar->map);
    return STATUS_OK;
}

/* Blocks of zeros end a tar. One that was cut between two entries lacks them. */
static bool is_ended(const Tar *tar, size_t begin, size_t size)
{
    if (size < 512) return false;
    for (size_t i = begin + size - 512; i < begin + size; i++)
        if (tar->map[i]) return false;
    return true;
}

/* A link's image would be missing from the data set without a word. */
static Status check_has_data(const Tar *tar, struct archive_entry *entry, const char *name, Error *error)
{
    const char *to = archive_entry_hardlink(entry) ? archive_entry_hardlink(entry) : archive_entry_symlink(entry);
    if (!to && archive_entry_filetype(entry) == AE_IFREG) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s: %s %s%s, which has no data of its own; files are expected\n"
                     "  hint: pack it again with tar --dereference --hard-dereference",
                     tar->path, name, to ? "is a link to " : "is a special file", to ? to : "");
}

/* The tar inside [begin, begin + size) of `tar`, which may be all of it. */
static Status tar_walk(const Tar *tar, size_t begin, size_t size, const char *label, TarVisit visit, void *context,
                       Error *error)
{
    char last[4096];
    snprintf(last, sizeof last, "%s", label);
    struct archive *archive = archive_read_new();
    if (!archive) return memory_failed(tar->path, error);
    archive_read_support_format_tar(archive);
    Status status = STATUS_OK;
    struct archive_entry *entry;
    int code = archive_read_open_memory(archive, tar->map + begin, size);
    while (code == ARCHIVE_OK && (code = archive_read_next_header(archive, &entry)) == ARCHIVE_OK) {
        const char *name = archive_entry_pathname(entry);
        if (archive_entry_filetype(entry) == AE_IFDIR) continue;
        size_t data = 0, length = (size_t)archive_entry_size(entry);
        if (!name) status = error_set(error, STATUS_DATA, "%s: a name after %s cannot be read", tar->path, last);
        if (!status) status = check_has_data(tar, entry, name, error);
        if (!status) status = find_data(archive, tar, name, length, &data, error);
        if (!status) status = visit(context, tar, name, data, length, error);
        if (status) goto free_archive;
        snprintf(last, sizeof last, "%s", name);
    }
    if (code != ARCHIVE_EOF) status = cut_off(tar, last, archive_error_string(archive), error);
    if (!status && !is_ended(tar, begin, size)) status = cut_off(tar, last, "it has no end mark", error);
free_archive:
    archive_read_free(archive);
    return status;
}

/* ---- training: a tar of tars */

typedef struct ClassTars { /* found in a first walk, so that classes can be numbered */
    NameList wnids;
    size_t *begins, *sizes;
    int capacity;
} ClassTars;

static Status add_class_tar(void *context, const Tar *tar, const char *name, size_t begin, size_t size, Error *error)
{
    ClassTars *classes = context;
    const char *base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    size_t length = strlen(base);
    char wnid[256];
    if (length < 5 || length >= sizeof wnid || strcmp(base + length - 4, ".tar") != 0)
        return error_set(error, STATUS_DATA, "%s: %s is not the tar of a class; expected names as n01440764.tar",
                         tar->path, name);
    snprintf(wnid, sizeof wnid, "%.*s", (int)length - 4, base);
    int count = classes->wnids.count;
    if (count == classes->capacity) {
        int capacity = 2 * classes->capacity + 1024;
        static const char PURPOSE[] = "the places of the class tars";
        Status status = memory_resize((void **)&classes->begins, capacity, sizeof(size_t), PURPOSE, error);
        if (!status) status = memory_resize((void **)&classes->sizes, capacity, sizeof(size_t), PURPOSE, error);
        if (status) return status;
        classes->capacity = capacity;
    }
    classes->begins[count] = begin;
    classes->sizes[count] = size;
    return name_list_add(&classes->wnids, wnid, error);
}

typedef struct Visit {
    Source *source;
    SourceSplitKind split;
    const char *folder; /* "train/n01440764" */
    int label;
} Visit;

static Status add_image(void *context, const Tar *tar, const char *name, size_t begin, size_t size, Error *error)
{
    const Visit *visit = context;
    char full[PATH_SIZE];
    if (size > UINT32_MAX / 2)
        return error_set(error, STATUS_DATA, "%s: %s: %zu bytes are no image", tar->path, name, size);
    Status status = path_join(full, sizeof full, visit->folder, name, error);
    SourceItem item = {.offset = begin, .size = (uint32_t)size, .label = visit->label, .file = (int)visit->split};
    return status ? status : source_add(visit->source, visit->split, full, &item, error);
}

static Status add_classes(Source *source, const Tar *tar, const ClassTars *classes, Error *error)
{
    Status status = STATUS_OK;
    NameList known = {source->class_names, source->classes, 0};
    for (int i = 0; i < classes->wnids.count && !status; i++) {
        char folder[PATH_SIZE];
        const char *wnid = classes->wnids.names[i];
        status = path_join(folder, sizeof folder, "train", wnid, error);
        Visit visit = {source, SPLIT_TRAIN, folder, name_list_find(&known, wnid)};
        if (!status) status = tar_walk(tar, classes->begins[i], classes->sizes[i], wnid, add_image, &visit, error);
    }
    return status;
}

static Status open_train(Source *source, Tar *tar, Error *error)
{
    ClassTars classes = {0};
    NameList sorted = {0};
    Status status = tar_open(tar, error);
    if (!status) status = tar_walk(tar, 0, tar->size, "", add_class_tar, &classes, error);
    for (int i = 0; i < classes.wnids.count && !status; i++)
        status = name_list_add(&sorted, classes.wnids.names[i], error);
    name_list_sort(&sorted);
    if (!status) status = source_set_classes(source, sorted.names, sorted.count, error);
    if (!status) status = add_classes(source, tar, &classes, error);
    name_list_free(&sorted);
    name_list_free(&classes.wnids);
    free(classes.begins);
    free(classes.sizes);
    return status;
}

/* ---- validation: a tar of images, labelled by the devkit in the order of their names */

static Status label_val(Source *source, const Tar *tar, const ImagenetDevkit *devkit, Error *error)
{
    SourceSplit *val = &source->splits[SPLIT_VAL];
    if (devkit->val_wnids.count == 0) {
        error_set(error, STATUS_DATA, "%s: there is nothing that gives its images' classes", tar->path);
        return error_add(error,
                         "  hint: put ILSVRC2012_devkit_t12.tar.gz, or val_wnids.txt (one WordNet id a line, in the "
                         "order of the images' names), beside it");
    }
    if (devkit->val_wnids.count != val->count)
        return error_set(error, STATUS_DATA, "%s: holds %" PRId64 " images, but there are labels for %d", tar->path,
                         val->count, devkit->val_wnids.count);
    NameList known = {source->class_names, source->classes, 0};
    for (int64_t i = 0; i < val->count; i++) {
        val->items[i].label = name_list_find(&known, devkit->val_wnids.names[i]);
        if (val->items[i].label < 0)
            return error_set(error, STATUS_DATA, "%s: %s is of class %s, which the training images do not have",
                             tar->path, source_name(source, &val->items[i]), devkit->val_wnids.names[i]);
    }
    return STATUS_OK;
}

/* Without training images the classes are the official ones, or those of the labels. */
static Status name_val_classes(Source *source, const ImagenetDevkit *devkit, Error *error)
{
    NameList names = {0};
    Status status = STATUS_OK;
    for (int i = 0; i < IMAGENET_CLASSES && devkit->official && !status; i++)
        status = name_list_add(&names, imagenet_class(i)->wnid, error);
    for (int i = 0; i < devkit->val_wnids.count && !devkit->official && !status; i++)
        status = name_list_add(&names, devkit->val_wnids.names[i], error);
    name_list_sort(&names);
    int unique = 0;
    for (int i = 0; i < names.count; i++) {
        if (unique && strcmp(names.names[unique - 1], names.names[i]) == 0) continue;
        char *swapped = names.names[unique];
        names.names[unique++] = names.names[i];
        names.names[i] = swapped;
    }
    if (!status && unique) status = source_set_classes(source, names.names, unique, error);
    name_list_free(&names);
    return status;
}

static Status open_val(Source *source, Tar *tar, const ImagenetDevkit *devkit, Error *error)
{
    Status status = tar_open(tar, error);
    Visit visit = {source, SPLIT_VAL, "val", 0};
    if (!status) status = tar_walk(tar, 0, tar->size, "", add_image, &visit, error);
    if (!status) status = source_sort(source, SPLIT_VAL, error);
    if (!status && !source->classes) status = name_val_classes(source, devkit, error);
    return status ? status : label_val(source, tar, devkit, error);
}

/* ---- the source */

static Status tar_read_image(const Source *source, const SourceItem *item, SourceImage *image, Error *error)
{
    if (item->file < 0) return source_read_file(source, item, image, error);
    const Tar *tar = &((const TarState *)source->state)->tars[item->file];
    Status status = source_image_reserve(image, item->size, error);
    size_t used = 0;
    while (!status && used < item->size) {
        ssize_t got = pread(tar->fd, image->bytes + used, item->size - used, (off_t)(item->offset + used));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = error_set(error, STATUS_FAILED, "%s: cannot read: %m", tar->path);
        if (got == 0) status = error_set(error, STATUS_FAILED, "%s: shrank while it was read", tar->path);
        if (got > 0) used += (size_t)got;
    }
    return status;
}

static void tar_prefetch(const Source *source, const SourceItem *item)
{
    const TarState *state = source->state;
    if (item->file >= 0)
        posix_fadvise(state->tars[item->file].fd, (off_t)item->offset, item->size, POSIX_FADV_WILLNEED);
}

static void tar_free_state(void *pointer)
{
    TarState *state = pointer;
    for (int i = 0; i < SOURCE_SPLITS; i++) tar_close(&state->tars[i]);
    imagenet_devkit_free(&state->devkit);
    free(state);
}

/* A tar whose first entry is a tar is the training set's. */
static Status tell_split(const char *path, SourceSplitKind *split, Error *error)
{
    struct archive *archive = archive_read_new();
    if (!archive) return memory_failed(path, error);
    archive_read_support_format_tar(archive);
    struct archive_entry *entry;
    Status status = STATUS_OK;
    if (archive_read_open_filename(archive, path, 1 << 16) != ARCHIVE_OK ||
        archive_read_next_header(archive, &entry) != ARCHIVE_OK) {
        status = error_set(error, STATUS_DATA, "%s: not a tar: %s", path, archive_error_string(archive));
    } else {
        const char *name = archive_entry_pathname(entry);
        size_t length = name ? strlen(name) : 0;
        *split = length > 4 && strcmp(name + length - 4, ".tar") == 0 ? SPLIT_TRAIN : SPLIT_VAL;
    }
    archive_read_free(archive);
    return status;
}

static Status find_tars(const Source *source, TarState *state, Error *error)
{
    NameList list = {0};
    Status status = name_list_folder(&list, source->root, error);
    for (int i = 0; i < list.count && !status; i++) {
        char path[PATH_SIZE];
        SourceSplitKind split = SPLIT_TRAIN;
        size_t length = strlen(list.names[i]);
        if (length < 4 || strcmp(list.names[i] + length - 4, ".tar") != 0) continue;
        status = path_join(path, sizeof path, source->root, list.names[i], error);
        if (!status) status = tell_split(path, &split, error);
        if (status) break;
        Tar *tar = &state->tars[split];
        if (tar->path[0])
            status = error_set(error, STATUS_DATA, "%s and %s: both look like the %s images; leave one in the folder",
                               tar->path, path, source_split_name(split));
        snprintf(tar->path, sizeof tar->path, "%s", path);
    }
    name_list_free(&list);
    return status;
}

Status source_open_tars(Source *source, Error *error)
{
    source->kind = "tar";
    source->encode_as = IMAGE_JPEG; /* what --resize makes smaller */
    source->read = tar_read_image;
    source->prefetch = tar_prefetch;
    TarState *state = memory_alloc(1, sizeof *state, "a source", error);
    if (!state) return STATUS_FAILED;
    for (int i = 0; i < SOURCE_SPLITS; i++) state->tars[i].fd = -1;
    source->state = state;
    source->free_state = tar_free_state;
    Status status = find_tars(source, state, error);
    if (!status) status = imagenet_devkit_load(&state->devkit, source->root, error);
    Tar *train = &state->tars[SPLIT_TRAIN], *val = &state->tars[SPLIT_VAL];
    if (!status)
        status = train->path[0] ? open_train(source, train, error) : source_add_folders(source, SPLIT_TRAIN, error);
    if (status) return status;
    return val->path[0] ? open_val(source, val, &state->devkit, error) : source_add_folders(source, SPLIT_VAL, error);
}
