#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "core/base/rng.h"
#include "data/loader/sampler.h"
#include "tests/support/statistics.h"

static Order create(uint64_t seed, bool shuffle, int repeats, int64_t step, int64_t count, int shards)
{
    Error error = {0};
    Order order;
    int64_t *begin = malloc(((size_t)shards + 1) * sizeof *begin);
    for (int i = 0; i <= shards; i++) begin[i] = count * i / shards;
    OrderConfig config = {.seed = seed, .shuffle = shuffle, .repeats = repeats, .step = step};
    cr_assert_eq(order_create(&order, &config, begin, shards, &error), STATUS_OK, "%s", error.message);
    free(begin);
    return order;
}

Test(order, is_a_permutation)
{
    const int64_t counts[] = {1, 2, 3, 10, 1000, ORDER_WINDOW, ORDER_WINDOW + 1, 3 * ORDER_WINDOW + 77};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        Order order = create(5, true, 0, 1, counts[i], counts[i] > 5 ? 6 : 1);
        for (int64_t epoch = 0; epoch < 2; epoch++) {
            bool *seen = calloc((size_t)counts[i], sizeof *seen);
            order_set_epoch(&order, epoch);
            for (int64_t p = 0; p < counts[i]; p++) {
                int64_t image = order_at(&order, p);
                cr_assert(image >= 0 && image < counts[i] && !seen[image]);
                seen[image] = true;
            }
            free(seen);
        }
        order_free(&order);
    }
}

Test(order, is_a_pure_function)
{
    Order a = create(5, true, 0, 1, 100000, 7), b = create(5, true, 0, 1, 100000, 7),
          other = create(6, true, 0, 1, 100000, 7);
    int64_t by_epoch = 0, by_seed = 0;
    order_set_epoch(&a, 3);
    for (int64_t epoch = 9; epoch >= 3; epoch--) order_set_epoch(&b, epoch); /* another history */
    order_set_epoch(&other, 3);
    for (int64_t p = 99999; p >= 0; p--) cr_assert_eq(order_at(&a, p), order_at(&b, p));
    order_set_epoch(&b, 4);
    for (int64_t p = 0; p < 100000; p++) {
        by_epoch += order_at(&a, p) == order_at(&b, p);
        by_seed += order_at(&a, p) == order_at(&other, p);
    }
    cr_assert_lt(by_epoch, 20); /* one match is expected of unrelated permutations */
    cr_assert_lt(by_seed, 20);
    order_free(&a);
    order_free(&b);
    order_free(&other);
}

Test(order, without_shuffling_is_file_order)
{
    Order order = create(5, false, 0, 1, 1000, 3);
    order_set_epoch(&order, 2);
    for (int64_t p = 0; p < 1000; p++) cr_assert_eq(order_at(&order, p), p);
    order_free(&order);
}

/* Small data sets: where an image lands is even over the positions, and unrelated to where its neighbour lands. */
Test(order, is_shuffled)
{
    enum { N = 20, EPOCHS = 20000 };
    static double place[N * N], gap[N - 1], want[N * N], want_gap[N - 1];
    Order order = create(1, true, 0, 1, N, 3);
    for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
        int64_t at[N];
        order_set_epoch(&order, epoch);
        for (int64_t p = 0; p < N; p++) {
            at[order_at(&order, p)] = p;
            place[order_at(&order, p) * N + p]++;
        }
        gap[(at[1] - at[0] + N) % N - 1]++;
    }
    for (int i = 0; i < N * N; i++) want[i] = EPOCHS / (double)N;
    for (int i = 0; i < N - 1; i++) want_gap[i] = EPOCHS / (N - 1.0);
    assert_chi_square("places", place, want, N * N);
    assert_chi_square("gaps between neighbours", gap, want_gap, N - 1);
    order_free(&order);
}

/* All 120 orders of five images appear, evenly. */
Test(order, reaches_every_permutation)
{
    enum { N = 5, EPOCHS = 24000 };
    double seen[120] = {0}, want[120];
    Order order = create(2, true, 0, 1, N, 1);
    for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
        int rank = 0;
        order_set_epoch(&order, epoch);
        for (int i = 0; i < N; i++) {
            int smaller = 0;
            for (int j = i + 1; j < N; j++) smaller += order_at(&order, j) < order_at(&order, i);
            rank = rank * (N - i) + smaller;
        }
        seen[rank]++;
    }
    for (int i = 0; i < 120; i++) want[i] = EPOCHS / 120.0;
    assert_chi_square("permutations of five", seen, want, 120);
    order_free(&order);
}

Test(order, reads_a_large_set_window_by_window)
{
    const int64_t count = 5 * ORDER_WINDOW;
    const int shards = 80; /* 16 per window */
    Order order = create(3, true, 0, 1, count, shards);
    int first[80] = {0};
    for (int64_t w = 0; w < 5; w++) {
        bool met[80] = {false};
        int distinct = 0;
        for (int64_t p = w * ORDER_WINDOW; p < (w + 1) * ORDER_WINDOW; p++) {
            int shard = (int)(order_at(&order, p) * shards / count);
            distinct += !met[shard];
            met[shard] = true;
        }
        cr_assert(distinct == 16 || distinct == 17, "window %lld meets %d shards", (long long)w, distinct);
        for (int s = 0; s < shards; s++) first[s] += met[s];
    }
    /* Within a window, the shard of a position says nothing about the position. */
    double quarters[4] = {0}, want[4];
    int64_t shard = order_at(&order, 0) * shards / count, total = 0;
    for (int64_t p = 0; p < ORDER_WINDOW; p++) {
        if (order_at(&order, p) * shards / count != shard) continue;
        quarters[p * 4 / ORDER_WINDOW]++;
        total++;
    }
    for (int i = 0; i < 4; i++) want[i] = (double)total / 4;
    assert_chi_square("quarters of a window", quarters, want, 4);
    order_free(&order);
}

/* timm's RepeatAugSampler: [a a a b b b ...] cut to the length of an epoch. */
Test(order, repeats_each_image_within_its_step)
{
    const int64_t count = 1000;
    const int steps[] = {30, 32, 31, 7, 1};
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        Order order = create(4, true, 3, steps[s], count, 4), plain = create(4, true, 0, steps[s], count, 4);
        order_set_epoch(&order, 1);
        order_set_epoch(&plain, 1);
        /* A step takes what timm's list has there, in another order. */
        for (int64_t begin = 0; begin + steps[s] <= count; begin += steps[s]) {
            int in_step[1000] = {0}, beside = 0;
            for (int64_t p = begin; p < begin + steps[s]; p++) {
                in_step[order_at(&order, p)]++;
                in_step[order_at(&plain, p / 3)]--;
                beside += p + 1 < begin + steps[s] && order_at(&order, p) == order_at(&order, p + 1);
            }
            cr_assert_leq(beside, steps[s] % 3 == 0 ? 0 : 2);
            for (int i = 0; i < 1000; i++) cr_assert_eq(in_step[i], 0);
        }
        order_free(&order);
        order_free(&plain);
    }
}
