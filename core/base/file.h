/* file.h: files that are either whole or not there.
 *
 * An AtomicFile is written under a temporary name beside its target ("NAME.tmp.PID"), then fsync, rename, fsync of the
 * folder. Whoever reads NAME sees the old content or the new one, whatever happens in between. The temporary file is
 * always a new one, never what a link of that name leads to. When the writer is killed it stays behind, until the owner of
 * the folder sweeps it.
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
#include "core/base/path.h"
#include "core/base/status.h"

typedef struct AtomicFile {
    int fd; /* -1 when closed */
    char path[PATH_SIZE];
    char temporary[PATH_SIZE + 32];
} AtomicFile;

Status atomic_file_open(AtomicFile *file, const char *path, Error *error);
Status atomic_file_write(AtomicFile *file, const void *bytes, size_t size, Error *error); /* retries short writes */
Status atomic_file_finish(AtomicFile *file, Status status, Error *error);

/* The whole file, zero-terminated (the zero is not counted), at most `limit` bytes; *bytes is freed by the caller. */
Status file_read(const char *path, size_t limit, char **bytes, size_t *size, Error *error);
/* The same of an open file, from its current place; `path` names it in messages. */
Status file_read_open(int fd, const char *path, size_t limit, char **bytes, size_t *size, Error *error);
Status file_write(const char *path, const void *bytes, size_t size, Error *error); /* atomic, as above */

/* Removes the temporary files of `names` (NULL ends them) in a folder, but for those that a living process is writing: it
 * holds a lock on them. Only for who owns the folder. What cannot be removed does no harm and stays. */
void file_sweep(const char *folder, const char *const *names);
bool file_is_temporary(const char *name, const char *of); /* whether `name` is OF.tmp.PID */
void file_remove_orphan(int folder, const char *name);    /* one such file, unless it is being written */

Status file_sync_folder(const char *path, Error *error);  /* fsync of the folder that holds `path` */
Status file_make_folders(const char *path, Error *error); /* mkdir -p */
bool file_exists(const char *path);
uint64_t file_size(const char *path); /* 0 when it cannot be told */

#endif
