#include "core/base/path.h"

#include <stdio.h>
#include <string.h>

static Status path_check(char *path, size_t size, int length, const char *start, Error *error)
{
    if (length >= 0 && (size_t)length < size) return STATUS_OK;
    path[0] = 0;
    return error_set(error, STATUS_USAGE, "%.200s...: a path of %d bytes; at most %zu are possible here", start, length,
                     size - 1);
}

Status path_join(char *path, size_t size, const char *folder, const char *name, Error *error)
{
    size_t length = strlen(folder);
    const char *slash = length == 0 || folder[length - 1] == '/' ? "" : "/";
    return path_check(path, size, snprintf(path, size, "%s%s%s", folder, slash, name), folder, error);
}

Status path_parent(char *path, size_t size, const char *of, Error *error)
{
    const char *slash = strrchr(of, '/');
    int length = slash > of ? (int)(slash - of) : 1;
    return path_check(path, size, snprintf(path, size, "%.*s", length, slash ? of : "."), of, error);
}
