#include <criterion/criterion.h>

#include "dist/comm/allreduce_bench.h"

Test(measure, median_of_odd_and_even_counts)
{
    double one[] = {4}, odd[] = {9, 1, 5}, even[] = {8, 2, 6, 4};
    cr_expect_eq(measure_median(one, 1), 4);
    cr_expect_eq(measure_median(odd, 3), 5);
    cr_expect_eq(measure_median(even, 4), 5);
}
