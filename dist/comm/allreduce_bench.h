/* allreduce_bench.h: how fast the sums over ranks are, in the manner of nccl-tests.
 *
 * Every algorithm sums vectors of the same size in turn, round by round, so that what else happens on the machine hits
 * all alike; a round's time is that of the slowest rank, the result is the median of the rounds.
 *
 *     AllreduceBench sizes = {.bytes = 1 << 20, .rounds = 20};
 *     AllreduceFigures figures[ALLREDUCE_ALGORITHMS];
 *     allreduce_bench(&sizes, figures, error);        // collective; the same figures on all ranks
 */
#ifndef DIST_COMM_ALLREDUCE_BENCH_H
#define DIST_COMM_ALLREDUCE_BENCH_H

#include <mpi.h>
#include <stdint.h>
#include "core/base/status.h"
#include "dist/comm/settings.h"

/* ring and tree (over all ranks, none of which shares memory) and hierarchical: the reducer, one bucket; mpi:
 * MPI_Allreduce in place. */
enum { BENCH_RING, BENCH_TREE, BENCH_HIERARCHICAL, BENCH_MPI, ALLREDUCE_ALGORITHMS };

typedef struct AllreduceBench {
    MPI_Comm comm;
    int64_t bytes; /* of the vector, a multiple of 4 */
    int rounds;    /* timed, after two that are not */
    WireType wire; /* of all but mpi */
    int ranks_per_node;
} AllreduceBench;

typedef struct AllreduceFigures {
    const char *algorithm;
    int ranks;
    int64_t bytes;
    double seconds;
    double algorithm_bandwidth; /* bytes / seconds */
    double bus_bandwidth;       /* times 2 (N-1)/N: what each rank's link carries if no byte travels twice */
    double max_error;           /* of a sum, relative to its terms' magnitudes, against a plain sum in double */
} AllreduceFigures;

Status allreduce_bench(const AllreduceBench *job, AllreduceFigures figures[ALLREDUCE_ALGORITHMS], Error *error);

#endif
