/* timeline.c: two steps of a reducer with several buckets, as a trace, and so many events more that a rank's text goes
 * to rank 0 in several pieces.
 *
 *     mpirun -np N timeline FILE
 */
#include "core/base/clock.h"
#include "dist/comm/reducer.h"
#include "dist/comm/world.h"
#include "tests/mpi/sums.h"

int main(int argc, char **argv)
{
    enum { COUNT = 200000, STEPS = 2, TICKS = 1500 };
    World world = {0};
    Timeline *timeline = NULL;
    Reducer *reducer = NULL;
    Error error = {0};
    if (argc != 2 || world_start(&world, &error) != STATUS_OK || timeline_create(&timeline, 2000, &error) != STATUS_OK)
        return 1;
    ReducerConfig config = {.comm = MPI_COMM_WORLD, .bucket_mb = 0.25, .timeline = timeline};
    if (reducer_create(&reducer, &config, COUNT, &error) != STATUS_OK) return 1;
    for (int step = 0; step < STEPS; step++) {
        double begin = clock_seconds();
        reducer_begin(reducer);
        reducer_ready(reducer, 0, COUNT);
        if (reducer_wait(reducer, &error) != STATUS_OK) return 1;
        timeline_add(timeline, TIMELINE_COMPUTE, "step", step, begin, clock_seconds());
    }
    for (int i = 0; i < TICKS; i++) {
        double now = clock_seconds();
        timeline_add(timeline, TIMELINE_COMPUTE, "tick", i, now, now);
    }
    ReducerSpread spread;
    bool good = reducer_spread(reducer, 10 - world.rank, &spread, &error) == STATUS_OK &&
                spread.min_rank == world.size - 1 && spread.max_rank == 0 && spread.max == 10 &&
                spread.min == 11 - world.size && spread.median == (spread.min + spread.max) / 2;
    good = timeline_write(timeline, MPI_COMM_WORLD, argv[1], &error) == STATUS_OK && good;
    if (error.message[0]) fprintf(stderr, "%s\n", error.message);
    reducer_free(reducer);
    timeline_free(timeline);
    int verdict = sums_verdict(good);
    world_end(&world);
    return verdict;
}
