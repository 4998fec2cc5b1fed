/* step.c: training steps of many nodes under SimGrid's SMPI: the bucket pipeline of dist/comm as it is, computing as a time.
 *
 *     smpirun ... step KIND FLOATS BUCKET_MB COMPUTE_US UPDATE_US VARIABILITY_PERCENT STEPS
 *
 * Each rank is a node. A step computes for COMPUTE_US, give or take a normal number of its own; the first third is
 * forward, then the gradient grows from its end on in proportion to time. Meanwhile the pipeline is driven as the reducer's
 * thread drives it: a look, and a nap when nothing moved. Then the step's figures are agreed on, and the update passes.
 * Rank 0 prints the mean step, in microseconds.
 */
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dist/comm/bucket_pipeline.h"

enum { NAP_LEAST = 20, NAP_MOST = 200 }; /* microseconds, as in reducer.c */

typedef struct Job {
    double compute, update, variability; /* seconds */
    int64_t floats;
    int steps, rank;
} Job;

/* Box and Muller on a hash of rank and step. */
static double normal(int rank, int step)
{
    double uniform[2];
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t x = ((uint64_t)rank * 1000003u + (uint64_t)step) * 2 + i + 1;
        x = (x ^ x >> 31) * 0x7fb5d329728ea185u, x = (x ^ x >> 27) * 0x81dadef4bc2dd44du, x ^= x >> 33;
        uniform[i] = ((double)(x >> 12) + 0.5) * 0x1p-52;
    }
    return sqrt(-2 * log(uniform[0])) * cos(6.283185307179586 * uniform[1]);
}

static int ready_at(const BucketPipeline *pipeline, const Job *job, double share)
{
    double grown = fmax(share * 3 - 1, 0) / 2; /* of the gradient, after forward */
    int ready = 0;
    while (ready < pipeline->bucket_count &&
           (double)pipeline->buckets[ready].begin >= (1 - grown) * (double)job->floats - 0.5)
        ready++;
    return ready;
}

static Status one_step(BucketPipeline *pipeline, const Job *job, int step, Error *error)
{
    double begin = MPI_Wtime(), compute = job->compute * (1 + job->variability * normal(job->rank, step)),
           pause = NAP_LEAST;
    bucket_pipeline_begin(pipeline);
    for (;;) {
        double share = (MPI_Wtime() - begin) / compute;
        int ready = share >= 1 ? pipeline->bucket_count : ready_at(pipeline, job, share);
        bool moved = false;
        Status status = bucket_pipeline_progress(pipeline, ready, &moved, error);
        if (status) return status;
        if (share >= 1 && bucket_pipeline_done(pipeline)) break;
        if (moved) {
            pause = fmax(pause * 0.7, NAP_LEAST);
            continue;
        }
        usleep(share >= 1 ? 1 : (unsigned)pause); /* then the caller itself drives, without naps */
        pause = fmin(pause * 1.25, NAP_MOST);
    }
    double figures[7] = {0};
    MPI_Allreduce(MPI_IN_PLACE, figures, 7, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    if (job->update > 0) usleep((unsigned)(1e6 * job->update));
    return STATUS_OK;
}

int main(int argc, char **argv)
{
    if (argc != 8) return 2;
    MPI_Init(&argc, &argv);
    Job job = {.floats = atoll(argv[2]),
               .compute = 1e-6 * atof(argv[4]),
               .update = 1e-6 * atof(argv[5]),
               .variability = 0.01 * atof(argv[6]),
               .steps = atoi(argv[7])};
    MPI_Comm_rank(MPI_COMM_WORLD, &job.rank);
    BucketPipelineConfig config = {.comm = MPI_COMM_WORLD,
                                   .kind = strcmp(argv[1], "ring") == 0 ? ALLREDUCE_RING : ALLREDUCE_TREE,
                                   .bucket_mb = atof(argv[3]),
                                   .ranks_per_node = 1};
    BucketPipeline pipeline;
    Error error = {0};
    Status status = bucket_pipeline_create(&pipeline, &config, job.floats, &error);
    MPI_Barrier(MPI_COMM_WORLD);
    double begin = MPI_Wtime();
    for (int step = 0; step < job.steps && !status; step++) status = one_step(&pipeline, &job, step, &error);
    MPI_Barrier(MPI_COMM_WORLD);
    if (status) fprintf(stderr, "rank %d: %s\n", job.rank, error.message);
    if (job.rank == 0 && !status) printf("%.1f\n", 1e6 * (MPI_Wtime() - begin) / job.steps);
    bucket_pipeline_free(&pipeline);
    MPI_Finalize();
    return status;
}
