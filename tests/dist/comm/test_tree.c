#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "dist/comm/tree.h"
#include "tests/support/command.h"

/* Sums against plain sums in double: tests/mpi/tree.c. */
ParameterizedTestParameters(tree, sums_at_any_rank_count)
{
    static int ranks[] = {1, 2, 3, 4, 5, 6, 7, 8};
    return cr_make_param_array(int, ranks, sizeof ranks / sizeof ranks[0]);
}

ParameterizedTest(int *ranks, tree, sums_at_any_rank_count)
{
    mpi_test(*ranks, "tree", "");
}

/* An oracle of the order of additions. Under another MPI the variables are nothing to it, and its sums its own. */
ParameterizedTestParameters(tree, has_the_bits_of_rabenseifner)
{
    static int ranks[] = {2, 4, 8};
    return cr_make_param_array(int, ranks, sizeof ranks / sizeof ranks[0]);
}

ParameterizedTest(int *ranks, tree, has_the_bits_of_rabenseifner)
{
    Command which = command_run(20, "mpirun --version");
    bool open_mpi = strstr(which.output, "Open MPI") != NULL;
    command_free(&which);
    if (!open_mpi) cr_skip_test("this MPI's all-reduce cannot be told its algorithm");
    setenv("OMPI_MCA_coll", "self,basic,libnbc,tuned", 1);
    setenv("OMPI_MCA_coll_tuned_use_dynamic_rules", "1", 1);
    setenv("OMPI_MCA_coll_tuned_allreduce_algorithm", "6", 1);
    mpi_test(*ranks, "tree", "same");
}

Test(tree, places_reverse_the_bits)
{
    static const int EXPECTED[8] = {0, 4, 2, 6, 1, 5, 3, 7};
    for (int rank = 0; rank < 8; rank++) cr_assert_eq(tree_slice(8, rank), EXPECTED[rank]);
    cr_assert_eq(tree_places(8), 8);
    cr_assert_eq(tree_places(6), 8, "two lanes of four");
    cr_assert_eq(tree_places(9), 16);
}
