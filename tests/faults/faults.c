/* faults.c: a disk that misbehaves, for LD_PRELOAD. Only files whose path contains FAULT_PATH are touched.
 *
 *     FAULT=slow     each fsync takes FAULT_MS milliseconds more
 *     FAULT=short    each write takes at most half of what it is given
 *     FAULT=full     after FAULT_BYTES bytes of a process, writes fail with ENOSPC
 *     FAULT=broken   after FAULT_BYTES bytes of a process, writes fail with EIO
 *     FAULT=sync     each fsync of a file fails with EIO
 *     FAULT=reads    each look-up in an LMDB file takes FAULT_MS milliseconds more
 *     FAULT=signal   the write of number FAULT_COUNT sends SIGUSR1 to the parent, which is mpirun, and goes on when
 *                    it has been forwarded to this process
 */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_llong written, writes;
static atomic_int caught;
static void (*handler)(int);

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

static int meant_path(const char *path)
{
    const char *part = getenv("FAULT_PATH");
    return part && strstr(path, part) != NULL;
}

static int meant(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return meant_path(path);
}

static void sleep_longer(void)
{
    usleep((useconds_t)(1000 * number("FAULT_MS")));
}

static void forward(int signal)
{
    handler(signal);
    atomic_store(&caught, 1);
}

int sigaction(int signal, const struct sigaction *wanted, struct sigaction *before)
{
    int (*real)(int, const struct sigaction *, struct sigaction *);
    *(void **)&real = dlsym(RTLD_NEXT, "sigaction");
    if (signal != SIGUSR1 || !wanted || !is("signal")) return real(signal, wanted, before);
    struct sigaction ours = *wanted;
    handler = wanted->sa_handler;
    ours.sa_handler = forward;
    return real(signal, &ours, before);
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    ssize_t (*real)(int, const void *, size_t);
    *(void **)&real = dlsym(RTLD_NEXT, "write");
    if (!getenv("FAULT") || !meant(fd)) return real(fd, bytes, size);
    if (is("short") && size > 1) size /= 2;
    if (is("signal") && atomic_fetch_add(&writes, 1) + 1 == number("FAULT_COUNT")) {
        kill(getppid(), SIGUSR1);
        while (!atomic_load(&caught)) usleep(1000);
    }
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
        if (is("slow")) sleep_longer();
        if (is("sync")) {
            errno = EIO;
            return -1;
        }
    }
    return real(fd);
}

int mdb_get(void *txn, unsigned dbi, void *key, void *data)
{
    int (*real)(void *, unsigned, void *, void *), (*path_of)(void *, const char **);
    void *(*env_of)(void *);
    const char *path;
    *(void **)&real = dlsym(RTLD_NEXT, "mdb_get");
    *(void **)&env_of = dlsym(RTLD_NEXT, "mdb_txn_env");
    *(void **)&path_of = dlsym(RTLD_NEXT, "mdb_env_get_path");
    if (is("reads") && path_of(env_of(txn), &path) == 0 && meant_path(path)) sleep_longer();
    return real(txn, dbi, key, data);
}
