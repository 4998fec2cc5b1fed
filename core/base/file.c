#include "core/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/memory.h"
#include "core/base/path.h"

static const char TEMPORARY[] = ".tmp."; /* NAME.tmp.PID */

/* A file that is there has the same process number and so belongs to a process that is gone: it, or the link that it is,
 * is removed, and never written through. */
static int create_temporary(const char *path)
{
    enum { FLAGS = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC };
    int fd = open(path, FLAGS, 0666);
    if (fd < 0 && errno == EEXIST && unlink(path) == 0) fd = open(path, FLAGS, 0666);
    return fd;
}

Status atomic_file_open(AtomicFile *file, const char *path, Error *error)
{
    file->fd = -1;
    int length = snprintf(file->path, sizeof file->path, "%s", path);
    if (length <= 0 || (size_t)length >= sizeof file->path)
        return error_set(error, STATUS_USAGE, "a file name of %d bytes: 1 to %zu are possible", length,
                         sizeof file->path - 1);
    snprintf(file->temporary, sizeof file->temporary, "%s%s%ld", path, TEMPORARY, (long)getpid());
    file->fd = create_temporary(file->temporary);
    if (file->fd < 0) return error_set(error, STATUS_FAILED, "%s: cannot create: %s", file->temporary, strerror(errno));
    /* While it is held, file_sweep leaves the file alone. Where the file system knows no locks, nothing holds. */
    flock(file->fd, LOCK_EX | LOCK_NB);
    return STATUS_OK;
}

Status atomic_file_write(AtomicFile *file, const void *bytes, size_t size, Error *error)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t written = write(file->fd, at, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0)
            return error_set(error, STATUS_FAILED, "%s: cannot write: %s", file->temporary,
                             written < 0 ? strerror(errno) : "the system took no bytes");
        at += written;
        size -= (size_t)written;
    }
    return STATUS_OK;
}

Status atomic_file_finish(AtomicFile *file, Status status, Error *error)
{
    if (file->fd < 0) return status;
    if (!status && fsync(file->fd) != 0)
        status = error_set(error, STATUS_FAILED, "%s: cannot sync: %s", file->temporary, strerror(errno));
    if (close(file->fd) != 0 && !status)
        status = error_set(error, STATUS_FAILED, "%s: cannot close: %s", file->temporary, strerror(errno));
    file->fd = -1;
    if (!status && rename(file->temporary, file->path) != 0)
        status = error_set(error, STATUS_FAILED, "%s: cannot rename to %s: %s", file->temporary, file->path,
                           strerror(errno));
    if (status) {
        unlink(file->temporary);
        return status;
    }
    return file_sync_folder(file->path, error);
}

/* ---- what writers that died have left */

bool file_is_temporary(const char *name, const char *of)
{
    size_t length = strlen(of), prefix = sizeof TEMPORARY - 1;
    if (strncmp(name, of, length) != 0 || strncmp(name + length, TEMPORARY, prefix) != 0) return false;
    const char *digits = name + length + prefix;
    return digits[0] && digits[strspn(digits, "0123456789")] == 0;
}

void file_remove_orphan(int folder, const char *name)
{
    struct stat info;
    int fd = openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return;
    bool written = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (!written && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) unlinkat(folder, name, 0);
    close(fd);
}

void file_sweep(const char *folder, const char *const *names)
{
    DIR *directory = opendir(folder);
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));)
        for (int i = 0; names[i]; i++)
            if (file_is_temporary(entry->d_name, names[i])) file_remove_orphan(dirfd(directory), entry->d_name);
    closedir(directory);
}

/* ---- reading */

Status file_read_open(int fd, const char *path, size_t limit, char **bytes, size_t *size, Error *error)
{
    struct stat info;
    if (fstat(fd, &info) != 0) return error_set(error, STATUS_DATA, "%s: cannot stat: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode)) return error_set(error, STATUS_DATA, "%s: not a regular file", path);
    if ((uint64_t)info.st_size > limit)
        return error_set(error, STATUS_DATA, "%s: %" PRId64 " bytes; at most %zu are expected", path,
                         (int64_t)info.st_size, limit);
    size_t expected = (size_t)info.st_size, used = 0;
    char *content = memory_alloc((int64_t)expected + 1, 1, path, error);
    if (!content) return STATUS_FAILED;
    while (used < expected) {
        ssize_t got = read(fd, content + used, expected - used);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) {
            free(content);
            return error_set(error, STATUS_DATA, "%s: cannot read at byte %zu of %zu: %s", path, used, expected,
                             got < 0 ? strerror(errno) : "the file became shorter");
        }
        used += (size_t)got;
    }
    content[used] = 0;
    *bytes = content;
    *size = used;
    return STATUS_OK;
}

Status file_read(const char *path, size_t limit, char **bytes, size_t *size, Error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return error_set(error, STATUS_DATA, "%s: cannot open: %s", path, strerror(errno));
    Status status = file_read_open(fd, path, limit, bytes, size, error);
    close(fd);
    return status;
}

Status file_write(const char *path, const void *bytes, size_t size, Error *error)
{
    AtomicFile file;
    Status status = atomic_file_open(&file, path, error);
    if (!status) status = atomic_file_write(&file, bytes, size, error);
    return atomic_file_finish(&file, status, error);
}

Status file_sync_folder(const char *path, Error *error)
{
    char name[PATH_SIZE];
    Status status = path_parent(name, sizeof name, path, error);
    if (status) return status;
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return error_set(error, STATUS_FAILED, "%s: cannot open the folder: %s", name, strerror(errno));
    /* Some network file systems refuse fsync on folders; there a rename is as durable as it can be made. */
    if (fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP)
        status = error_set(error, STATUS_FAILED, "%s: cannot sync the folder: %s", name, strerror(errno));
    close(fd);
    return status;
}

Status file_make_folders(const char *path, Error *error)
{
    char part[PATH_SIZE];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part)
        return error_set(error, STATUS_USAGE, "a folder name of %zu bytes: 1 to %zu are possible", length,
                         sizeof part - 1);
    memcpy(part, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (part[i] != '/' && part[i] != 0) continue;
        part[i] = 0;
        int code = mkdir(part, 0777) == 0 ? 0 : errno;
        struct stat info;
        if (code && (stat(part, &info) != 0 || !S_ISDIR(info.st_mode)))
            return error_set(error, STATUS_FAILED, "%s: cannot make the folder: %s", part,
                             code == EEXIST ? "there is a file of that name" : strerror(code));
        part[i] = path[i];
    }
    return STATUS_OK;
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

uint64_t file_size(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
}
