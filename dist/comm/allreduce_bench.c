#include "dist/comm/allreduce_bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/arena.h"
#include "core/base/median.h"
#include "core/base/memory.h"
#include "dist/comm/reducer.h"
#include "dist/comm/world.h"

enum { WARM_UPS = 2, CHECKED = 1 << 18 /* elements of a vector that are checked, evenly spread */ };

/* One algorithm with vectors of its own; `reducer` is NULL for MPI's, whose memory is of the same kind as a
 * reducer's. */
typedef struct Algorithm {
    Reducer *reducer;
    Arena arena;
    float *vector;
    const float *total;
    double *times;
} Algorithm;

static float test_value(int rank, int64_t i)
{
    uint32_t x = ((uint32_t)i + 1) * 2654435761u + (uint32_t)rank * 40503u;
    x = (x ^ x >> 15) * 2246822519u;
    return (float)((double)(int32_t)(x ^ x >> 13) * 0x1p-31);
}

static Status create_algorithm(Algorithm *algorithm, const AllreduceBench *job, int which, Error *error)
{
    int64_t count = job->bytes / (int64_t)sizeof(float);
    algorithm->times = memory_alloc(job->rounds, sizeof(double), "the times of the rounds", error);
    if (!algorithm->times) return STATUS_FAILED;
    if (which == BENCH_MPI) {
        arena_floats(&algorithm->arena, (size_t)count);
        Status status = arena_allocate(&algorithm->arena, error);
        algorithm->total = algorithm->vector = arena_floats(&algorithm->arena, (size_t)count);
        return status;
    }
    static const AllreduceKind KINDS[] = {
        [BENCH_RING] = ALLREDUCE_RING, [BENCH_TREE] = ALLREDUCE_TREE, [BENCH_HIERARCHICAL] = ALLREDUCE_HIERARCHICAL};
    ReducerConfig config = {.comm = job->comm,
                            .kind = KINDS[which],
                            .bucket_mb = INFINITY,
                            .wire = job->wire,
                            .ranks_per_node = which == BENCH_TREE ? 1 : job->ranks_per_node};
    Status status = reducer_create(&algorithm->reducer, &config, count, error);
    if (status) return status;
    algorithm->vector = reducer_grads(algorithm->reducer);
    algorithm->total = reducer_total(algorithm->reducer);
    return STATUS_OK;
}

static void free_algorithm(Algorithm *algorithm)
{
    reducer_free(algorithm->reducer);
    arena_free(&algorithm->arena);
    free(algorithm->times);
}

static Status sum(Algorithm *algorithm, const AllreduceBench *job, Error *error)
{
    int64_t count = job->bytes / (int64_t)sizeof(float);
    if (algorithm->reducer) {
        reducer_begin(algorithm->reducer);
        reducer_ready(algorithm->reducer, 0, count);
        return reducer_wait(algorithm->reducer, error);
    }
    int code = MPI_Allreduce(MPI_IN_PLACE, algorithm->vector, (int)count, MPI_FLOAT, MPI_SUM, job->comm);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "MPI_Allreduce", error);
}

/* Sums known values once; *worst is the largest error on any rank. Leaves zeros, whose sums stay what they are. */
static Status check(Algorithm *algorithm, const AllreduceBench *job, double *worst, Error *error)
{
    int rank, ranks;
    MPI_Comm_rank(job->comm, &rank);
    MPI_Comm_size(job->comm, &ranks);
    int64_t count = job->bytes / (int64_t)sizeof(float), stride = count / CHECKED + 1;
    for (int64_t i = 0; i < count; i++) algorithm->vector[i] = test_value(rank, i);
    Status status = sum(algorithm, job, error);
    *worst = 0;
    for (int64_t i = 0; i < count; i += stride) {
        double expected = 0, magnitude = 0;
        for (int r = 0; r < ranks; r++) {
            expected += (double)test_value(r, i);
            magnitude += fabs((double)test_value(r, i));
        }
        double difference = fabs((double)algorithm->total[i] - expected) / magnitude;
        if (!(difference <= *worst)) *worst = difference;
    }
    MPI_Allreduce(MPI_IN_PLACE, worst, 1, MPI_DOUBLE, MPI_MAX, job->comm);
    memset(algorithm->vector, 0, (size_t)job->bytes);
    return status;
}

static Status run_rounds(Algorithm algorithms[ALLREDUCE_ALGORITHMS], const AllreduceBench *job, Error *error)
{
    for (int round = -WARM_UPS; round < job->rounds; round++)
        for (int turn = 0; turn < ALLREDUCE_ALGORITHMS; turn++) {
            int a = (turn + round + WARM_UPS) % ALLREDUCE_ALGORITHMS; /* none is always the one after another's cache */
            MPI_Barrier(job->comm);
            double begin = MPI_Wtime();
            Status status = sum(&algorithms[a], job, error);
            if (status) return status;
            double seconds = MPI_Wtime() - begin;
            MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, job->comm);
            if (round >= 0) algorithms[a].times[round] = seconds;
        }
    return STATUS_OK;
}

Status allreduce_bench(const AllreduceBench *job, AllreduceFigures figures[ALLREDUCE_ALGORITHMS], Error *error)
{
    static const char *const NAMES[ALLREDUCE_ALGORITHMS] = {"ring", "tree", "hierarchical", "mpi"};
    int ranks;
    MPI_Comm_size(job->comm, &ranks);
    Algorithm algorithms[ALLREDUCE_ALGORITHMS] = {0};
    Status status = STATUS_OK;
    for (int a = 0; a < ALLREDUCE_ALGORITHMS && !status; a++) {
        figures[a] = (AllreduceFigures){.algorithm = NAMES[a], .ranks = ranks, .bytes = job->bytes};
        status = create_algorithm(&algorithms[a], job, a, error);
        if (!status) status = check(&algorithms[a], job, &figures[a].max_error, error);
    }
    if (!status) status = run_rounds(algorithms, job, error);
    for (int a = 0; a < ALLREDUCE_ALGORITHMS && !status; a++) {
        figures[a].seconds = median_of(algorithms[a].times, job->rounds);
        figures[a].algorithm_bandwidth = (double)job->bytes / figures[a].seconds;
        figures[a].bus_bandwidth = figures[a].algorithm_bandwidth * 2 * (ranks - 1) / ranks;
    }
    for (int a = 0; a < ALLREDUCE_ALGORITHMS; a++) free_algorithm(&algorithms[a]);
    return status;
}
