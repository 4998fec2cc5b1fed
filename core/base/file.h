/* file.h: files that are either whole or not there.
 *
 * An AtomicFile is written under a temporary name beside its target ("NAME.tmp.PID"), then fsync, rename, fsync of the
 * folder. Whoever reads NAME sees the old content or the new one, whatever happens in between.
 *
 *     AtomicFile file;
 *     Status status = atomic_file_open(&file, path, error);
 *     if (!status) status = atomic_file_write(&file, bytes, size, error);
 *     return atomic_file_finish(&file, status, error);    // commits, or on failure removes the temporary
 */
#ifndef CORE_BASE_FILE_H
#define CORE_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/base/status.h"

typedef struct AtomicFile {
    int fd; /* -1 when closed */
    char path[4096];
    char temporary[4128];
} AtomicFile;

Status atomic_file_open(AtomicFile *file, const char *path, Error *error);
Status atomic_file_write(AtomicFile *file, const void *bytes, size_t size, Error *error); /* retries short writes */
Status atomic_file_finish(AtomicFile *file, Status status, Error *error);

/* The whole file, zero-terminated (the zero is not counted), at most `limit` bytes; *bytes is freed by the caller. */
Status file_read(const char *path, size_t limit, char **bytes, size_t *size, Error *error);
Status file_write(const char *path, const void *bytes, size_t size, Error *error); /* atomic, as above */

Status file_sync_folder(const char *path, Error *error);  /* fsync of the folder that holds `path` */
Status file_make_folders(const char *path, Error *error); /* mkdir -p */
bool file_exists(const char *path);
uint64_t file_size(const char *path); /* 0 when it cannot be told */

#endif
