/* watchdog.c: one rank does not come; the others must find out who, and end the job.
 *
 *     mpirun -np N watchdog KIND FAULT RANK
 *
 * FAULT: late (comes after half of the watchdog's time: a false alarm, the job goes on), silent (never reports its last
 * bucket), stopped (the process stands still in the middle of a step), agree (stays away from the step's figures).
 */
#include <signal.h>
#include <unistd.h>

#include "dist/comm/reducer.h"
#include "dist/comm/world.h"
#include "tests/mpi/sums.h"

enum { COUNT = 300000, WATCH_SECONDS = 2 };

static void backward(Reducer *reducer, const char *fault)
{
    for (int64_t end = COUNT; end > 0; end -= COUNT / 10) {
        if (end == COUNT / 10) {
            if (strcmp(fault, "late") == 0) usleep(WATCH_SECONDS * 750000);
            if (strcmp(fault, "silent") == 0) usleep(WATCH_SECONDS * 10000000);
            if (strcmp(fault, "stopped") == 0) raise(SIGSTOP);
        }
        reducer_ready(reducer, end - COUNT / 10, COUNT / 10);
    }
}

int main(int argc, char **argv)
{
    World world = {0};
    Reducer *reducer = NULL;
    Error error = {0};
    ReducerConfig config = {.bucket_mb = 0.25, .watchdog = WATCH_SECONDS};
    if (argc != 4) return 2;
    config.kind = strcmp(argv[1], "ring") == 0   ? ALLREDUCE_RING
                  : strcmp(argv[1], "tree") == 0 ? ALLREDUCE_TREE
                                                 : ALLREDUCE_HIERARCHICAL;
    config.ranks_per_node = config.kind == ALLREDUCE_TREE; /* each by itself */
    if (world_start(&world, &error) != STATUS_OK) return 1;
    config.comm = MPI_COMM_WORLD;
    if (reducer_create(&reducer, &config, COUNT, &error) != STATUS_OK) return 1;
    const char *fault = world.rank == atoi(argv[3]) ? argv[2] : "none";
    for (int step = 0; step < 3; step++) {
        reducer_begin(reducer);
        backward(reducer, step == 1 ? fault : "none");
        if (reducer_wait(reducer, &error) != STATUS_OK) return 1;
        double figure = 1;
        if (step == 1 && strcmp(fault, "agree") == 0) usleep(WATCH_SECONDS * 10000000);
        if (reducer_agree(reducer, &figure, 1, &error) != STATUS_OK || figure != world.size) return 1;
    }
    reducer_free(reducer);
    world_end(&world);
    return 0;
}
