#include "data/convert/imagenet_devkit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "core/base/file.h"

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
        return error_set(error, STATUS_DATA, "%s: %s: twice in it, or of %lld bytes", path,
                         archive_entry_pathname(entry), (long long)length);
    *bytes = malloc((size_t)length + 1);
    if (!*bytes) return error_set(error, STATUS_FAILED, "%s: no memory", path);
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
    if (!archive) return error_set(error, STATUS_FAILED, "%s: no memory", path);
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

static Status find_files(Files *files, const char *folder, char path[4096], Error *error)
{
    char truth[4096];
    snprintf(path, 4096, "%s/ILSVRC2012_devkit_t12.tar.gz", folder);
    if (file_exists(path)) return read_archive(files, path, error);
    snprintf(path, 4096, "%s/ILSVRC2012_devkit_t12/%s", folder, META);
    snprintf(truth, sizeof truth, "%s/ILSVRC2012_devkit_t12/%s", folder, TRUTH);
    Status status = STATUS_OK;
    if (file_exists(path)) status = file_read(path, TEXT_LIMIT, &files->meta, &files->meta_size, error);
    if (!status && file_exists(truth)) status = file_read(truth, TEXT_LIMIT, &files->truth, &files->truth_size, error);
    return status;
}

static void keep_classes(ImagenetDevkit *devkit)
{
    int kept = 0;
    for (int i = 0; i < devkit->synset_count; i++)
        if (devkit->synsets[i].children == 0) devkit->synsets[kept++] = devkit->synsets[i];
    devkit->synset_count = kept;
}

static const Synset *find_id(const ImagenetDevkit *devkit, long id)
{
    for (int i = 0; i < devkit->synset_count; i++)
        if (devkit->synsets[i].id == id) return &devkit->synsets[i];
    return NULL;
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
        const Synset *synset = find_id(devkit, id);
        if (end == line || *end > ' ' || !synset)
            return error_set(error, STATUS_DATA, "%s: line %d of the ground truth, '%.20s', is not the id of a class",
                             path, number, line);
        status = name_list_add(&devkit->val_wnids, synset->wnid, error);
    }
    return status;
}

static Status read_wnids(ImagenetDevkit *devkit, const char *folder, Error *error)
{
    char path[4096], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/val_wnids.txt", folder);
    if (devkit->val_wnids.count || !file_exists(path)) return STATUS_OK;
    Status status = file_read(path, TEXT_LIMIT, &text, &size, error);
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
    char path[4096];
    Files files = {0};
    Status status = find_files(&files, folder, path, error);
    if (!status && files.meta)
        status = matfile_synsets(files.meta, files.meta_size, path, &devkit->synsets, &devkit->synset_count, error);
    keep_classes(devkit);
    if (!status && files.truth) status = read_truth(devkit, files.truth, path, error);
    if (!status) status = read_wnids(devkit, folder, error);
    free(files.meta);
    free(files.truth);
    if (status) imagenet_devkit_free(devkit);
    return status;
}

void imagenet_devkit_free(ImagenetDevkit *devkit)
{
    free(devkit->synsets);
    name_list_free(&devkit->val_wnids);
    *devkit = (ImagenetDevkit){0};
}

const char *imagenet_devkit_words(const ImagenetDevkit *devkit, const char *wnid)
{
    for (int i = 0; i < devkit->synset_count; i++)
        if (strcmp(devkit->synsets[i].wnid, wnid) == 0)
            return devkit->synsets[i].words[0] ? devkit->synsets[i].words : NULL;
    return NULL;
}

Status imagenet_devkit_set_classes(const ImagenetDevkit *devkit, Source *source, char *const *names, int count,
                                   Error *error)
{
    char **words = calloc((size_t)count + 1, sizeof *words);
    if (!words) return error_set(error, STATUS_FAILED, "no memory for the classes");
    for (int i = 0; i < count; i++) words[i] = (char *)(uintptr_t)imagenet_devkit_words(devkit, names[i]);
    Status status = source_set_classes(source, names, words, count, error);
    free(words);
    return status;
}
