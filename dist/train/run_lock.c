#include "dist/train/run_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/path.h"

static const char NAME[] = ".lock";

/* A job that is started again at once may meet the last breath of the one before. */
static const double PATIENCE = 3; /* seconds */

/* Whether the descriptor is of what the path names now; true also when the system cannot say. */
static bool is_at(int descriptor, const char *path)
{
    struct stat own, there;
    if (fstat(descriptor, &own)) return true;
    if (stat(path, &there)) return errno != ENOENT && errno != ENOTDIR;
    return own.st_dev == there.st_dev && own.st_ino == there.st_ino;
}

/* Tries once. A file system without locks counts as success: better to train than not to. Success also needs the locked
 * file to be the one that the path still names, since another process may have replaced it. */
static Status try_lock(RunLock *lock, const char *path, bool *taken, Error *error)
{
    *taken = false;
    lock->file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock->file < 0) return error_set(error, STATUS_FAILED, "%s: cannot open: %s", path, strerror(errno));
    *taken = (flock(lock->file, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) && is_at(lock->file, path);
    if (!*taken) close(lock->file);
    return STATUS_OK;
}

static Status refuse_second(const RunLock *lock, Error *error)
{
    return error_set(error, STATUS_FAILED,
                     "%s: another process is training in this folder; wait for its end, or choose another --output",
                     lock->folder);
}

Status run_lock_take(RunLock *lock, const char *folder, Error *error)
{
    char path[PATH_SIZE];
    *lock = (RunLock){0};
    Status status = path_join(path, sizeof path, folder, NAME, error);
    if (status) return status;
    snprintf(lock->folder, sizeof lock->folder, "%s", folder);
    bool taken = false;
    for (double began = clock_seconds(); !taken;) {
        status = try_lock(lock, path, &taken, error);
        if (status) return status;
        if (!taken && clock_seconds() - began > PATIENCE) return refuse_second(lock, error);
        if (!taken) usleep(100000);
    }
    lock->directory = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (lock->directory < 0) {
        close(lock->file);
        return error_set(error, STATUS_FAILED, "%s: cannot open: %s", folder, strerror(errno));
    }
    lock->taken = true;
    return STATUS_OK;
}

void run_lock_release(RunLock *lock)
{
    if (lock->taken) {
        close(lock->directory);
        close(lock->file);
    }
    *lock = (RunLock){0};
}

/* The system still knows the name of an open folder, and whether it has one. */
static Status tell_where(const RunLock *lock, Error *error)
{
    char link[64], now[PATH_SIZE];
    struct stat own;
    snprintf(link, sizeof link, "/proc/self/fd/%d", lock->directory);
    ssize_t length = readlink(link, now, sizeof now - 1);
    bool known = length > 0 && fstat(lock->directory, &own) == 0 && own.st_nlink > 0;
    if (length > 0) now[length] = 0;
    error_set(error, STATUS_FAILED, "%s: the run folder was renamed or removed while training", lock->folder);
    if (known)
        return error_add(error, "  it is %s now; --output %s --resume auto goes on from its last checkpoint", now, now);
    return error_add(error, "  nothing of it is left; a new run needs a folder that stays");
}

Status run_lock_check(RunLock *lock, Error *error)
{
    char path[PATH_SIZE];
    if (!is_at(lock->directory, lock->folder)) return tell_where(lock, error);
    Status status = path_join(path, sizeof path, lock->folder, NAME, error);
    if (status || is_at(lock->file, path)) return status;
    RunLock again = *lock;
    bool taken;
    status = try_lock(&again, path, &taken, error);
    if (status) return status;
    if (!taken) return refuse_second(lock, error);
    close(lock->file);
    lock->file = again.file;
    return STATUS_OK;
}

bool run_lock_held(const char *folder)
{
    char path[PATH_SIZE];
    Error ignored = {0};
    if (path_join(path, sizeof path, folder, NAME, &ignored)) return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    return held;
}
