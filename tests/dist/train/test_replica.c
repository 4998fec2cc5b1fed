#include <criterion/criterion.h>

#include "dist/train/replica.h"
#include "tests/support/tiny.h"

static void run_replicas(int ranks, const char *settings)
{
    char data[600], arguments[1000];
    snprintf(data, sizeof data, "%.500s/data", temporary_folder());
    snprintf(arguments, sizeof arguments, "%s %s", data, settings);
    tiny_dataset(data, 10, 37);
    mpi_test(ranks, "replica", arguments);
}

Test(replica, ranks_take_steps_and_refuse_them_together, .timeout = 120)
{
    run_replicas(1, "accumulate=2");
    run_replicas(3, "zero=0");
    run_replicas(2, "zero=1 accumulate=3");
}

/* In order, without gaps; as even as possible, and pairs that are mixed stay whole where that is free. */
Test(replica, parts_make_the_global_batch)
{
    for (int64_t batch = 1; batch <= 40; batch++)
        for (int ranks = 1; ranks <= 9; ranks++) {
            int64_t next = 0, largest = 0, begin, end;
            bool whole = true;
            for (int rank = 0; rank < ranks; rank++) {
                replica_part(batch, rank, ranks, &begin, &end);
                cr_assert(begin == next && begin <= end);
                whole = whole && begin % 2 == 0;
                largest = end - begin > largest ? end - begin : largest;
                next = end;
            }
            cr_assert_eq(next, batch);
            cr_assert_eq(largest, (batch + ranks - 1) / ranks, "%ld images, %d ranks", (long)batch, ranks);
            cr_assert(whole || batch % (2 * ranks) != 0);
        }
}
