#include "data/convert/convert_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/file.h"

static const double PATIENCE = 2; /* seconds for a process that was just killed to be gone */

/* The holder of the lock removes the file at its end: what was opened before that is nobody's lock any more. */
static bool is_at(int fd, const char *path)
{
    struct stat own, there;
    return fstat(fd, &own) == 0 && stat(path, &there) == 0 && own.st_dev == there.st_dev && own.st_ino == there.st_ino;
}

static void sign(int fd)
{
    char host[256] = "", text[320];
    gethostname(host, sizeof host - 1);
    int length = snprintf(text, sizeof text, "process %ld on %s", (long)getpid(), host);
    /* Only for the message of others: a failure to write does no harm. */
    if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)length, 0) < 0) return;
}

static Status refuse(const ConvertLock *lock, const char *dest, Error *error)
{
    char holder[320] = "";
    int fd = open(lock->path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, holder, sizeof holder - 1);
    if (length <= 0) snprintf(holder, sizeof holder, "another process");
    if (fd >= 0) close(fd);
    error_set(error, STATUS_FAILED, "%s: %s is converting into this folder", dest, holder);
    return error_add(error, "  hint: wait for its end, or choose another folder");
}

/* One try. *taken: the lock is ours, or the file system has none. */
static Status try_lock(ConvertLock *lock, bool *taken, Error *error)
{
    *taken = false;
    Status status = file_make_folders(lock->folder, error);
    if (status) return status;
    lock->fd = open(lock->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (lock->fd < 0 && errno == ENOENT) return STATUS_OK; /* its holder has just removed the folder */
    if (lock->fd < 0) return error_set(error, STATUS_FAILED, "%s: cannot open: %m", lock->path);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    lock->works = fcntl(lock->fd, F_SETLK, &whole) == 0;
    bool held = !lock->works && (errno == EACCES || errno == EAGAIN);
    *taken = !held && is_at(lock->fd, lock->path);
    if (!*taken) close(lock->fd);
    return STATUS_OK;
}

Status convert_make_folder(const char *dest, Error *error)
{
    char path[PATH_SIZE];
    Status status = path_join(path, sizeof path, dest, ".partial", error);
    return status ? status : file_make_folders(path, error);
}

Status convert_lock_take(ConvertLock *lock, const char *dest, Error *error)
{
    *lock = (ConvertLock){0};
    Status status = path_join(lock->folder, sizeof lock->folder, dest, ".partial", error);
    if (!status) status = path_join(lock->path, sizeof lock->path, lock->folder, "lock", error);
    for (double began = clock_seconds(); !status && !lock->taken;) {
        status = try_lock(lock, &lock->taken, error);
        if (status || lock->taken) break;
        if (clock_seconds() - began > PATIENCE) return refuse(lock, dest, error);
        usleep(50000);
    }
    if (lock->taken) sign(lock->fd);
    return status;
}

void convert_lock_release(ConvertLock *lock)
{
    if (lock->taken) {
        unlink(lock->path);
        close(lock->fd);
        rmdir(lock->folder);
    }
    *lock = (ConvertLock){0};
}
