#include <criterion/criterion.h>
#include <math.h>

#include "core/base/rng.h"

Test(rng, first_outputs_of_splitmix64)
{
    /* The published test vector: seed 1234567 gives these. */
    const uint64_t expected[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u};
    for (uint64_t i = 0; i < 3; i++) cr_assert_eq(rng_at(1234567, i), expected[i]);
}

Test(rng, draws_depend_on_every_part_of_the_key)
{
    Rng base = rng_make(1, RNG_CROP, 2, 3);
    Rng others[] = {rng_make(2, RNG_CROP, 2, 3), rng_make(1, RNG_FLIP, 2, 3), rng_make(1, RNG_CROP, 3, 3),
                    rng_make(1, RNG_CROP, 2, 4), rng_split(base, 0)};
    uint64_t first = rng_u64(&base);
    for (int i = 0; i < 5; i++) cr_assert_neq(rng_u64(&others[i]), first);
    Rng again = rng_make(1, RNG_CROP, 2, 3);
    cr_assert_eq(rng_u64(&again), first);
}

Test(rng, moments)
{
    enum { N = 200000 };
    Rng rng = rng_make(7, RNG_INIT, 0, 0);
    double uniform = 0, normal = 0, square = 0, beta = 0, beta2 = 0;
    for (int i = 0; i < N; i++) {
        uniform += rng_uniform(&rng) / N;
        double x = rng_normal(&rng);
        normal += x / N;
        square += x * x / N;
        double b = rng_beta(&rng, 0.8, 0.8);
        beta += b / N;
        beta2 += (b - 0.5) * (b - 0.5) / N;
    }
    cr_assert_float_eq(uniform, 0.5, 0.003);
    cr_assert_float_eq(normal, 0, 0.01);
    cr_assert_float_eq(square, 1, 0.015);
    cr_assert_float_eq(beta, 0.5, 0.004);
    cr_assert_float_eq(beta2, 1 / (4 * (2 * 0.8 + 1)), 0.002); /* variance of Beta(a, a) */
}

Test(rng, below_is_even)
{
    int counts[7] = {0};
    Rng rng = rng_make(3, RNG_ORDER, 0, 0);
    for (int i = 0; i < 70000; i++) counts[rng_below(&rng, 7)]++;
    for (int i = 0; i < 7; i++) cr_assert_float_eq(counts[i], 10000, 400);
}
