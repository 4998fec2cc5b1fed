#include <criterion/criterion.h>

#include "tests/support/tiny.h"

Test(sharded_checkpoint, parts_of_all_ranks_are_one_checkpoint_or_none, .timeout = 120)
{
    char folder[700];
    for (int ranks = 2; ranks <= 3; ranks++) {
        snprintf(folder, sizeof folder, "%.500s/%d", temporary_folder(), ranks);
        SUCCEEDS(command_run(5, "mkdir %s", folder));
        mpi_test(ranks, "sharded_checkpoint", folder);
    }
}
