#include "dist/comm/reducer.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/median.h"
#include "core/base/memory.h"
#include "dist/comm/bucket_pipeline.h"
#include "dist/comm/watchdog.h"
#include "dist/comm/world.h"

static const double NAP_MIN = 20e-6, NAP_MAX = 200e-6; /* seconds */

/* Who holds `driving` may call MPI and touch the pipeline: the communication thread while the caller computes, the
 * caller itself from reducer_wait on, since its core is idle then anyway. */
struct Reducer {
    BucketPipeline pipeline;
    pthread_t thread;
    bool running;
    pthread_mutex_t driving;
    sem_t wake;          /* posted when a bucket has become ready, but the last */
    atomic_int ready;    /* buckets of this step whose floats are all reported */
    atomic_bool waiting; /* the caller drives */
    atomic_bool stopping;
    Status status; /* of the step, with its error; under `driving` */
    Error error;
    double started, finished; /* of the step's communication; under `driving` */
    double wait;
    Watchdog watchdog;
    double *spread; /* (ranks) */
};

/* ---- driving */

/* One round over what is under way; true when anything moved. */
static bool drive(Reducer *reducer)
{
    bool moved = false;
    if (reducer->status || bucket_pipeline_done(&reducer->pipeline)) return false;
    int ready = atomic_load_explicit(&reducer->ready, memory_order_acquire);
    reducer->status = bucket_pipeline_progress(&reducer->pipeline, ready, &moved, &reducer->error);
    if (moved) {
        reducer->finished = clock_seconds();
        if (reducer->started == 0) reducer->started = reducer->finished;
    }
    watchdog_progress(&reducer->watchdog, moved, bucket_pipeline_oldest(&reducer->pipeline));
    if (watchdog_overdue(&reducer->watchdog))
        watchdog_report_missing(&reducer->watchdog, bucket_pipeline_waits_for(&reducer->pipeline));
    return moved;
}

/* After a fruitless look at the network, while the machine computes. A sleep lets go of the core at once and gets it
 * back soon; sched_yield would wait for the computing thread's time slice. Its length follows the pace of the
 * network. */
static void nap(double seconds)
{
    struct timespec time = {.tv_nsec = (long)(seconds * 1e9)};
    nanosleep(&time, NULL);
}

static void *communicate(void *argument)
{
    Reducer *reducer = argument;
    double pause = NAP_MIN;
    for (;;) {
        while (sem_wait(&reducer->wake) != 0 && errno == EINTR) {
        }
        if (atomic_load(&reducer->stopping)) return NULL;
        bool under_way = true;
        while (under_way && !atomic_load(&reducer->waiting)) {
            pthread_mutex_lock(&reducer->driving);
            bool moved = drive(reducer);
            int ready = atomic_load_explicit(&reducer->ready, memory_order_acquire);
            under_way = !reducer->status && reducer->pipeline.finished < ready;
            pthread_mutex_unlock(&reducer->driving);
            if (moved) {
                pause = fmax(pause * 0.7, NAP_MIN);
            } else if (under_way) {
                nap(pause);
                pause = fmin(pause * 1.25, NAP_MAX);
            }
        }
    }
}

/* ---- life */

static Status start_thread(Reducer *reducer, Error *error)
{
    /* Signals are the trainer's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&reducer->thread, NULL, communicate, reducer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0) return error_set(error, STATUS_FAILED, "cannot start the communication thread: %s", strerror(code));
    reducer->running = true;
    return STATUS_OK;
}

/* What needs no other rank. */
static Status allocate(Reducer **out, MPI_Comm comm, Error *error)
{
    int ranks;
    MPI_Comm_size(comm, &ranks);
    Reducer *reducer = *out = memory_alloc(1, sizeof *reducer, "a reducer", error);
    if (!reducer) return STATUS_FAILED;
    pthread_mutex_init(&reducer->driving, NULL);
    sem_init(&reducer->wake, 0, 0);
    reducer->spread = memory_alloc(ranks, sizeof *reducer->spread, "the ranks' values", error);
    return reducer->spread ? STATUS_OK : STATUS_FAILED;
}

/* A step that can fail on one rank alone is followed by an agreement, before anybody waits for that rank in the
 * next. */
Status reducer_create(Reducer **out, const ReducerConfig *config, int64_t count, Error *error)
{
    *out = NULL;
    Reducer *reducer;
    Status status = world_agree(config->comm, allocate(&reducer, config->comm, error), error);
    const BucketPipelineConfig pipeline = {.comm = config->comm,
                                           .kind = config->kind,
                                           .bucket_mb = config->bucket_mb,
                                           .wire = config->wire,
                                           .zero = config->zero,
                                           .balanced = config->balanced,
                                           .ranks_per_node = config->ranks_per_node,
                                           .timeline = config->timeline};
    if (!status) status = bucket_pipeline_create(&reducer->pipeline, &pipeline, count, error);
    if (!status) status = watchdog_create(&reducer->watchdog, config->comm, config->watchdog, error);
    if (!status) status = world_agree(config->comm, start_thread(reducer, error), error);
    if (status) {
        reducer_free(reducer);
        return status;
    }
    *out = reducer;
    return STATUS_OK;
}

void reducer_free(Reducer *reducer)
{
    if (!reducer) return;
    if (reducer->running) {
        atomic_store(&reducer->stopping, true);
        sem_post(&reducer->wake);
        pthread_join(reducer->thread, NULL);
    }
    watchdog_free(&reducer->watchdog);
    bucket_pipeline_free(&reducer->pipeline);
    sem_destroy(&reducer->wake);
    pthread_mutex_destroy(&reducer->driving);
    free(reducer->spread);
    free(reducer);
}

float *reducer_grads(Reducer *reducer)
{
    return reducer->pipeline.grads;
}

const float *reducer_total(const Reducer *reducer)
{
    return reducer->pipeline.total;
}

const char *reducer_kind(const Reducer *reducer)
{
    const BucketPipeline *pipeline = &reducer->pipeline;
    if (pipeline->kind == ALLREDUCE_MPI) return "mpi";
    if (pipeline->kind == ALLREDUCE_TREE || pipeline->ring_from == INT64_MAX) return "tree";
    return pipeline->shared ? "hierarchical" : "ring";
}

void reducer_describe(const Reducer *reducer, char *text, size_t room)
{
    const BucketPipeline *pipeline = &reducer->pipeline;
    const char *between = pipeline->ring_from == 0           ? "ring"
                          : pipeline->ring_from == INT64_MAX ? "tree"
                                                             : "tree, but large buckets by a ring";
    if (pipeline->kind == ALLREDUCE_MPI)
        snprintf(text, room, "MPI_Iallreduce");
    else if (!pipeline->shared)
        snprintf(text, room, "%s", between);
    else if (pipeline->topology.node_count == 1)
        snprintf(text, room, "shared memory");
    else
        snprintf(text, room, "shared memory within nodes, between them by a %s", between);
    size_t used = strlen(text);
    if (pipeline->measured[0] && used < room)
        snprintf(text + used, room - used, "; for buckets of %s", pipeline->measured);
}

/* ---- the step */

void reducer_begin(Reducer *reducer)
{
    pthread_mutex_lock(&reducer->driving);
    bucket_pipeline_begin(&reducer->pipeline);
    watchdog_begin(&reducer->watchdog, "sum of gradients");
    atomic_store(&reducer->ready, 0);
    atomic_store(&reducer->waiting, false);
    reducer->started = reducer->finished = 0;
    pthread_mutex_unlock(&reducer->driving);
}

void reducer_ready(void *context, int64_t offset, int64_t count)
{
    (void)count; /* slices come from the end, without gaps */
    Reducer *reducer = context;
    const BucketPipeline *pipeline = &reducer->pipeline;
    int before = atomic_load_explicit(&reducer->ready, memory_order_relaxed), ready = before;
    while (ready < pipeline->bucket_count && pipeline->buckets[ready].begin >= offset) ready++;
    if (ready == before) return;
    atomic_store_explicit(&reducer->ready, ready, memory_order_release);
    /* After the last bucket the caller is about to wait, and drives itself: waking a thread would only be in its
     * way. */
    if (ready < pipeline->bucket_count) sem_post(&reducer->wake);
}

Status reducer_wait(Reducer *reducer, Error *error)
{
    double begin = clock_seconds();
    atomic_store(&reducer->waiting, true);
    pthread_mutex_lock(&reducer->driving);
    while (!reducer->status && !bucket_pipeline_done(&reducer->pipeline))
        if (!drive(reducer)) sched_yield();
    Status status = reducer->status;
    if (status) error_set(error, status, "%s", reducer->error.message);
    pthread_mutex_unlock(&reducer->driving);
    reducer->wait = clock_seconds() - begin;
    return status;
}

ReducerTimes reducer_times(const Reducer *reducer)
{
    return (ReducerTimes){.wait = reducer->wait, .busy = reducer->finished - reducer->started};
}

/* ---- between steps */

int reducer_place(const Reducer *reducer)
{
    return reducer->pipeline.topology.rank;
}

void reducer_slice(const Reducer *reducer, int64_t *begin, int64_t *end)
{
    RingPart slice = reducer->pipeline.slices[reducer->pipeline.topology.rank];
    *begin = slice.begin;
    *end = slice.end;
}

void reducer_owned(const Reducer *reducer, int64_t *begin, int64_t *end)
{
    if (reducer->pipeline.zero) {
        reducer_slice(reducer, begin, end);
    } else {
        *begin = 0;
        *end = reducer->pipeline.count;
    }
}

Status reducer_gather(Reducer *reducer, float *vector, Error *error)
{
    BucketPipeline *pipeline = &reducer->pipeline;
    if (!pipeline->zero) return STATUS_OK;
    watchdog_begin(&reducer->watchdog, "gathering of slices");
    bool by_tree = pipeline->tree_slices && pipeline->count < pipeline->ring_from;
    internode_gather(&pipeline->gather, by_tree, vector, pipeline->slices);
    Status status = STATUS_OK;
    while (!status && !internode_done(&pipeline->gather)) {
        bool moved = false;
        status = internode_progress(&pipeline->gather, &moved, error);
        watchdog_progress(&reducer->watchdog, moved, -1);
        if (watchdog_overdue(&reducer->watchdog)) watchdog_report_missing(&reducer->watchdog, -1);
        if (!moved) sched_yield();
    }
    return status;
}

/* A sum on rank 0, then a broadcast: MPI_Allreduce does not promise the same bits everywhere. */
Status reducer_agree(Reducer *reducer, double *values, int count, Error *error)
{
    Watchdog *watchdog = &reducer->watchdog;
    MPI_Request request;
    int code = MPI_Ireduce(watchdog->rank == 0 ? MPI_IN_PLACE : values, values, count, MPI_DOUBLE, MPI_SUM, 0,
                           watchdog->comm, &request);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "MPI_Ireduce", error);
    Status status = watchdog_wait(watchdog, &request, "sum of the step's figures", error);
    if (status) return status;
    code = MPI_Ibcast(values, count, MPI_DOUBLE, 0, watchdog->comm, &request);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "MPI_Ibcast", error);
    return watchdog_wait(watchdog, &request, "broadcast of the step's figures", error);
}

Status reducer_spread(Reducer *reducer, double value, ReducerSpread *spread, Error *error)
{
    Watchdog *watchdog = &reducer->watchdog;
    int ranks = watchdog->size;
    double *values = reducer->spread;
    MPI_Request request;
    int code = MPI_Iallgather(&value, 1, MPI_DOUBLE, values, 1, MPI_DOUBLE, watchdog->comm, &request);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "MPI_Iallgather", error);
    Status status = watchdog_wait(watchdog, &request, "comparing of ranks", error);
    if (status) return status;
    *spread = (ReducerSpread){0};
    for (int rank = 1; rank < ranks; rank++) {
        if (values[rank] < values[spread->min_rank]) spread->min_rank = rank;
        if (values[rank] > values[spread->max_rank]) spread->max_rank = rank;
    }
    spread->min = values[spread->min_rank];
    spread->max = values[spread->max_rank];
    spread->median = median_of(values, ranks);
    return STATUS_OK;
}
