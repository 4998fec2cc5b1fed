/* thread_pool.h: the threads that compute.
 *
 * A pool runs numbered tasks on its threads and returns when all are done. Who runs which task is not fixed, so a
 * task's result must depend on its number alone; then results are the same, bit for bit, at any thread count. Tiles
 * are therefore of fixed size, never "rows / threads".
 *
 *     static void scale_task(void *context, int64_t task, int thread) { ... }
 *     pool_run(pool, tiles, scale_task, &job);
 *
 * A thread begins with the same share of the numbers in every region, so tasks of one region that use what tasks of the
 * one before wrote should be numbered alike: by rows of the batch.
 *
 * `thread` (0 .. pool_threads-1) picks a scratch buffer and nothing else. pool_run is called by one thread at a time
 * and does not nest.
 */
#ifndef CORE_BASE_THREAD_POOL_H
#define CORE_BASE_THREAD_POOL_H

#include <stdatomic.h>
#include <stdint.h>
#include "core/base/status.h"

typedef struct Pool Pool;
typedef void (*PoolTask)(void *context, int64_t task, int thread);

/* threads = 0: as many as the affinity mask allows. The calling thread is one of them. */
Status pool_create(Pool **pool, int threads, Error *error);
void pool_free(Pool *pool); /* accepts NULL */
int pool_threads(const Pool *pool);
void pool_run(Pool *pool, int64_t tasks, PoolTask task, void *context); /* tasks < 2^32 */

typedef struct PoolWork {
    int64_t tasks; /* < 2^32 */
    PoolTask task;
    void *context;
} PoolWork;

enum { POOL_WORKS = 2 };

/* Runs at most POOL_WORKS independent works. A thread that finds no task left in one work goes on to the next without
 * waiting for the others, so the work whose tasks are long should come first. */
void pool_run_works(Pool *pool, const PoolWork *works, int count);

/* From now on no task is begun while *stop is not zero: the results of the regions are then worthless, and pool_run
 * returns as soon as the tasks under way have ended. NULL, as at first: every task runs. A signal handler may set the
 * flag. Called by the thread that calls pool_run. */
void pool_stop_when(Pool *pool, const atomic_int *stop);

int pool_allowed_cpus(void); /* processors in this process's affinity mask */

/* How many threads a setting means: at most as many as there are allowed processors, which is also what 0 means. More
 * would only take turns. */
int pool_useful_threads(int wanted);

#endif
