/* cores.c: how ranks of a node divide its cores, by what they are bound to before MPI starts.
 *
 *     mpirun -np 2 cores free | own | one
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist/comm/world.h"

typedef struct Expected {
    int sharing, threads, joint;
    const char *warning; /* what it says; "": nothing */
} Expected;

static int failures;

#define CHECK(condition)                                                                                               \
    if (!(condition)) failures++, fprintf(stderr, "rank %d, line %d: " #condition "\n", world.rank, __LINE__)

/* Of the processors of this machine: all, one for each rank, or the first for both. */
static Expected bind_to(const char *how, int rank)
{
    cpu_set_t all, some;
    int cpus[2] = {-1, -1};
    sched_getaffinity(0, sizeof all, &all);
    for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--)
        if (CPU_ISSET(cpu, &all)) cpus[1] = cpus[0], cpus[0] = cpu;
    int count = CPU_COUNT(&all);
    CPU_ZERO(&some);
    if (strcmp(how, "own") == 0) {
        CPU_SET(cpus[rank], &some);
        sched_setaffinity(0, sizeof some, &some);
        return (Expected){1, 1, 2, count > 2 ? "the others idle" : ""};
    }
    if (strcmp(how, "one") == 0) {
        CPU_SET(cpus[0], &some);
        sched_setaffinity(0, sizeof some, &some);
        return (Expected){2, 1, 1, "2 threads in all for 1 core"};
    }
    return (Expected){2, count / 2, count, count % 2 ? "the others idle" : ""};
}

int main(int argc, char **argv)
{
    World world = {0};
    Error error = {0};
    const char *rank = getenv("OMPI_COMM_WORLD_RANK") ? getenv("OMPI_COMM_WORLD_RANK") : getenv("PMI_RANK");
    if (argc != 2 || !rank) return 2;
    Expected expected = bind_to(argv[1], atoi(rank));
    if (world_start(&world, &error) != STATUS_OK) return 2;
    const NodeCores *cores = &world.cores;
    CHECK(world.size == 2);
    CHECK(cores->sharing == expected.sharing);
    CHECK(cores->joint == expected.joint);
    CHECK(cores_threads(cores, 0) == expected.threads);
    CHECK(cores_threads(cores, 1) == 1);
    CHECK(cores_threads(cores, 4096) == cores->own);

    WorldReport report;
    world_report(&world, 0, cores_threads(cores, 0), &report);
    const char *warning = world.local_rank == 0 ? expected.warning : "";
    CHECK(warning[0] ? strstr(report.warning, warning) != NULL : !report.warning[0]);
    world_report(&world, 1, 1, &report); /* as the configuration says: idle cores are meant */
    CHECK(!strstr(report.warning, "idle"));
    if (failures)
        fprintf(stderr, "rank %d: %d of %d, warning '%s'\n", world.rank, cores->own, cores->usable, report.warning);
    world_end(&world);
    return failures > 0;
}
