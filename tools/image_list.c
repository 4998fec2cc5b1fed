#include "tools/image_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "core/base/memory.h"
#include "core/base/path.h"

enum { DEEPEST = 32 }; /* a link to a folder above it would go on for ever */

static Status append(ImageList *list, const char *path, Error *error)
{
    if (list->count == list->capacity) {
        int capacity = list->capacity ? 2 * list->capacity : 64;
        Status status =
            memory_resize((void **)&list->paths, capacity, sizeof *list->paths, "the list of images", error);
        if (status) return status;
        list->capacity = capacity;
    }
    list->paths[list->count] = memory_copy_text(path, "the list of images", error);
    if (!list->paths[list->count]) return STATUS_FAILED;
    list->count++;
    return STATUS_OK;
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool looks_like_an_image(const char *name)
{
    static const char *const ENDS[] = {".jpg", ".jpeg", ".png"};
    const char *end = strrchr(name, '.');
    for (size_t i = 0; end && i < sizeof ENDS / sizeof ENDS[0]; i++)
        if (strcasecmp(end, ENDS[i]) == 0) return true;
    return false;
}

static int is_shown(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static Status add_folder(ImageList *list, const char *folder, int depth, Error *error)
{
    struct dirent **entries;
    char path[PATH_SIZE];
    if (depth > DEEPEST)
        return error_set(error, STATUS_DATA, "%s: more than %d folders deep; does a link lead back up?", folder,
                         DEEPEST);
    int count = scandir(folder, &entries, is_shown, by_bytes);
    if (count < 0) return error_set(error, STATUS_DATA, "%s: cannot read the folder: %s", folder, strerror(errno));
    Status status = STATUS_OK;
    for (int i = 0; i < count; i++) {
        if (!status) status = path_join(path, sizeof path, folder, entries[i]->d_name, error);
        if (!status && is_folder(path))
            status = add_folder(list, path, depth + 1, error);
        else if (!status && looks_like_an_image(entries[i]->d_name))
            status = append(list, path, error);
        free(entries[i]);
    }
    free(entries);
    return status;
}

Status image_list_add(ImageList *list, const char *path, Error *error)
{
    if (!is_folder(path)) return append(list, path, error);
    int before = list->count;
    Status status = add_folder(list, path, 0, error);
    if (!status && list->count == before)
        status = error_set(error, STATUS_DATA, "%s: no file in it ends with .jpg, .jpeg or .png", path);
    return status;
}

Status image_list_read(ImageList *list, const char *file, Error *error)
{
    FILE *in = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
    if (!in) return error_set(error, STATUS_DATA, "%s: cannot open: %s", file, strerror(errno));
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    Status status = STATUS_OK;
    while (!status && (size = getline(&line, &room, in)) >= 0) {
        if (size > 0 && line[size - 1] == '\n') line[--size] = 0;
        if (size > 0 && line[size - 1] == '\r') line[--size] = 0;
        if (size > 0) status = image_list_add(list, line, error);
    }
    if (!status && ferror(in)) status = error_set(error, STATUS_DATA, "%s: cannot read: %s", file, strerror(errno));
    free(line);
    if (in != stdin) fclose(in);
    return status;
}

void image_list_free(ImageList *list)
{
    for (int i = 0; i < list->count; i++) free(list->paths[i]);
    free(list->paths);
    *list = (ImageList){0};
}
