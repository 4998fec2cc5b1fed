#include "dist/comm/allreduce_bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/arena.h"
#include "dist/comm/reducer.h"
#include "dist/comm/world.h"

enum { WARM_UPS = 2, CHECKED = 1 << 18 /* elements of a vector that are checked, evenly spread */ };

/* One algorithm with vectors of its own; `reducer` is NULL for MPI's, whose memory is of the same kind as a
 * reducer's. */
typedef struct Contender {
    Reducer *reducer;
    Arena arena;
    float *vector;
    const float *total;
    double *times;
} Contender;

static float test_value(int rank, int64_t i)
{
    uint32_t x = ((uint32_t)i + 1) * 2654435761u + (uint32_t)rank * 40503u;
    x = (x ^ x >> 15) * 2246822519u;
    return (float)((double)(int32_t)(x ^ x >> 13) * 0x1p-31);
}

static Status create_contender(Contender *contender, const MeasureAllreduce *job, int algorithm, Error *error)
{
    int64_t count = job->bytes / (int64_t)sizeof(float);
    contender->times = calloc((size_t)job->rounds, sizeof(double));
    if (!contender->times) return error_set(error, STATUS_FAILED, "no memory for %d times", job->rounds);
    if (algorithm == MEASURE_MPI) {
        arena_floats(&contender->arena, (size_t)count);
        Status status = arena_allocate(&contender->arena, error);
        contender->total = contender->vector = arena_floats(&contender->arena, (size_t)count);
        return status;
    }
    ReducerConfig config = {.comm = job->comm,
                            .kind = algorithm == MEASURE_RING ? ALLREDUCE_RING : ALLREDUCE_HIERARCHICAL,
                            .bucket_mb = INFINITY,
                            .wire = job->wire,
                            .ranks_per_node = job->ranks_per_node};
    Status status = reducer_create(&contender->reducer, &config, count, error);
    if (status != STATUS_OK) return status;
    contender->vector = reducer_grads(contender->reducer);
    contender->total = reducer_total(contender->reducer);
    return STATUS_OK;
}

static void free_contender(Contender *contender)
{
    reducer_free(contender->reducer);
    arena_free(&contender->arena);
    free(contender->times);
}

static Status sum(Contender *contender, const MeasureAllreduce *job, Error *error)
{
    int64_t count = job->bytes / (int64_t)sizeof(float);
    if (contender->reducer) {
        reducer_begin(contender->reducer);
        reducer_ready(contender->reducer, 0, count);
        return reducer_wait(contender->reducer, error);
    }
    int code = MPI_Allreduce(MPI_IN_PLACE, contender->vector, (int)count, MPI_FLOAT, MPI_SUM, job->comm);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "MPI_Allreduce", error);
}

/* Sums known values once; *worst is the largest error on any rank. Leaves zeros, whose sums stay what they are. */
static Status check(Contender *contender, const MeasureAllreduce *job, double *worst, Error *error)
{
    int rank, ranks;
    MPI_Comm_rank(job->comm, &rank);
    MPI_Comm_size(job->comm, &ranks);
    int64_t count = job->bytes / (int64_t)sizeof(float), stride = count / CHECKED + 1;
    for (int64_t i = 0; i < count; i++) contender->vector[i] = test_value(rank, i);
    Status status = sum(contender, job, error);
    *worst = 0;
    for (int64_t i = 0; i < count; i += stride) {
        double expected = 0, magnitude = 0;
        for (int r = 0; r < ranks; r++) {
            expected += (double)test_value(r, i);
            magnitude += fabs((double)test_value(r, i));
        }
        double difference = fabs((double)contender->total[i] - expected) / magnitude;
        if (!(difference <= *worst)) *worst = difference;
    }
    MPI_Allreduce(MPI_IN_PLACE, worst, 1, MPI_DOUBLE, MPI_MAX, job->comm);
    memset(contender->vector, 0, (size_t)job->bytes);
    return status;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double measure_median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static Status run_rounds(Contender contenders[MEASURE_ALGORITHMS], const MeasureAllreduce *job, Error *error)
{
    for (int round = -WARM_UPS; round < job->rounds; round++)
        for (int turn = 0; turn < MEASURE_ALGORITHMS; turn++) {
            int a = (turn + round + WARM_UPS) % MEASURE_ALGORITHMS; /* none is always the one after another's cache */
            MPI_Barrier(job->comm);
            double begin = MPI_Wtime();
            Status status = sum(&contenders[a], job, error);
            if (status != STATUS_OK) return status;
            double seconds = MPI_Wtime() - begin;
            MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, job->comm);
            if (round >= 0) contenders[a].times[round] = seconds;
        }
    return STATUS_OK;
}

Status measure_allreduce(const MeasureAllreduce *job, AllreduceFigures figures[MEASURE_ALGORITHMS], Error *error)
{
    static const char *const NAMES[MEASURE_ALGORITHMS] = {"ring", "hierarchical", "mpi"};
    int ranks;
    MPI_Comm_size(job->comm, &ranks);
    Contender contenders[MEASURE_ALGORITHMS] = {0};
    Status status = STATUS_OK;
    for (int a = 0; a < MEASURE_ALGORITHMS && status == STATUS_OK; a++) {
        figures[a] = (AllreduceFigures){.algorithm = NAMES[a], .ranks = ranks, .bytes = job->bytes};
        status = create_contender(&contenders[a], job, a, error);
        if (status == STATUS_OK) status = check(&contenders[a], job, &figures[a].max_error, error);
    }
    if (status == STATUS_OK) status = run_rounds(contenders, job, error);
    for (int a = 0; a < MEASURE_ALGORITHMS && status == STATUS_OK; a++) {
        figures[a].seconds = measure_median(contenders[a].times, job->rounds);
        figures[a].algorithm_bandwidth = (double)job->bytes / figures[a].seconds;
        figures[a].bus_bandwidth = figures[a].algorithm_bandwidth * 2 * (ranks - 1) / ranks;
    }
    for (int a = 0; a < MEASURE_ALGORITHMS; a++) free_contender(&contenders[a]);
    return status;
}
