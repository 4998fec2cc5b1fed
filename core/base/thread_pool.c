#include "core/base/thread_pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"

/* Between two regions of a step lie microseconds, so a worker first spins; between two steps lie milliseconds of
 * other work on the same cores (decoding, communication), so it soon sleeps. */
enum { SPINS = 2000 };

/* What is left of a thread's tasks, from first to last - 1: last in the upper half. */
typedef struct Share {
    _Alignas(64) atomic_ullong left; /* a cache line of its own */
} Share;

struct Pool {
    int threads;
    pthread_t *workers; /* threads - 1: the caller is thread 0 */
    struct Worker *arguments;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    PoolWork works[POOL_WORKS]; /* the current region: written before `generation` moves */
    int work_count;
    Share *shares; /* (POOL_WORKS, threads) */
    atomic_uint generation;
    atomic_int busy; /* workers that have not finished the current region */
    atomic_bool closing;
    const atomic_int *stop; /* of the current region, as `works` */
};

struct Worker {
    Pool *pool;
    int thread;
};

static inline void spin_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static inline bool stopped(const Pool *pool)
{
    return pool->stop && atomic_load_explicit(pool->stop, memory_order_relaxed);
}

/* The first task that is left, for its owner, or the last, for the others; false when there is none. */
static bool take_task(Share *share, bool own, uint32_t *task)
{
    unsigned long long left = atomic_load_explicit(&share->left, memory_order_relaxed);
    for (;;) {
        uint32_t first = (uint32_t)left, last = (uint32_t)(left >> 32);
        if (first == last) return false;
        *task = own ? first : last - 1;
        unsigned long long rest = own ? left + 1 : left - (1ULL << 32);
        if (atomic_compare_exchange_weak_explicit(&share->left, &left, rest, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    }
}

/* Each thread begins with a contiguous share of its own, the same part of the batch in every region, so that what it
 * wrote in one it finds in its own cache in the next. Then it helps the others, from the end of theirs. */
static void run_tasks(Pool *pool, int thread)
{
    uint32_t task;
    for (int w = 0; w < pool->work_count; w++) {
        const PoolWork *work = &pool->works[w];
        for (int i = 0; i < pool->threads; i++) {
            Share *share = &pool->shares[w * pool->threads + (thread + i) % pool->threads];
            while (!stopped(pool) && take_task(share, i == 0, &task)) work->task(work->context, task, thread);
        }
    }
}

static void *worker_main(void *argument)
{
    struct Worker *worker = argument;
    Pool *pool = worker->pool;
    unsigned seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS && atomic_load_explicit(&pool->generation, memory_order_acquire) == seen; i++)
            spin_pause();
        if (atomic_load(&pool->generation) == seen) {
            pthread_mutex_lock(&pool->lock);
            while (atomic_load(&pool->generation) == seen) pthread_cond_wait(&pool->wake, &pool->lock);
            pthread_mutex_unlock(&pool->lock);
        }
        seen++;
        if (atomic_load(&pool->closing)) return NULL;
        run_tasks(pool, worker->thread);
        if (atomic_fetch_sub(&pool->busy, 1) == 1) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

static void next_generation(Pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->generation, 1);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

int pool_allowed_cpus(void)
{
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask) != 0) return 1;
    int count = CPU_COUNT(&mask);
    return count > 0 ? count : 1;
}

int pool_useful_threads(int wanted)
{
    int allowed = pool_allowed_cpus();
    return wanted > 0 && wanted < allowed ? wanted : allowed;
}

static const char PURPOSE[] = "the threads that compute";

Status pool_create(Pool **out, int threads, Error *error)
{
    if (threads < 0 || threads > 4096)
        return error_set(error, STATUS_USAGE, "threads: %d is not between 0 and 4096", threads);
    if (threads == 0) threads = pool_allowed_cpus();
    Pool *pool = memory_alloc(1, sizeof *pool, PURPOSE, error);
    if (!pool) return STATUS_FAILED;
    pool->workers = memory_alloc(threads, sizeof *pool->workers, PURPOSE, error);
    pool->arguments = memory_alloc(threads, sizeof *pool->arguments, PURPOSE, error);
    pool->shares =
        memory_alloc_aligned(_Alignof(Share), POOL_WORKS * (int64_t)threads, sizeof *pool->shares, PURPOSE, error);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->threads = 1;
    if (!pool->workers || !pool->arguments || !pool->shares) {
        pool_free(pool);
        return STATUS_FAILED;
    }
    for (int i = 1; i < threads; i++) {
        pool->arguments[i] = (struct Worker){pool, i};
        int code = pthread_create(&pool->workers[i], NULL, worker_main, &pool->arguments[i]);
        if (code) {
            pool_free(pool);
            return error_set(error, STATUS_FAILED, "cannot start thread %d of %d: %s", i + 1, threads, strerror(code));
        }
        pool->threads = i + 1;
    }
    *out = pool;
    return STATUS_OK;
}

void pool_free(Pool *pool)
{
    if (!pool) return;
    atomic_store(&pool->closing, true);
    next_generation(pool);
    for (int i = 1; i < pool->threads; i++) pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool->arguments);
    free(pool->shares);
    free(pool);
}

int pool_threads(const Pool *pool)
{
    return pool->threads;
}

void pool_stop_when(Pool *pool, const atomic_int *stop)
{
    pool->stop = stop;
}

void pool_run(Pool *pool, int64_t tasks, PoolTask task, void *context)
{
    PoolWork work = {tasks, task, context};
    pool_run_works(pool, &work, 1);
}

void pool_run_works(Pool *pool, const PoolWork *works, int count)
{
    int64_t tasks = 0;
    for (int w = 0; w < count; w++) tasks += works[w].tasks;
    if (pool->threads == 1 || tasks <= 1) {
        for (int w = 0; w < count; w++)
            for (int64_t i = 0; i < works[w].tasks && !stopped(pool); i++) works[w].task(works[w].context, i, 0);
        return;
    }
    pool->work_count = count;
    for (int w = 0; w < count; w++) {
        pool->works[w] = works[w];
        for (int i = 0; i < pool->threads; i++) {
            unsigned long long first = (unsigned long long)(works[w].tasks * i / pool->threads);
            unsigned long long last = (unsigned long long)(works[w].tasks * (i + 1) / pool->threads);
            atomic_store_explicit(&pool->shares[w * pool->threads + i].left, last << 32 | first, memory_order_relaxed);
        }
    }
    atomic_store(&pool->busy, pool->threads - 1);
    next_generation(pool);
    run_tasks(pool, 0);
    for (int i = 0; i < SPINS && atomic_load_explicit(&pool->busy, memory_order_acquire) > 0; i++) spin_pause();
    if (atomic_load(&pool->busy) > 0) {
        pthread_mutex_lock(&pool->lock);
        while (atomic_load(&pool->busy) > 0) pthread_cond_wait(&pool->done, &pool->lock);
        pthread_mutex_unlock(&pool->lock);
    }
}
