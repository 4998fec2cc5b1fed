#include <criterion/criterion.h>

#include "tests/support/command.h"

Test(same_text, the_rank_that_differs_and_the_first_line_are_named)
{
    mpi_test(1, "same_text", "line");
    mpi_test(3, "same_text", "same");
    mpi_test(3, "same_text", "line");
    mpi_test(2, "same_text", "shorter");
    mpi_test(3, "same_text", "longer");
}
