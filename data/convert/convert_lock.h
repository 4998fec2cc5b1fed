/* convert_lock.h: one conversion at a time into a folder.
 *
 * The lock is on DEST/.partial/lock, by fcntl, which works on NFS, too, and is gone when its process is. The first
 * process of a conversion holds it for all of them. Private to the conversion.
 */
#ifndef DATA_CONVERT_CONVERT_LOCK_H
#define DATA_CONVERT_CONVERT_LOCK_H

#include <stdbool.h>
#include "core/base/path.h"
#include "core/base/status.h"

typedef struct ConvertLock {
    char folder[PATH_SIZE], path[PATH_SIZE]; /* DEST/.partial, and the file in it */
    int fd;
    bool taken;
    bool works; /* false: the file system has no locks, so that nothing keeps others away */
} ConvertLock;

/* DEST and DEST/.partial, for the processes that do not take the lock. */
Status convert_make_folder(const char *dest, Error *error);
/* Makes them, too. STATUS_FAILED says which process of which machine is converting there. */
Status convert_lock_take(ConvertLock *lock, const char *dest, Error *error);
/* Removes the file, and the folder if it is empty. Accepts one that was not taken. */
void convert_lock_release(ConvertLock *lock);

#endif
