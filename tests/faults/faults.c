/* faults.c: a disk that misbehaves, for LD_PRELOAD. Only files whose path contains FAULT_PATH are touched.
 *
 *     FAULT=slow     each fsync takes FAULT_MS milliseconds more
 *     FAULT=short    each write takes at most half of what it is given
 *     FAULT=full     after FAULT_BYTES bytes of a process, writes fail with ENOSPC
 *     FAULT=broken   after FAULT_BYTES bytes of a process, writes fail with EIO
 *     FAULT=sync     each fsync of a file fails with EIO
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_llong written;

static int is(const char *fault)
{
    const char *wanted = getenv("FAULT");
    return wanted && strcmp(wanted, fault) == 0;
}

static long long number(const char *name)
{
    const char *text = getenv(name);
    return text ? atoll(text) : 0;
}

static int meant(int fd)
{
    char link[64], path[4096];
    const char *part = getenv("FAULT_PATH");
    if (!part) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, part) != NULL;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    ssize_t (*real)(int, const void *, size_t);
    *(void **)&real = dlsym(RTLD_NEXT, "write");
    if (!getenv("FAULT") || !meant(fd)) return real(fd, bytes, size);
    if (is("short") && size > 1) size /= 2;
    if ((is("full") || is("broken")) && atomic_fetch_add(&written, (long long)size) >= number("FAULT_BYTES")) {
        errno = is("full") ? ENOSPC : EIO;
        return -1;
    }
    return real(fd, bytes, size);
}

int fsync(int fd)
{
    int (*real)(int);
    *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    if (getenv("FAULT") && meant(fd)) {
        if (is("slow")) usleep((useconds_t)(1000 * number("FAULT_MS")));
        if (is("sync")) {
            errno = EIO;
            return -1;
        }
    }
    return real(fd);
}
