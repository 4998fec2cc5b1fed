#include "data/convert/imagenet_devkit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/base/path.h"
#include "data/dataset/imagenet_classes.h"

enum { TEXT_LIMIT = 64 << 20 };

static const char META[] = "data/meta.mat";
static const char TRUTH[] = "data/ILSVRC2012_validation_ground_truth.txt";

typedef struct Files {
    char *meta, *truth;
    size_t meta_size, truth_size;
} Files;

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

static Status read_entry(struct archive *archive, struct archive_entry *entry, const char *path, char **bytes,
                         size_t *size, Error *error)
{
    int64_t length = archive_entry_size(entry);
    if (*bytes || length < 0 || length > TEXT_LIMIT)
        return error_set(error, STATUS_DATA, "%s: %s: twice in it, or of %" PRId64 " bytes", path,
                         archive_entry_pathname(entry), length);
    *bytes = memory_alloc(length + 1, 1, "a file of the devkit", error);
    if (!*bytes) return STATUS_FAILED;
    la_ssize_t got = archive_read_data(archive, *bytes, (size_t)length);
    if (got != length)
        return error_set(error, STATUS_DATA, "%s: cannot read %s: %s", path, archive_entry_pathname(entry),
                         got < 0 ? archive_error_string(archive) : "cut off");
    (*bytes)[length] = 0;
    *size = (size_t)length;
    return STATUS_OK;
}

static Status read_archive(Files *files, const char *path, Error *error)
{
    struct archive *archive = archive_read_new();
    if (!archive) return memory_failed(path, error);
    archive_read_support_filter_gzip(archive); /* `all` would start programs for filters that libarchive lacks */
    archive_read_support_format_tar(archive);
    Status status = STATUS_OK;
    struct archive_entry *entry;
    int code = archive_read_open_filename(archive, path, 1 << 16);
    while (code == ARCHIVE_OK && !status && (code = archive_read_next_header(archive, &entry)) == ARCHIVE_OK) {
        const char *name = archive_entry_pathname(entry);
        if (name && ends_with(name, META))
            status = read_entry(archive, entry, path, &files->meta, &files->meta_size, error);
        else if (name && ends_with(name, TRUTH))
            status = read_entry(archive, entry, path, &files->truth, &files->truth_size, error);
    }
    if (!status && code != ARCHIVE_EOF && code != ARCHIVE_OK)
        status = error_set(error, STATUS_DATA, "%s: %s", path, archive_error_string(archive));
    archive_read_free(archive);
    return status;
}

static Status find_files(Files *files, const char *folder, char path[PATH_SIZE], Error *error)
{
    char unpacked[PATH_SIZE], truth[PATH_SIZE];
    Status status = path_join(path, PATH_SIZE, folder, "ILSVRC2012_devkit_t12.tar.gz", error);
    if (!status && file_exists(path)) return read_archive(files, path, error);
    if (!status) status = path_join(unpacked, sizeof unpacked, folder, "ILSVRC2012_devkit_t12", error);
    if (!status) status = path_join(path, PATH_SIZE, unpacked, META, error);
    if (!status) status = path_join(truth, sizeof truth, unpacked, TRUTH, error);
    if (!status && file_exists(path)) status = file_read(path, TEXT_LIMIT, &files->meta, &files->meta_size, error);
    if (!status && file_exists(truth)) status = file_read(truth, TEXT_LIMIT, &files->truth, &files->truth_size, error);
    return status;
}

/* MAT-files of level 5 (MathWorks, "MAT-File Format"): a head of 128 bytes, then elements of a tag of 8 bytes and data.
 * All of meta.mat is one element; as MATLAB writes it, compressed. *plain is the caller's; NULL: it is not
 * compressed. */
static Status inflate_meta(const char *path, const char *bytes, size_t size, char **plain, size_t *plain_size,
                           Error *error)
{
    enum { HEAD = 128, TAG = 8, COMPRESSED = 15, INFLATED_LIMIT = 16 << 20 };
    *plain = NULL;
    if (size < HEAD + TAG || bytes[HEAD] != COMPRESSED) return STATUS_OK;
    uLongf length = INFLATED_LIMIT;
    *plain = memory_alloc(INFLATED_LIMIT, 1, "the devkit's table of classes", error);
    if (!*plain) return STATUS_FAILED;
    if (uncompress((Bytef *)*plain, &length, (const Bytef *)bytes + HEAD + TAG, size - HEAD - TAG) != Z_OK)
        return error_set(error, STATUS_DATA, "%s: meta.mat: damaged, or more than %d bytes", path, INFLATED_LIMIT);
    *plain_size = length;
    return STATUS_OK;
}

/* The next WordNet id, such as n02119789, of a MAT-file's text, whose characters have 8 or 16 bits. */
static bool next_wnid(const char **at, const char *end, char wnid[10])
{
    int length = 0;
    while (*at < end && length < 9) {
        char c = *(*at)++;
        if (c == 0) continue;
        if (length > 0 && (c < '0' || c > '9')) length = 0;
        if (length > 0 || c == 'n') wnid[length++] = c;
    }
    wnid[length] = 0;
    return length == 9;
}

/* The synsets of meta.mat stand in the order of ILSVRC2012_ID, the classes before their ancestors (the devkit's readme).
 * Ids of another table would give every validation image a wrong label. */
static Status check_classes(const char *path, const char *text, size_t size, Error *error)
{
    const char *at = text;
    for (int id = 1; id <= IMAGENET_CLASSES; id++) {
        char wnid[10];
        const char *expected = imagenet_class_of_id(id)->wnid;
        if (!next_wnid(&at, text + size, wnid))
            return error_set(error, STATUS_DATA, "%s: meta.mat: %d classes; expected the %d of ILSVRC2012", path,
                             id - 1, IMAGENET_CLASSES);
        if (strcmp(wnid, expected) != 0)
            return error_set(error, STATUS_DATA, "%s: meta.mat: class %d is %s, that of ILSVRC2012 is %s", path, id,
                             wnid, expected);
    }
    return STATUS_OK;
}

static Status check_meta(const char *path, const Files *files, Error *error)
{
    char *plain;
    size_t size = files->meta_size;
    Status status = inflate_meta(path, files->meta, files->meta_size, &plain, &size, error);
    if (!status) status = check_classes(path, plain ? plain : files->meta, size, error);
    free(plain);
    return status;
}

static Status read_truth(ImagenetDevkit *devkit, char *text, const char *path, Error *error)
{
    Status status = STATUS_OK;
    int number = 0;
    for (char *line; (line = strsep(&text, "\n")) && !status;) {
        char *end;
        number++;
        long id = strtol(line, &end, 10);
        if (end == line && strspn(line, " \r\t") == strlen(line)) continue;
        const ImagenetClass *class = id <= IMAGENET_CLASSES ? imagenet_class_of_id((int)id) : NULL;
        if (end == line || *end > ' ' || !class)
            return error_set(error, STATUS_DATA, "%s: line %d of the ground truth, '%.20s', is not the id of a class",
                             path, number, line);
        status = name_list_add(&devkit->val_wnids, class->wnid, error);
    }
    return status;
}

static Status read_wnids(ImagenetDevkit *devkit, const char *folder, Error *error)
{
    char path[PATH_SIZE], *text;
    size_t size;
    Status status = path_join(path, sizeof path, folder, "val_wnids.txt", error);
    if (status || devkit->val_wnids.count || !file_exists(path)) return status;
    status = file_read(path, TEXT_LIMIT, &text, &size, error);
    if (status) return status;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) && !status;) {
        line[strcspn(line, " \r\t")] = 0;
        if (line[0]) status = name_list_add(&devkit->val_wnids, line, error);
    }
    free(text);
    return status;
}

Status imagenet_devkit_load(ImagenetDevkit *devkit, const char *folder, Error *error)
{
    *devkit = (ImagenetDevkit){0};
    char path[PATH_SIZE];
    Files files = {0};
    Status status = find_files(&files, folder, path, error);
    if (!status && files.meta) status = check_meta(path, &files, error);
    if (!status && files.truth) status = read_truth(devkit, files.truth, path, error);
    devkit->official = devkit->val_wnids.count > 0;
    if (!status) status = read_wnids(devkit, folder, error);
    free(files.meta);
    free(files.truth);
    if (status) imagenet_devkit_free(devkit);
    return status;
}

void imagenet_devkit_free(ImagenetDevkit *devkit)
{
    name_list_free(&devkit->val_wnids);
    *devkit = (ImagenetDevkit){0};
}
