/* run_lock.h: one process per run folder, and whether the folder is still there.
 *
 * The lock is a flock on RUN/.lock, a file that nothing else uses. Who has it also holds the folder itself open, and so
 * can tell when its name leads elsewhere.
 *
 *     RunLock lock;
 *     Status status = run_lock_take(&lock, "runs/t14", error);
 *     ...
 *     status = run_lock_check(&lock, error);      // at each step
 *     ...
 *     run_lock_release(&lock);
 */
#ifndef DIST_TRAIN_RUN_LOCK_H
#define DIST_TRAIN_RUN_LOCK_H

#include <stdbool.h>
#include "core/base/status.h"

typedef struct RunLock {
    char folder[1024];
    bool taken;
    int directory, file; /* descriptors */
} RunLock;

/* STATUS_FAILED when another process has it, after some patience. The folder is there. */
Status run_lock_take(RunLock *lock, const char *folder, Error *error);
void run_lock_release(RunLock *lock); /* accepts a zeroed one */

/* STATUS_FAILED when the folder was renamed or removed, or when another process has taken it because somebody removed
 * the file. A removed file that nobody has taken is made again. */
Status run_lock_check(RunLock *lock, Error *error);

/* True while some process holds it, as far as this machine can see. */
bool run_lock_held(const char *folder);

#endif
