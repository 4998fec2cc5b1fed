#include <criterion/criterion.h>
#include <stdatomic.h>

#include "core/pool.h"

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

Test(pool, refuses_a_negative_count)
{
    Error error = {0};
    Pool *pool;
    cr_assert_eq(pool_create(&pool, -1, &error), STATUS_USAGE);
    cr_assert(error.message[0]);
}
