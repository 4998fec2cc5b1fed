#include <criterion/criterion.h>
#include <math.h>

#include "data/augment/crop.h"
#include "tests/support/statistics.h"

static const double SCALE[2] = {0.08, 1.0}, RATIO[2] = {3.0 / 4.0, 4.0 / 3.0};

Test(crop, centre_follows_torchvision)
{
    const struct {
        int width, height, side, size, w, h, x, y;
    } cases[] = {
        {500, 375, 248, 224, 330, 248, 53, 12},                                       /* int(248 * 500 / 375) = 330 */
        {333, 500, 248, 224, 248, 372, 12, 74}, {61, 47, 248, 224, 321, 248, 48, 12}, /* 48.5 rounds to even */
        {64, 47, 248, 224, 337, 248, 56, 12},                                         /* 56.5 rounds to even */
        {67, 53, 248, 224, 313, 248, 44, 12},                                         /* 44.5 */
        {224, 224, 224, 224, 224, 224, 0, 0},   {1, 1, 36, 32, 36, 36, 2, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ResizeTarget t = crop_centre(cases[i].width, cases[i].height, cases[i].side, cases[i].size);
        cr_assert(t.width == cases[i].w && t.height == cases[i].h && t.x == cases[i].x && t.y == cases[i].y,
                  "%d x %d: %d x %d at %d, %d", cases[i].width, cases[i].height, t.width, t.height, t.x, t.y);
        cr_assert(t.columns == cases[i].size && t.rows == cases[i].size);
    }
}

Test(crop, boxes_lie_inside)
{
    const int sizes[][2] = {{500, 375}, {375, 500}, {1, 1}, {2, 900}, {900, 2}, {32, 32}, {3000, 7}};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (uint64_t i = 0; i < 2000; i++) {
            Rng rng = rng_make(1, RNG_CROP, 0, i);
            ImageBox box = crop_random(&rng, sizes[s][0], sizes[s][1], SCALE, RATIO);
            cr_assert(box.width >= 1 && box.height >= 1 && box.left >= 0 && box.top >= 0);
            cr_assert(box.left + box.width <= sizes[s][0] && box.top + box.height <= sizes[s][1]);
        }
    }
}

Test(crop, falls_back_to_the_centre)
{
    Rng rng = rng_make(1, RNG_CROP, 0, 0);
    const double whole[2] = {1.0, 1.0};
    ImageBox wide = crop_random(&rng, 300, 100, whole, RATIO), tall = crop_random(&rng, 100, 300, whole, RATIO);
    cr_assert(wide.left == 83 && wide.top == 0 && wide.width == 133 && wide.height == 100);
    cr_assert(tall.left == 0 && tall.top == 83 && tall.width == 100 && tall.height == 133);
}

/* In a square so large that rounding vanishes and almost every box fits at once, the drawn area and aspect show. */
Test(crop, area_and_aspect_are_distributed_as_timm_draws_them)
{
    enum { N = 4000, SIDE = 100000 };
    static double area[N], aspect[N], left[N], top[N];
    const double scale[2] = {0.08, 0.5}; /* sqrt(0.5 * 4/3) < 1: always fits */
    const double unit[2] = {0, 1}, aspects[2] = {log(RATIO[0]), log(RATIO[1])};
    for (uint64_t i = 0; i < N; i++) {
        Rng rng = rng_make(11, RNG_CROP, 0, i);
        ImageBox box = crop_random(&rng, SIDE, SIDE, scale, RATIO);
        area[i] = (double)box.width * box.height / ((double)SIDE * SIDE);
        aspect[i] = log((double)box.width / box.height);
        left[i] = (double)box.left / (SIDE - box.width);
        top[i] = (double)box.top / (SIDE - box.height);
    }
    assert_distribution("area", area, N, cdf_uniform, scale);
    assert_distribution("log aspect", aspect, N, cdf_uniform, aspects);
    assert_distribution("left", left, N, cdf_uniform, unit);
    assert_distribution("top", top, N, cdf_uniform, unit);
}
