/* memory_folder.h: a folder whose files are in memory, for readers that take the path of a folder.
 *
 * The folder itself is made once; its files are symbolic links to memfds of this process, so that an input costs no
 * write to a disk. */
#ifndef TESTS_FUZZ_MEMORY_FOLDER_H
#define TESTS_FUZZ_MEMORY_FOLDER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/command.h"

enum { MEMORY_FILES = 4 };

typedef struct MemoryFolder {
    char path[64];
    struct MemoryFile {
        char link[128];
        int fd;
    } files[MEMORY_FILES];
    int count;
} MemoryFolder;

static MemoryFolder memory_folder;

static void memory_folder_remove(void)
{
    for (int i = 0; i < memory_folder.count; i++) unlink(memory_folder.files[i].link);
    rmdir(memory_folder.path);
}

/* The files keep their number: the first call for number i names it, later ones replace its bytes. */
static inline const char *memory_folder_put(int number, const char *name, const uint8_t *bytes, size_t size)
{
    if (!memory_folder.path[0]) {
        if (!make_unique_folder(memory_folder.path, sizeof memory_folder.path, "/tmp")) abort();
        atexit(memory_folder_remove);
    }
    struct MemoryFile *file = &memory_folder.files[number];
    if (number == memory_folder.count) {
        char target[64];
        file->fd = memfd_create(name, MFD_CLOEXEC);
        snprintf(file->link, sizeof file->link, "%s/%s", memory_folder.path, name);
        snprintf(target, sizeof target, "/proc/%d/fd/%d", (int)getpid(), file->fd);
        if (file->fd < 0 || symlink(target, file->link) != 0) abort();
        memory_folder.count++;
    }
    if (ftruncate(file->fd, 0) != 0 || pwrite(file->fd, bytes, size, 0) != (ssize_t)size) abort();
    return memory_folder.path;
}

#endif
