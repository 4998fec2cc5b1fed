#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "data/augment/erase.h"
#include "tests/support/statistics.h"

Test(normal, is_normal)
{
    enum { N = 200000 };
    static double values[N];
    const double moments[2] = {0, 1};
    GaussianTable table;
    gaussian_table(&table);
    Rng rng = rng_make(1, RNG_ERASE, 0, 0);
    double squares = 0, fourth = 0, far = 0;
    for (int i = 0; i < N; i++) {
        double x = values[i] = gaussian_draw(&table, &rng);
        squares += x * x / N;
        fourth += x * x * x * x / N;
        far += fabs(x) > 3.442619855899; /* where the ziggurat's tail begins */
    }
    cr_assert_float_eq(squares, 1.0, 4 * sqrt(2.0 / N));
    cr_assert_float_eq(fourth, 3.0, 4 * sqrt(96.0 / N));
    const double seen[2] = {N - far, far},
                 want[2] = {N * (1 - erfc(3.442619855899 / sqrt(2))), N * erfc(3.442619855899 / sqrt(2))};
    assert_chi_square("tail", seen, want, 2);
    assert_distribution("ziggurat", values, N, cdf_normal, moments);
}

Test(normal, a_run_is_what_single_draws_give)
{
    enum { N = 20000 }; /* some 240 draws from the edges, some 12 of them from the tail */
    static float run[N];
    GaussianTable table;
    gaussian_table(&table);
    Rng one = rng_make(2, RNG_ERASE, 0, 0), other = one;
    for (int begin = 0; begin < N;) {
        int count = 1 + begin % 97;
        if (count > N - begin) count = N - begin;
        gaussian_fill(&table, &other, run + begin, count);
        begin += count;
    }
    for (int i = 0; i < N; i++) cr_assert_eq(run[i], (float)gaussian_draw(&table, &one), "draw %d", i);
    cr_assert_eq(one.counter, other.counter);
}

Test(normal, the_layers_close_at_the_top)
{
    GaussianTable table;
    gaussian_table(&table);
    for (int i = 0; i < GAUSSIAN_LAYERS; i++) cr_assert_gt(table.edge[i], table.edge[i + 1]);
    /* The last layer's area is that of the others. */
    double last = table.edge[GAUSSIAN_LAYERS - 1];
    cr_assert_float_eq(last * (1.0 - exp(-0.5 * last * last)), 9.91256303526217e-3, 1e-9);
}

/* On an image so large that rounding vanishes the drawn area and aspect show. */
Test(erase, boxes_are_distributed_as_timm_draws_them)
{
    enum { N = 20000, SIDE = 100000 };
    static double area[N], aspect[N], top[N], left[N];
    const double unit[2] = {0, 1}, areas[2] = {0.02, 1.0 / 3.0}, aspects[2] = {log(0.3), -log(0.3)};
    int found = 0;
    for (uint64_t i = 0; i < N; i++) {
        EraseBox boxes[ERASE_MAX_COUNT];
        Rng rng = rng_make(2, RNG_ERASE, 0, i);
        int count = erase_sample(&rng, SIDE, 0.25, 1, boxes);
        if (count == 0) continue;
        cr_assert_eq(count, 1);
        EraseBox box = boxes[0];
        cr_assert(box.top >= 0 && box.left >= 0 && box.top + box.height <= SIDE && box.left + box.width <= SIDE);
        area[found] = (double)box.width * box.height / ((double)SIDE * SIDE);
        aspect[found] = log((double)box.height / box.width);
        top[found] = (double)box.top / (SIDE - box.height);
        left[found++] = (double)box.left / (SIDE - box.width);
    }
    const double seen[2] = {found, N - found}, want[2] = {N * 0.25, N * 0.75};
    assert_chi_square("probability", seen, want, 2);
    /* A box of area 1/3 and aspect 1/0.3 is 1.05 images tall: such are drawn again, all others fit at once. */
    int kept = 0;
    for (int i = 0; i < found; i++)
        if (area[i] < 0.29) area[kept] = area[i], aspect[kept] = aspect[i], kept++;
    const double below[2] = {0.02, 0.29};
    (void)areas;
    assert_distribution("area", area, kept, cdf_uniform, below);
    assert_distribution("log aspect", aspect, kept, cdf_uniform, aspects);
    assert_distribution("top", top, found, cdf_uniform, unit);
    assert_distribution("left", left, found, cdf_uniform, unit);
}

Test(erase, several_boxes_share_the_area)
{
    double counts[3] = {0};
    enum { N = 3000, SIDE = 1000 };
    for (uint64_t i = 0; i < N; i++) {
        EraseBox boxes[ERASE_MAX_COUNT];
        Rng rng = rng_make(3, RNG_ERASE, 0, i);
        int count = erase_sample(&rng, SIDE, 1.0, 3, boxes);
        cr_assert(count >= 1 && count <= 3);
        counts[count - 1]++;
        for (int b = 0; b < count; b++)
            cr_assert_leq((double)boxes[b].width * boxes[b].height, 1.01 * SIDE * SIDE / 3.0 / count);
    }
    const double even[3] = {N / 3.0, N / 3.0, N / 3.0};
    assert_chi_square("number of boxes", counts, even, 3);
}

static void fill(EraseMode mode, float *image, int size, EraseBox box)
{
    GaussianTable table;
    gaussian_table(&table);
    Rng rng = rng_make(4, RNG_ERASE, 0, 0);
    for (int i = 0; i < 3 * size * size; i++) image[i] = 99.0f;
    erase_fill(&table, &rng, image, size, box, mode);
}

Test(erase, fills_its_box_and_nothing_else)
{
    enum { SIDE = 12 };
    const EraseBox box = {3, 5, 4, 6};
    float image[3 * SIDE * SIDE];
    for (int mode = ERASE_CONST; mode <= ERASE_PIXEL; mode++) {
        fill((EraseMode)mode, image, SIDE, box);
        for (int c = 0; c < 3; c++) {
            float first = image[(c * SIDE + box.top) * SIDE + box.left];
            int differ = 0;
            for (int y = 0; y < SIDE; y++) {
                for (int x = 0; x < SIDE; x++) {
                    float value = image[(c * SIDE + y) * SIDE + x];
                    bool inside = y >= 3 && y < 7 && x >= 5 && x < 11;
                    cr_assert_eq(inside, value != 99.0f, "mode %d at %d, %d", mode, y, x);
                    differ += inside && value != first;
                    if (inside && mode == ERASE_CONST) cr_assert_eq(value, 0.0f);
                }
            }
            cr_assert_eq(differ, mode == ERASE_PIXEL ? 23 : 0);
        }
        if (mode == ERASE_RAND) cr_assert_neq(image[3 * SIDE + 5], image[(SIDE + 3) * SIDE + 5]);
    }
}
