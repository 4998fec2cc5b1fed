#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "dist/comm/ring.h"
#include "tests/support/command.h"

/* Sums against plain sums in double: tests/mpi/ring.c. */
ParameterizedTestParameters(ring, sums_at_any_rank_count)
{
    static int ranks[] = {1, 2, 3, 4, 5, 6, 7, 8};
    return cr_make_param_array(int, ranks, sizeof ranks / sizeof ranks[0]);
}

ParameterizedTest(int *ranks, ring, sums_at_any_rank_count)
{
    mpi_test(*ranks, "ring", "");
}

Test(ring, split_covers_the_range_once)
{
    for (int64_t begin = 0; begin <= 48; begin += 16)
        for (int64_t length = 0; length < 200; length++)
            for (int64_t parts = 1; parts <= 9; parts++) {
                int64_t at = begin;
                for (int64_t p = 0; p < parts; p++) {
                    RingPart part = ring_split(begin, begin + length, p, parts);
                    cr_assert_eq(part.begin, at, "gap before part %lld", (long long)p);
                    cr_assert(part.begin <= part.end);
                    cr_assert(part.end == begin + length || part.end % 16 == 0);
                    at = part.end;
                }
                cr_assert_eq(at, begin + length);
            }
}
