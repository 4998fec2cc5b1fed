#include <criterion/criterion.h>
#include <sched.h>
#include <stdatomic.h>

#include "core/base/thread_pool.h"

enum { TASKS = 1000 };

typedef struct Job {
    atomic_int runs[TASKS];
    int threads;
} Job;

static void count_task(void *context, int64_t task, int thread)
{
    Job *job = context;
    cr_assert(thread >= 0 && thread < job->threads);
    atomic_fetch_add(&job->runs[task], 1);
}

Test(pool, every_task_runs_once_at_any_thread_count)
{
    for (int threads = 1; threads <= 5; threads++) {
        Error error = {0};
        Pool *pool;
        cr_assert_eq(pool_create(&pool, threads, &error), STATUS_OK, "%s", error.message);
        cr_assert_eq(pool_threads(pool), threads);
        static Job job;
        job = (Job){.threads = threads};
        for (int round = 0; round < 200; round++) pool_run(pool, round % 3 ? TASKS : round % 4, count_task, &job);
        int expected = 0;
        for (int round = 0; round < 200; round++) expected += round % 3 != 0;
        for (int i = 4; i < TASKS; i++) cr_assert_eq(atomic_load(&job.runs[i]), expected);
        pool_free(pool);
    }
}

/* The first task ends when all others have: those that come after it in its thread's share are done by the others. */
static void wait_for_others(void *context, int64_t task, int thread)
{
    Job *job = context;
    (void)thread;
    while (task == 0 && atomic_load(&job->runs[0]) < TASKS - 1) sched_yield();
    atomic_fetch_add(&job->runs[0], 1);
}

Test(pool, a_busy_thread_is_helped, .timeout = 60)
{
    for (int threads = 2; threads <= 4; threads++) {
        Error error = {0};
        Pool *pool;
        static Job job;
        job = (Job){.threads = threads};
        cr_assert_eq(pool_create(&pool, threads, &error), STATUS_OK, "%s", error.message);
        pool_run(pool, TASKS, wait_for_others, &job);
        cr_assert_eq(atomic_load(&job.runs[0]), TASKS);
        pool_free(pool);
    }
}

typedef struct Pair {
    atomic_int done[2];
    int expected; /* of the second work */
} Pair;

static void first_work(void *context, int64_t task, int thread)
{
    Pair *pair = context;
    (void)thread;
    while (task == 0 && atomic_load(&pair->done[1]) < pair->expected) sched_yield();
    atomic_fetch_add(&pair->done[0], 1);
}

static void second_work(void *context, int64_t task, int thread)
{
    Pair *pair = context;
    (void)task;
    (void)thread;
    atomic_fetch_add(&pair->done[1], 1);
}

/* The first work's first task ends when the whole second work has been done. */
Test(pool, works_of_one_region_do_not_wait_for_each_other, .timeout = 60)
{
    for (int threads = 1; threads <= 4; threads++) {
        Error error = {0};
        Pool *pool;
        cr_assert_eq(pool_create(&pool, threads, &error), STATUS_OK, "%s", error.message);
        for (int tasks = 0; tasks <= TASKS; tasks += TASKS / 4) {
            Pair pair = {.expected = threads > 1 ? tasks : 0};
            PoolWork works[] = {{7, first_work, &pair}, {tasks, second_work, &pair}};
            pool_run_works(pool, works, 2);
            cr_assert_eq(atomic_load(&pair.done[0]), 7);
            cr_assert_eq(atomic_load(&pair.done[1]), tasks);
        }
        pool_free(pool);
    }
}

typedef struct Stopping {
    atomic_int done, stop;
} Stopping;

/* The task in the middle tells the pool to stop; whatever begins after it waits until that is told, since its thread may
 * be held up just before. So each other thread begins one more task at most. */
static void stopping_task(void *context, int64_t task, int thread)
{
    Stopping *stopping = context;
    (void)task;
    (void)thread;
    int before = atomic_fetch_add(&stopping->done, 1);
    if (before == TASKS / 2) atomic_store(&stopping->stop, 1);
    while (before > TASKS / 2 && !atomic_load(&stopping->stop)) sched_yield();
}

Test(pool, begins_no_task_after_it_was_told_to_stop, .timeout = 60)
{
    for (int threads = 1; threads <= 4; threads++) {
        Error error = {0};
        Pool *pool;
        Stopping stopping = {0};
        cr_assert_eq(pool_create(&pool, threads, &error), STATUS_OK, "%s", error.message);
        pool_stop_when(pool, &stopping.stop);
        pool_run(pool, TASKS, stopping_task, &stopping);
        int done = atomic_load(&stopping.done);
        cr_expect(done > TASKS / 2 && done <= TASKS / 2 + threads, "%d of %d tasks", done, TASKS);
        pool_run(pool, 1, stopping_task, &stopping);
        cr_expect_eq(atomic_load(&stopping.done), done);
        pool_stop_when(pool, NULL);
        pool_run(pool, TASKS, stopping_task, &stopping);
        cr_expect_eq(atomic_load(&stopping.done), done + TASKS, "every task runs again");
        pool_free(pool);
    }
}

Test(pool, refuses_a_negative_count)
{
    Error error = {0};
    Pool *pool;
    cr_assert_eq(pool_create(&pool, -1, &error), STATUS_USAGE);
    cr_assert(error.message[0]);
}

/* 0 is all that the mask allows, and more than that would take turns. */
Test(pool, a_setting_is_cut_to_the_allowed_processors)
{
    cpu_set_t one;
    int allowed = pool_allowed_cpus();
    cr_assert_eq(pool_useful_threads(0), allowed);
    cr_assert_eq(pool_useful_threads(1), 1);
    cr_assert_eq(pool_useful_threads(allowed), allowed);
    cr_assert_eq(pool_useful_threads(4096), allowed);
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    cr_assert_eq(pool_useful_threads(0), 1);
    cr_assert_eq(pool_useful_threads(2), 1);
}
