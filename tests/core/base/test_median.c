#include <criterion/criterion.h>

#include "core/base/median.h"

Test(median, middle_of_sorted_values)
{
    double one[] = {4}, odd[] = {9, 1, 5}, even[] = {8, 2, 6, 4};
    cr_expect_eq(median_of(one, 1), 4);
    cr_expect_eq(median_of(odd, 3), 5);
    cr_expect_eq(median_of(even, 4), 5);
}
