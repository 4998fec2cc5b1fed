#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/image/pixel_ops.h"
#include "data/augment/color_jitter.h"
#include "data/image/pixel_kernels.h"
#include "data/augment/sample.h"
#include "data/dataset/shard.h"
#include "tests/support/golden.h"
#include "tests/support/pixels.h"
#include "tests/support/statistics.h"

static const char *const NAMES[AUGMENT_OPS] = {
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "PosterizeIncreasing",
    "SolarizeIncreasing",
    "SolarizeAdd",
    "ColorIncreasing",
    "ContrastIncreasing",
    "BrightnessIncreasing",
    "SharpnessIncreasing",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
};

static int op_of(const char *name)
{
    for (int i = 0; i < AUGMENT_OPS; i++) {
        size_t length = strlen(NAMES[i]);
        if (strncmp(name, NAMES[i], length) == 0 && (name[length] == '.' || name[length] == '\0')) return i;
    }
    return -1;
}

static Canvas canvas_of(const uint8_t *pixels, int width, int height)
{
    size_t bytes = 3 * (size_t)width * (size_t)height;
    Canvas canvas = {width, height, malloc(bytes + 1), malloc(bytes + 1)};
    memcpy(canvas.pixels, pixels, bytes);
    return canvas;
}

Test(randaugment, operations_equal_pillow_in_every_byte)
{
    Safetensors file = golden_open("data/randaugment");
    int64_t shape[3];
    int count, checked = 0, whole = 0;
    uint8_t *in = golden_bytes(&file, "in.image", shape);
    const int width = (int)shape[1], height = (int)shape[0];
    const size_t bytes = 3 * (size_t)width * (size_t)height;
    GoldenHash *rows = golden_hashes("randaugment", &count);
    for (int i = 0; i < count; i++) {
        const char *name = rows[i].tensor + 4; /* "out." */
        Canvas canvas = canvas_of(in, width, height);
        bool mean_fill = strstr(name, "fill_124_116_104") != NULL;
        const uint8_t fill[3] = {mean_fill ? 124 : 128, mean_fill ? 116 : 128, mean_fill ? 104 : 128};
        int op = op_of(name);
        AugmentStep step = {.op = (AugmentOp)op,
                            .argument = isnan(rows[i].argument) ? 0 : rows[i].argument,
                            .filter = strstr(name, "bicubic") ? INTERPOLATION_BICUBIC : INTERPOLATION_BILINEAR};
        if (op < 0) {
            cr_assert_str_eq(name, "hflip");
            imageops_flip_horizontal(canvas.pixels, width, height);
        } else {
            augment_apply(&step, fill, &canvas);
        }
        if (safetensors_find(&file, rows[i].tensor)) {
            int64_t same[3];
            uint8_t *want = golden_bytes(&file, rows[i].tensor, same);
            for (size_t j = 0; j < bytes; j++) cr_assert_eq(canvas.pixels[j], want[j], "%s at byte %zu", name, j);
            free(want);
            whole++;
        }
        cr_assert_eq(record_hash(canvas.pixels, bytes), rows[i].hash, "%s", name);
        checked++;
        canvas_free(&canvas);
    }
    cr_assert_eq(checked, 98);
    cr_assert_eq(whole, 10);
    free(rows);
    free(in);
    safetensors_close(&file);
}

Test(randaugment, arguments_equal_timm)
{
    Safetensors file = golden_open("data/randaugment_levels");
    int64_t count;
    double *magnitudes = golden_doubles(&file, "magnitude", &count);
    int checked = 0;
    for (int op = 0; op < AUGMENT_OPS; op++) {
        for (int negate = 0; negate < 2; negate++) {
            char name[64];
            snprintf(name, sizeof name, "%s.%s", negate ? "arg_negated" : "arg", NAMES[op]);
            if (!safetensors_find(&file, name)) continue;
            double *want = golden_doubles(&file, name, &count);
            for (int64_t i = 0; i < count; i++)
                cr_assert_eq(augment_argument((AugmentOp)op, magnitudes[i], true, negate), want[i], "%s at %g", name,
                             magnitudes[i]);
            cr_assert(!negate || augment_is_signed((AugmentOp)op, true));
            free(want);
            checked++;
        }
    }
    cr_assert_eq(checked, 21);
    free(magnitudes);
    safetensors_close(&file);
}

Test(randaugment, the_plain_set_has_other_arguments)
{
    cr_assert_eq(augment_argument(AUGMENT_POSTERIZE, 9, false, false), 3);
    cr_assert_eq(augment_argument(AUGMENT_SOLARIZE, 9, false, false), 230);
    cr_assert_float_eq(augment_argument(AUGMENT_COLOR, 9, false, false), 1.72, 1e-12);
    cr_assert_not(augment_is_signed(AUGMENT_COLOR, false));
    cr_assert(augment_is_signed(AUGMENT_ROTATE, false));
}

Test(randaugment, grammar)
{
    const struct {
        const char *text;
        RandAugment want;
    } good[] = {
        {"", {0, 0, 0, false}},
        {"rand", {10, 0, 2, false}},
        {"rand-m9-mstd0.5-inc1", {9, 0.5, 2, true}},
        {"rand-m9-n3-mstd0.5", {9, 0.5, 3, false}},
        {"rand-inc1-mstd1-n1-m0", {0, 1, 1, true}},
        {"rand-m7-inc0", {7, 0, 2, false}},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        Error error = {0};
        RandAugment got;
        cr_assert_eq(randaugment_parse(&got, good[i].text, &error), STATUS_OK, "%s", error.message);
        cr_assert(got.magnitude == good[i].want.magnitude && got.deviation == good[i].want.deviation, "%s",
                  good[i].text);
        cr_assert(got.layers == good[i].want.layers && got.increasing == good[i].want.increasing, "%s", good[i].text);
    }
    const char *const bad[] = {"v0",        "randm9",    "rand-",      "rand-m",       "rand-m11",     "rand-m9.5",
                               "rand-m-1",  "rand-n0",   "rand-n17",   "rand-inc2",    "rand-x3",      "rand-w0",
                               "rand-mstd", "rand-m9-",  "rand-m9x",   "rand-mstdnan", "rand-mstdinf", "rand--m9",
                               "Rand-m9",   "rand-m0x9", "rand-m1e400"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Error error = {0};
        RandAugment got;
        cr_assert_eq(randaugment_parse(&got, bad[i], &error), STATUS_USAGE, "%s", bad[i]);
        cr_assert(strstr(error.message, "expected rand-m9"), "%s", error.message);
    }
}

enum { DRAWS = 40000 };

static RandAugment parse(const char *text)
{
    RandAugment policy;
    Error error = {0};
    cr_assert_eq(randaugment_parse(&policy, text, &error), STATUS_OK, "%s", error.message);
    return policy;
}

/* timm: each of 2 layers picks one of 15 operations evenly and applies it with probability 0.5, with either filter and
 * either sign evenly. */
Test(randaugment, operations_filters_and_signs_are_drawn_evenly)
{
    RandAugment policy = parse("rand-m9-mstd0.5-inc1");
    double ops[AUGMENT_OPS] = {0}, even_ops[AUGMENT_OPS], lengths[3] = {0}, both[4] = {0}, steps_seen = 0,
           signed_seen = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        AugmentStep steps[AUGMENT_MAX_LAYERS];
        Rng rng = rng_make(5, RNG_AUGMENT, 1, i);
        int count = randaugment_sample(&policy, &rng, INTERPOLATION_RANDOM, steps);
        lengths[count]++;
        for (int s = 0; s < count; s++) {
            ops[steps[s].op]++;
            steps_seen++;
            if (steps[s].op != AUGMENT_ROTATE && steps[s].op < AUGMENT_SHEAR_X) continue;
            both[(steps[s].filter == INTERPOLATION_BICUBIC) * 2 + (steps[s].argument < 0)]++;
            signed_seen++;
        }
    }
    const double lengths_want[3] = {DRAWS / 4.0, DRAWS / 2.0, DRAWS / 4.0};
    const double both_want[4] = {signed_seen / 4, signed_seen / 4, signed_seen / 4, signed_seen / 4};
    for (int i = 0; i < AUGMENT_OPS; i++) even_ops[i] = steps_seen / AUGMENT_OPS;
    assert_chi_square("number of steps", lengths, lengths_want, 3);
    assert_chi_square("operations", ops, even_ops, AUGMENT_OPS);
    assert_chi_square("filter and sign", both, both_want, 4);
}

Test(randaugment, pairs_of_operations_are_independent)
{
    RandAugment policy = parse("rand-m9-inc1");
    static double seen[AUGMENT_OPS * AUGMENT_OPS], want[AUGMENT_OPS * AUGMENT_OPS];
    double total = 0;
    for (uint64_t i = 0; i < 4 * DRAWS; i++) {
        AugmentStep steps[AUGMENT_MAX_LAYERS];
        Rng rng = rng_make(6, RNG_AUGMENT, 0, i);
        if (randaugment_sample(&policy, &rng, INTERPOLATION_RANDOM, steps) < 2) continue;
        seen[steps[0].op * AUGMENT_OPS + steps[1].op]++;
        total++;
    }
    for (int i = 0; i < AUGMENT_OPS * AUGMENT_OPS; i++) want[i] = total / (AUGMENT_OPS * AUGMENT_OPS);
    assert_chi_square("pairs of operations", seen, want, AUGMENT_OPS * AUGMENT_OPS);
}

/* The rotation's argument is 3 degrees per unit of magnitude. */
static int rotation_magnitudes(const char *text, double *values)
{
    RandAugment policy = parse(text);
    int found = 0;
    for (uint64_t i = 0; i < 4 * DRAWS; i++) {
        AugmentStep steps[AUGMENT_MAX_LAYERS];
        Rng rng = rng_make(8, RNG_AUGMENT, 0, i);
        int count = randaugment_sample(&policy, &rng, INTERPOLATION_RANDOM, steps);
        for (int s = 0; s < count; s++)
            if (steps[s].op == AUGMENT_ROTATE) values[found++] = fabs(steps[s].argument) / 3.0;
    }
    return found;
}

Test(randaugment, magnitude_is_normal_and_clipped)
{
    static double values[4 * DRAWS];
    const double moments[2] = {5, 0.5};
    int count = rotation_magnitudes("rand-m5-mstd0.5-inc1", values); /* clipped at 10 deviations */
    assert_distribution("magnitude", values, count, cdf_normal, moments);

    double cells[2] = {0}, want[2];
    count = rotation_magnitudes("rand-m9-mstd0.5-inc1", values);
    for (int i = 0; i < count; i++) {
        cr_assert(values[i] >= 0 && values[i] <= 10 + 1e-12);
        cells[values[i] > 10 - 1e-9]++; /* timm clips two deviations above 9 */
    }
    want[1] = count * 0.5 * erfc(2 / sqrt(2.0));
    want[0] = count - want[1];
    assert_chi_square("clipped magnitudes", cells, want, 2);

    count = rotation_magnitudes("rand-m9-inc1", values);
    for (int i = 0; i < count; i++) cr_assert_float_eq(values[i], 9, 1e-12);
}

Test(randaugment, a_fixed_filter_is_obeyed)
{
    RandAugment policy = parse("rand-inc1");
    for (uint64_t i = 0; i < 100; i++) {
        AugmentStep steps[AUGMENT_MAX_LAYERS];
        Rng rng = rng_make(9, RNG_AUGMENT, 0, i);
        int count = randaugment_sample(&policy, &rng, INTERPOLATION_BICUBIC, steps);
        for (int s = 0; s < count; s++) cr_assert_eq(steps[s].filter, INTERPOLATION_BICUBIC);
    }
}

/* Pillow's transform, written down one channel at a time. */
static int clamp(int value, int size)
{
    return value < 0 ? 0 : value >= size ? size - 1 : value;
}

static double between(const double v[4], double d, bool cubic)
{
    double p2 = -v[0] + v[2], p3 = 2 * (v[0] - v[1]) + v[2] - v[3], p4 = -v[0] + v[1] - v[2] + v[3];
    return cubic ? v[1] + d * (p2 + d * (p3 + d * p4)) : v[1] + (v[2] - v[1]) * d;
}

static void affine_reference(const Affine *affine, const uint8_t *in, int width, int height, bool cubic,
                             const uint8_t fill[3], uint8_t *out)
{
    const double *m = affine->m;
    for (int i = 0; i < 3 * width * height; i++) {
        int x = i / 3 % width, y = i / 3 / width;
        double sx = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2], sy = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];
        out[i] = fill[i % 3];
        if (!(sx >= 0 && sx < width && sy >= 0 && sy < height)) continue;
        int left = (int)floor(sx - 0.5), top = (int)floor(sy - 0.5);
        double column[4], v[4];
        for (int j = 0; j < 4; j++) {
            const uint8_t *row = in + 3 * width * clamp(top - 1 + j, height) + i % 3;
            for (int k = 0; k < 4; k++) v[k] = row[3 * clamp(left - 1 + k, width)];
            column[j] = between(v, sx - 0.5 - left, cubic);
        }
        out[i] = (uint8_t)fmax(0, fmin(255, between(column, sy - 0.5 - top, cubic)));
    }
}

Test(affine, is_the_transform_of_its_reference)
{
    const uint8_t fill[3] = {1, 2, 3};
    Rng rng = rng_make(4, RNG_SYNTHETIC, 0, 0);
    for (int i = 0; i < 120; i++) {
        int width = 1 + (int)rng_below(&rng, 50), height = 1 + (int)rng_below(&rng, 50);
        Image image = test_image(width, height, (uint64_t)i);
        size_t bytes = 3 * (size_t)width * (size_t)height;
        uint8_t *in = malloc(bytes), *fast = malloc(bytes), *slow = malloc(bytes);
        /* Also extremes, and surfaces of few levels, on which sums fall on integers. */
        for (size_t j = 0; j < bytes; j++)
            in[j] = i % 3 == 0   ? image.pixels[j]
                    : i % 3 == 1 ? (uint8_t)(rng_u64(&rng) % 2 * 255)
                                 : (uint8_t)(image.pixels[j] / 64 * 64);
        Affine transforms[] = {affine_rotate(rng_range(&rng, -180, 180), width, height),
                               affine_shear_x(rng_range(&rng, -1, 1)),
                               affine_shear_y(rng_range(&rng, -1, 1)),
                               affine_translate(rng_range(&rng, -9, 9), rng_range(&rng, -9, 9)),
                               affine_translate(3, -2),
                               affine_translate(0.25, -0.5),
                               affine_shear_x(0.125),
                               affine_shear_y(0.5)};
        for (size_t t = 0; t < sizeof transforms / sizeof transforms[0]; t++) {
            for (int cubic = 0; cubic < 2; cubic++) {
                affine_reference(&transforms[t], in, width, height, cubic, fill, slow);
                affine_apply(&transforms[t], in, width, height, cubic ? INTERPOLATION_BICUBIC : INTERPOLATION_BILINEAR,
                             fill, fast);
                cr_assert_eq(memcmp(fast, slow, bytes), 0, "%d x %d, transform %zu, cubic %d", width, height, t, cubic);
            }
        }
        free(in);
        free(fast);
        free(slow);
        image_free(&image);
    }
}

#if defined(__x86_64__)
Test(loops, vector_and_portable_loops_agree)
{
    enum { WIDTH = 61, HEIGHT = 7, ROW = 3 * WIDTH, BYTES = ROW * HEIGHT };
    uint8_t in[BYTES], other[BYTES], slow[BYTES], fast[BYTES];
    Rng rng = rng_make(10, RNG_SYNTHETIC, 0, 0);
    if (!__builtin_cpu_supports("avx2")) return;
    for (int round = 0; round < 200; round++) {
        float lam = (float)rng_uniform(&rng), factor = (float)rng_range(&rng, 0, 2);
        int level = (int)rng_below(&rng, 257);
        for (int i = 0; i < BYTES; i++) {
            in[i] = (uint8_t)rng_u64(&rng);
            other[i] = (uint8_t)rng_u64(&rng);
        }
        const PixelKernels *const both[2] = {&pixel_kernels_portable, &pixel_kernels_avx2};
        for (int i = 0; i < 2; i++) {
            uint8_t *out = i ? fast : slow, *part = out;
            both[i]->mixup(in, other, ROW, lam, 1.0f - lam, part);
            part += ROW;
            memcpy(part, in, 3 * ROW);
            both[i]->color(part, WIDTH, factor);
            both[i]->solarize(part + ROW, ROW, level);
            both[i]->solarize_add(part + 2 * ROW, ROW, level);
            part += 3 * ROW;
            memcpy(part, in, ROW);
            both[i]->keep_bits(part, ROW, (uint8_t)level);
            part += ROW;
            memset(part, 0, ROW);
            both[i]->sharpen(in + ROW, ROW, factor, part);
        }
        cr_assert_eq(memcmp(fast, slow, 6 * ROW), 0);
        cr_assert_eq(pixel_kernels_portable.luma_sum(in, BYTES / 3), pixel_kernels_avx2.luma_sum(in, BYTES / 3));
    }
}
#endif

Test(imageops, flips_undo_themselves)
{
    Image image = test_image(31, 17, 1), copy = test_image(31, 17, 1);
    const size_t bytes = 31 * 17 * 3;
    imageops_flip_vertical(image.pixels, 31, 17);
    cr_assert_eq(memcmp(image.pixels, copy.pixels + 16 * 93, 93), 0);
    imageops_flip_vertical(image.pixels, 31, 17);
    cr_assert_eq(memcmp(image.pixels, copy.pixels, bytes), 0);
    imageops_flip_horizontal(image.pixels, 31, 17);
    imageops_flip_horizontal(image.pixels, 31, 17);
    cr_assert_eq(memcmp(image.pixels, copy.pixels, bytes), 0);
    image_free(&image);
    image_free(&copy);
}

Test(imageops, one_colour_stays_itself)
{
    uint8_t pixels[3 * 25], want[3 * 25];
    for (int i = 0; i < 25; i++) memcpy(want + 3 * i, (const uint8_t[3]){9, 200, 77}, 3);
    memcpy(pixels, want, sizeof want);
    imageops_auto_contrast(pixels, 25);
    imageops_equalize(pixels, 25);
    imageops_brightness(pixels, 25, 1.0);
    imageops_posterize(pixels, 25, 8);
    cr_assert_eq(memcmp(pixels, want, sizeof want), 0);
    imageops_posterize(pixels, 25, 0);
    for (int i = 0; i < 75; i++) cr_assert_eq(pixels[i], 0);
}

Test(jitter, factors_and_order_are_drawn_as_torchvision_draws_them)
{
    enum { N = 6000 };
    static double factors[JITTER_KINDS][N];
    double orders[JITTER_KINDS * JITTER_KINDS] = {0}, want[JITTER_KINDS * JITTER_KINDS];
    double permutations[6] = {0}, even[6];
    for (uint64_t i = 0; i < N; i++) {
        Rng rng = rng_make(2, RNG_JITTER, 0, i);
        ColorJitter jitter = color_jitter_sample(&rng, 0.4);
        bool seen[JITTER_KINDS] = {false};
        for (int k = 0; k < JITTER_KINDS; k++) {
            factors[k][i] = jitter.factor[k];
            cr_assert_not(seen[jitter.order[k]]);
            seen[jitter.order[k]] = true;
            orders[k * JITTER_KINDS + jitter.order[k]]++;
        }
        permutations[jitter.order[0] * 2 + (jitter.order[1] > jitter.order[2])]++;
    }
    const double range[2] = {0.6, 1.4};
    for (int k = 0; k < JITTER_KINDS; k++) assert_distribution("jitter factor", factors[k], N, cdf_uniform, range);
    for (int i = 0; i < JITTER_KINDS * JITTER_KINDS; i++) want[i] = N / 3.0;
    for (int i = 0; i < 6; i++) even[i] = N / 6.0;
    assert_chi_square("jitter places", orders, want, JITTER_KINDS * JITTER_KINDS);
    assert_chi_square("jitter orders", permutations, even, 6);
}

Test(jitter, strength_above_one_is_cut_at_black)
{
    for (uint64_t i = 0; i < 200; i++) {
        Rng rng = rng_make(3, RNG_JITTER, 0, i);
        ColorJitter jitter = color_jitter_sample(&rng, 2.0);
        for (int k = 0; k < JITTER_KINDS; k++) cr_assert(jitter.factor[k] >= 0.0 && jitter.factor[k] < 3.0);
    }
}
