#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/augment/mix.h"
#include "tests/support/golden.h"
#include "tests/support/pixels.h"
#include "tests/support/statistics.h"

/* (C, H, W) of one image of a golden batch -> (H, W, C) */
static void interleave(const uint8_t *planar, int pixels, uint8_t *out)
{
    for (int i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++) out[3 * i + c] = planar[c * pixels + i];
}

static uint8_t *batch_bytes(const Safetensors *file, const char *name, int *count, int *height, int *width)
{
    int64_t shape[3];
    uint8_t *bytes = golden_bytes(file, name, shape);
    const SafetensorsEntry *entry = safetensors_find(file, name);
    cr_assert_eq(entry->ndim, 4);
    *count = (int)entry->shape[0];
    *height = (int)entry->shape[2];
    *width = (int)entry->shape[3];
    return bytes;
}

static void check_case(const char *name, bool cutmix)
{
    char path[64];
    snprintf(path, sizeof path, "ops/mix_%s", name);
    Safetensors file = golden_open(path);
    int batch, height, width;
    int64_t count, classes, ignored;
    uint8_t *in = batch_bytes(&file, "in.x_u8", &batch, &height, &width),
            *want = batch_bytes(&file, "out.x_u8", &batch, &height, &width);
    double *lam = golden_doubles(&file, "in.lam", &ignored);
    int64_t *labels = golden_ints(&file, "in.label", &ignored),
            *box = golden_ints(&file, "out.box_yl_yh_xl_xh", &ignored);
    float *targets = golden_floats(&file, "out.target", &count);
    const int64_t bytes = 3 * (int64_t)height * width;
    classes = count / batch;
    Mix mix = {.lam = lam[0]};
    if (cutmix) {
        double area = (double)(box[1] - box[0]) * (double)(box[3] - box[2]);
        mix = (Mix){1.0 - area / ((double)height * width), true, (int)box[0], (int)box[1], (int)box[2], (int)box[3]};
    }
    uint8_t *own = malloc((size_t)bytes), *partner = malloc((size_t)bytes), *out = malloc((size_t)bytes),
            *expected = malloc((size_t)bytes);
    float *target = malloc((size_t)classes * sizeof(float));
    for (int i = 0; i < batch; i++) { /* the golden batch is mixed with its reverse */
        int other = batch - 1 - i;
        interleave(in + i * bytes, height * width, own);
        interleave(in + other * bytes, height * width, partner);
        interleave(want + i * bytes, height * width, expected);
        mix_pixels(&mix, height, width, own, partner, out);
        cr_assert_eq(memcmp(out, expected, (size_t)bytes), 0, "%s, image %d", name, i);
        memset(out, 0, (size_t)bytes);
        for (int y = 0; y < height; y += 5) { /* the same in strips */
            int rows = height - y < 5 ? height - y : 5, at = 3 * y * width;
            Mix strip = mix_rows(&mix, y, rows);
            mix_pixels(&strip, rows, width, own + at, partner + at, out + at);
        }
        cr_assert_eq(memcmp(out, expected, (size_t)bytes), 0, "%s, image %d in strips", name, i);
        mix_target(target, (int)classes, labels[i], labels[other], mix.lam, 0.1);
        for (int64_t c = 0; c < classes; c++)
            cr_assert_eq(target[c], targets[i * classes + c], "%s, image %d, class %lld: %.9g, not %.9g", name, i,
                         (long long)c, target[c], targets[i * classes + c]);
    }
    free(own);
    free(partner);
    free(out);
    free(expected);
    free(target);
    free(in);
    free(want);
    free(lam);
    free(labels);
    free(box);
    free(targets);
    safetensors_close(&file);
}

Test(mix, bytes_and_targets_equal_timm)
{
    check_case("mixup", false);
    check_case("mixup_b", false);
    check_case("cutmix_inside", true);
    check_case("cutmix_clipped", true);
    check_case("cutmix_lam0", true);
}

Test(mix, cutmix_boxes_equal_timm)
{
    Safetensors file = golden_open("ops/cutmix_boxes");
    int64_t count;
    double *table = golden_doubles(&file, "table", &count);
    cr_assert_gt(count, 0);
    for (const double *row = table; row < table + count; row += 10) {
        Mix mix = mix_cutmix_box((int)row[0], (int)row[1], row[2], (int)row[3], (int)row[4]);
        cr_assert(mix.top == row[5] && mix.bottom == row[6] && mix.left == row[7] && mix.right == row[8],
                  "%g x %g, lam %g at %g, %g", row[0], row[1], row[2], row[3], row[4]);
        cr_assert_eq(mix.lam, row[9]);
    }
    free(table);
    safetensors_close(&file);
}

Test(mix, an_unmixed_image_and_target_stay_themselves)
{
    uint8_t own[27], partner[27], out[27];
    float target[10];
    memset(own, 7, sizeof own);
    memset(partner, 9, sizeof partner);
    mix_pixels(&(Mix){.lam = 1.0}, 3, 3, own, partner, out);
    cr_assert_eq(memcmp(own, out, sizeof own), 0);
    mix_target(target, 10, 3, 5, 1.0, 0.0);
    for (int c = 0; c < 10; c++) cr_assert_eq(target[c], c == 3 ? 1.0f : 0.0f);
    mix_target(target, 10, 3, 3, 0.25, 0.0);
    for (int c = 0; c < 10; c++) cr_assert_eq(target[c], c == 3 ? 1.0f : 0.0f);
}

/* Beta(2, 2) */
static double cdf_beta_2(double x, const void *unused)
{
    (void)unused;
    return x * x * (3 - 2 * x);
}

Test(mix, draws_are_distributed_as_timm_draws_them)
{
    enum { N = 8000, SIDE = 1000 };
    static double lam[N], ys[N], xs[N];
    double kinds[3] = {0};
    const double unit[2] = {0, 1}, kinds_want[3] = {N * 0.2, N * 0.8 * 0.7, N * 0.8 * 0.3};
    int mixups = 0;
    PipelineConfig config = test_pipeline(SIDE);
    config.mixup = 2.0;
    config.mixup_prob = 0.8;
    config.mixup_switch_prob = 0.3;
    for (uint64_t i = 0; i < N; i++) {
        Rng rng = rng_make(1, RNG_MIX, 0, i);
        Mix mix = mix_sample(&config, &rng, SIDE);
        kinds[mix.cutmix ? 2 : mix.lam < 1.0 ? 1 : 0]++;
        if (!mix.cutmix && mix.lam < 1.0) lam[mixups++] = mix.lam;
        if (!mix.cutmix) continue;
        cr_assert_eq(mix.lam, 1.0 - (double)(mix.bottom - mix.top) * (mix.right - mix.left) / ((double)SIDE * SIDE));
    }
    assert_chi_square("none, mixup, cutmix", kinds, kinds_want, 3);
    assert_distribution("mixup's lam", lam, mixups, cdf_beta_2, NULL);

    /* Cutmix: with a box that is never cut off, 1 - lam is the drawn one; its centre is even over the image. */
    int found = 0;
    for (uint64_t i = 0; i < N; i++) {
        Rng rng = rng_make(2, RNG_MIX, 0, i);
        config.mixup = 0;
        config.mixup_prob = 1;
        Mix mix = mix_sample(&config, &rng, SIDE);
        cr_assert(mix.cutmix);
        if (mix.bottom - mix.top > SIDE / 4 || mix.bottom == mix.top) continue; /* small boxes: the centre shows */
        double y = (mix.top + mix.bottom) / 2.0 / SIDE, x = (mix.left + mix.right) / 2.0 / SIDE;
        if (mix.top == 0 || mix.bottom == SIDE || mix.left == 0 || mix.right == SIDE) continue;
        if (y < 0.125 || y > 0.875 || x < 0.125 || x > 0.875) continue;
        ys[found] = (y - 0.125) / 0.75;
        xs[found++] = (x - 0.125) / 0.75;
    }
    cr_assert_gt(found, 200);
    assert_distribution("cutmix centre, y", ys, found, cdf_uniform, unit);
    assert_distribution("cutmix centre, x", xs, found, cdf_uniform, unit);
}
