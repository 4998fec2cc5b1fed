/* source_folder.c: train/CLASS/IMAGE and val/CLASS/IMAGE, as torchvision's ImageFolder reads them: a class's index is
 * its place among the sorted names of the folders in train/. validation/ stands for val/ as well; test/CLASS/IMAGE is a
 * third split. Entries that start with a dot are not looked at; other folders are left out and named. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/path.h"
#include "data/convert/source.h"

Status source_read_file(const Source *source, const SourceItem *item, SourceImage *image, Error *error)
{
    char path[PATH_SIZE];
    Status status = path_join(path, sizeof path, source->root, source_name(source, item), error);
    if (status) return status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_set(error, STATUS_FAILED, "%s: cannot open: %m", path);
    status = source_image_reserve(image, item->size, error);
    size_t used = 0;
    while (!status && used < item->size) {
        ssize_t got = read(fd, image->bytes + used, item->size - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) status = error_set(error, STATUS_FAILED, "%s: cannot read: %m", path);
        if (got == 0) status = error_set(error, STATUS_FAILED, "%s: shrank while it was read", path);
        if (got > 0) used += (size_t)got;
    }
    close(fd);
    return status;
}

/* Names up to five entries that are of the wrong kind, so that one run shows what has to be moved. */
static Status complain(const Source *source, const char *folder, const char *const *misplaced, int count,
                       const char *what, Error *error)
{
    error_set(error, STATUS_DATA, "%s/%s: %d %s", source->root, folder, count, what);
    for (int i = 0; i < count && i < 5; i++) error_add(error, "  %s/%s", folder, misplaced[i]);
    if (count > 5) error_add(error, "  ...");
    return error_add(error, "  hint: every image belongs into %.*s/CLASS/", (int)strcspn(folder, "/"), folder);
}

static Status read_class(Source *source, SourceSplitKind split, const char *split_folder, int label, Error *error)
{
    char folder[PATH_SIZE], path[PATH_SIZE], name[PATH_SIZE];
    const char *misplaced[5];
    int wrong = 0;
    NameList list = {0};
    Status status = path_join(folder, sizeof folder, split_folder, source->class_names[label], error);
    if (!status) status = path_join(path, sizeof path, source->root, folder, error);
    if (!status) status = name_list_folder(&list, path, error);
    for (int i = 0; i < list.count && !status; i++) {
        struct stat info;
        status = path_join(name, sizeof name, folder, list.names[i], error);
        if (!status) status = path_join(path, sizeof path, source->root, name, error);
        if (status) break;
        if (stat(path, &info) != 0) {
            status = error_set(error, STATUS_DATA, "%s: %m", path);
        } else if (S_ISDIR(info.st_mode)) {
            if (wrong < 5) misplaced[wrong] = list.names[i];
            wrong++;
        } else if (info.st_size > UINT32_MAX / 2) {
            status = error_set(error, STATUS_DATA, "%s: %" PRId64 " bytes are no image", path, (int64_t)info.st_size);
        } else {
            SourceItem item = {.size = (uint32_t)info.st_size, .label = label, .file = -1};
            status = source_add(source, split, name, &item, error);
        }
    }
    if (!status && wrong) status = complain(source, folder, misplaced, wrong, "folders inside a class", error);
    name_list_free(&list);
    return status;
}

/* The folders of a split, which are its classes; anything else there is an error. */
static Status list_classes(const Source *source, const char *folder, NameList *list, Error *error)
{
    char whole[PATH_SIZE], path[PATH_SIZE];
    const char *misplaced[5];
    int wrong = 0;
    Status status = path_join(whole, sizeof whole, source->root, folder, error);
    if (!status) status = name_list_folder(list, whole, error);
    for (int i = 0; i < list->count && !status; i++) {
        struct stat info;
        status = path_join(path, sizeof path, whole, list->names[i], error);
        if (!status && stat(path, &info) != 0) status = error_set(error, STATUS_DATA, "%s: %m", path);
        if (status || S_ISDIR(info.st_mode)) continue;
        if (wrong < 5) misplaced[wrong] = list->names[i];
        wrong++;
    }
    if (!status && wrong) status = complain(source, folder, misplaced, wrong, "files outside the class folders", error);
    return status;
}

/* "train", "val" or "validation", "test"; "" when there is none. */
static Status find_folder(const Source *source, SourceSplitKind split, char name[16], Error *error)
{
    static const char *const NAMES[SOURCE_SPLITS][2] = {{"train", NULL}, {"val", "validation"}, {"test", NULL}};
    char path[PATH_SIZE];
    name[0] = 0;
    for (int i = 0; i < 2 && NAMES[split][i]; i++) {
        Status status = path_join(path, sizeof path, source->root, NAMES[split][i], error);
        if (status) return status;
        if (!file_exists(path)) continue;
        if (name[0])
            return error_set(error, STATUS_DATA, "%s: holds both %s/ and %s/; which one is to be the validation split?",
                             source->root, name, NAMES[split][i]);
        snprintf(name, 16, "%s", NAMES[split][i]);
    }
    return STATUS_OK;
}

/* Whether none of its entries is a folder: ImageNet's test images, say, whose classes nobody tells. */
static bool is_flat(const Source *source, const char *folder)
{
    char whole[PATH_SIZE], path[PATH_SIZE];
    NameList list = {0};
    Error ignored = {0};
    if (path_join(whole, sizeof whole, source->root, folder, &ignored)) return false;
    bool flat = name_list_folder(&list, whole, &ignored) == STATUS_OK;
    for (int i = 0; i < list.count && flat; i++) {
        struct stat info;
        if (path_join(path, sizeof path, whole, list.names[i], &ignored)) continue;
        flat = stat(path, &info) != 0 || !S_ISDIR(info.st_mode);
    }
    name_list_free(&list);
    return flat;
}

static Status leave_out(Source *source, const char *folder, const char *why, Error *error)
{
    char text[1200];
    snprintf(text, sizeof text, "%.1000s: %s", folder, why);
    return name_list_add(&source->left_out, text, error);
}

Status source_add_folders(Source *source, SourceSplitKind split, Error *error)
{
    char folder[16];
    Status status = find_folder(source, split, folder, error);
    if (status || !folder[0]) return status;
    if (split == SPLIT_TEST && is_flat(source, folder))
        return leave_out(source, folder, "its images are in no class folders, so nobody can tell their classes", error);
    NameList list = {0};
    status = list_classes(source, folder, &list, error);
    if (!status && !source->classes) status = source_set_classes(source, list.names, list.count, error);
    NameList known = {source->class_names, source->classes, 0};
    for (int i = 0; i < list.count && !status; i++) {
        int label = name_list_find(&known, list.names[i]);
        if (label < 0)
            status = error_set(error, STATUS_DATA, "%s/%s/%s: there is no such class in train/", source->root, folder,
                               list.names[i]);
        else
            status = read_class(source, split, folder, label, error);
    }
    name_list_free(&list);
    return status;
}

/* So that nobody misses images which were never read. */
static Status name_others(Source *source, Error *error)
{
    static const char *const TAKEN[] = {"train", "val", "validation", "test"};
    NameList list = {0};
    Status status = name_list_folder(&list, source->root, error);
    for (int i = 0; i < list.count && !status; i++) {
        char path[PATH_SIZE];
        struct stat info;
        bool known = strncmp(list.names[i], "ILSVRC2012_devkit", 17) == 0;
        for (size_t k = 0; k < sizeof TAKEN / sizeof TAKEN[0]; k++) known |= strcmp(list.names[i], TAKEN[k]) == 0;
        status = path_join(path, sizeof path, source->root, list.names[i], error);
        if (!status && !known && stat(path, &info) == 0 && S_ISDIR(info.st_mode))
            status = leave_out(source, list.names[i], "neither train/, val/, validation/ nor test/", error);
    }
    name_list_free(&list);
    return status;
}

Status source_open_folder(Source *source, Error *error)
{
    source->kind = "folder";
    source->encode_as = IMAGE_JPEG; /* what --resize makes smaller */
    source->read = source_read_file;
    Status status = STATUS_OK;
    for (int split = 0; split < SOURCE_SPLITS && !status; split++)
        status = source_add_folders(source, (SourceSplitKind)split, error);
    if (!status) status = name_others(source, error);
    return status;
}
