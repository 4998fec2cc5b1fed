#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "dist/train/evaluate.h"
#include "tests/support/tiny.h"

ParameterizedTestParameters(evaluate, each_image_once_on_any_number_of_ranks)
{
    static int ranks[] = {1, 2, 3, 5};
    return cr_make_param_array(int, ranks, sizeof ranks / sizeof ranks[0]);
}

ParameterizedTest(int *ranks, evaluate, each_image_once_on_any_number_of_ranks, .timeout = 120)
{
    char data[600];
    snprintf(data, sizeof data, "%.500s/data", temporary_folder());
    tiny_dataset(data, 10, 37);
    mpi_test(*ranks, "evaluate", data);
}

Test(evaluate, shares_cover_everything_once_in_whole_units)
{
    for (int64_t total = 0; total < 40; total++)
        for (int ranks = 1; ranks < 9; ranks++)
            for (int unit = 1; unit < 4; unit++) {
                int64_t next = 0, begin, end;
                for (int rank = 0; rank < ranks; rank++) {
                    share_range(total, unit, rank, ranks, &begin, &end);
                    cr_assert(begin == next && end >= begin && begin % unit == 0);
                    next = end;
                }
                cr_assert_eq(next, total);
            }
}
