#include <criterion/criterion.h>

#include "tests/support/tiny.h"

/* tests/mpi/collectives.c compares, at each collective, what the ranks are about to do. */
static void compare_collectives(int ranks, const char *settings)
{
    char data[600], arguments[1500];
    snprintf(data, sizeof data, "%.500s/data", temporary_folder());
    snprintf(arguments, sizeof arguments, "%s %.500s/%d %s", data, temporary_folder(), ranks, settings);
    SUCCEEDS(command_run(5, "mkdir %s/%d", temporary_folder(), ranks));
    tiny_dataset(data, 24, 10);
    mpi_test(ranks, "collectives", arguments);
}

TestSuite(trainer, .timeout = 120);

Test(trainer, ranks_make_the_same_collectives_where_they_share_the_work)
{
    compare_collectives(3, "");
}

Test(trainer, ranks_make_the_same_collectives_with_slices_of_the_moments)
{
    compare_collectives(2, "zero=1");
}

Test(trainer, ranks_make_the_same_collectives_with_a_rank_that_does_not_train)
{
    compare_collectives(3, "coordinator=dedicated");
}
