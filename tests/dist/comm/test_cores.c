#include <criterion/criterion.h>
#include <unistd.h>

#include "dist/comm/cores.h"
#include "tests/support/command.h"

static void needs_two_cores(void)
{
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) cr_skip_test("two cores are needed");
}

/* Bound to nothing, as jobs/train.mpirun starts them: tests/mpi/cores.c. */
Test(cores, ranks_that_may_use_the_same_ones_divide_them)
{
    needs_two_cores();
    mpi_test(2, "cores", "free");
}

Test(cores, each_rank_of_its_own_is_left_alone)
{
    needs_two_cores();
    mpi_test(2, "cores", "own");
}

Test(cores, ranks_bound_to_one_are_warned)
{
    needs_two_cores();
    mpi_test(2, "cores", "one");
}

static const char *problem(NodeCores cores, int wanted, int threads, int node_threads)
{
    static char message[1024];
    cores_problem(&cores, wanted, threads, node_threads, "n1", true, message, sizeof message);
    return message;
}

Test(cores, what_is_wrong_is_told)
{
    const NodeCores bound = {.own = 1, .sharing = 1, .joint = 1, .usable = 8},
                    shared = {.own = 8, .sharing = 4, .joint = 8, .usable = 8},
                    twice = {.own = 16, .sharing = 1, .joint = 16, .usable = 8}; /* two threads a core */
    cr_assert_eq(cores_threads(&shared, 0), 2);
    cr_assert(strstr(problem(bound, 0, 1, 1), "1 of the 8 cores of n1 compute, the others idle"));
    cr_assert_str_empty(problem(bound, 1, 1, 1), "one thread was asked for");
    cr_assert(strstr(problem(shared, 1, 1, 32), "32 threads in all for 8 cores"));
    cr_assert_str_empty(problem(shared, 0, 2, 8));
    cr_assert_str_empty(problem(twice, 0, 16, 16));
    cr_assert_str_empty(problem(twice, 0, 8, 8), "a thread a core is not idle");
}
