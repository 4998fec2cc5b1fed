#include "core/model/peak.h"

#include "core/base/clock.h"

typedef struct Flood {
    const Kernels *kernels;
    int64_t rounds;
    int64_t operations; /* of one thread */
} Flood;

static void flood(void *context, int64_t task, int thread)
{
    (void)thread;
    Flood *job = context;
    int64_t operations = job->kernels->multiply_add(job->rounds);
    if (task == 0) job->operations = operations;
}

double peak_measure(const Kernels *kernels, Pool *pool, double seconds)
{
    Flood job = {.kernels = kernels, .rounds = 400000};
    double begin = clock_seconds(), now = begin, best = 0;
    do {
        pool_run(pool, pool_threads(pool), flood, &job);
        double took = clock_seconds() - now, rate = (double)job.operations * pool_threads(pool) / took;
        if (rate > best) best = rate;
        now += took;
    } while (now - begin < seconds);
    return best;
}

double peak_work(const ModelConfig *config, bool training)
{
    Macs macs = zoo_macs(config);
    return 2.0 * (double)(macs.linear + macs.attention + macs.conv) * (training ? 3 : 1);
}
