#include "dist/monitor/record_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Status record_file_open(int *fd, const char *path, Error *error)
{
    *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (*fd >= 0) return STATUS_OK;
    return error_set(error, STATUS_FAILED, "%s: cannot open for writing: %s", path, strerror(errno));
}

Status record_file_append(int fd, const void *bytes, size_t size, const char *what, Error *error)
{
    struct stat before;
    if (fstat(fd, &before) != 0) return error_set(error, STATUS_FAILED, "%s: %s", what, strerror(errno));
    const char *next = bytes;
    size_t left = size;
    while (left > 0) {
        ssize_t written = write(fd, next, left);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            int cause = written < 0 ? errno : ENOSPC;
            if (left < size && ftruncate(fd, before.st_size) != 0)
                return error_set(error, STATUS_FAILED, "%s: %s; half a record stays behind", what, strerror(cause));
            return error_set(error, STATUS_FAILED, "%s: cannot write: %s", what, strerror(cause));
        }
        next += written;
        left -= (size_t)written;
    }
    return STATUS_OK;
}
