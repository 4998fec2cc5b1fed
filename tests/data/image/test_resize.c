#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "data/augment/crop.h"
#include "data/image/pixel_ops.h"
#include "data/dataset/shard.h"
#include "tests/support/golden.h"
#include "tests/support/pixels.h"

static ResizeSource crop_of(const uint8_t *pixels, int width, int left, int top, int columns, int rows)
{
    ptrdiff_t stride = 3 * (ptrdiff_t)width;
    return (ResizeSource){pixels + top * stride + 3 * left, columns, rows, stride};
}

static void resize_to(Resizer *resizer, ResizeSource source, int size, Interpolation filter, uint8_t *out)
{
    Error error = {0};
    ResizeTarget target = {.width = size, .height = size, .columns = size, .rows = size};
    cr_assert_eq(resize(resizer, source, target, filter, out, &error), STATUS_OK, "%s", error.message);
}

static void check_crops(bool portable)
{
    Safetensors file = golden_open("data/resize");
    int64_t shape[3];
    int count;
    uint8_t *noise = golden_bytes(&file, "noise", shape);
    Image photo = golden_image("baseline420_q75_500x375.JPEG");
    GoldenHash *rows = golden_hashes("resize", &count);
    Resizer resizer = {.portable = portable};
    for (int i = 0; i < count; i++) {
        char source[16], filter[16];
        int side, l, t, w, h;
        bool small = strncmp(rows[i].tensor, "out32.", 6) == 0;
        cr_assert_eq(
            sscanf(rows[i].tensor + (small ? 6 : 4), "%15[a-z].l%d_t%d_w%d_h%d.%15s", source, &l, &t, &w, &h, filter),
            6);
        side = rows[i].width;
        bool is_noise = strcmp(source, "noise") == 0;
        ResizeSource crop =
            crop_of(is_noise ? noise : photo.pixels, is_noise ? (int)shape[1] : photo.width, l, t, w, h);
        uint8_t *out = malloc(3 * (size_t)side * (size_t)side);
        resize_to(&resizer, crop, side, strcmp(filter, "bicubic") == 0 ? INTERPOLATION_BICUBIC : INTERPOLATION_BILINEAR,
                  out);
        if (small) {
            int64_t out_shape[3];
            uint8_t *want = golden_bytes(&file, rows[i].tensor, out_shape);
            for (int j = 0; j < 3 * side * side; j++) cr_assert_eq(out[j], want[j], "%s at byte %d", rows[i].tensor, j);
            free(want);
        }
        cr_assert_eq(record_hash(out, 3 * (size_t)side * (size_t)side), rows[i].hash, "%s", rows[i].tensor);
        free(out);
    }
    resizer_free(&resizer);
    image_free(&photo);
    free(noise);
    free(rows);
    safetensors_close(&file);
}

Test(resize, equals_pillow_in_every_byte)
{
    check_crops(false);
}

Test(resize, portable_equals_pillow_in_every_byte)
{
    check_crops(true);
}

/* The source lies at the very end of its memory, so that reading past it shows under a sanitizer. */
static void check_pair(int width, int height, ResizeTarget target, Interpolation filter, uint64_t seed)
{
    Error error = {0};
    size_t bytes = 3 * (size_t)width * (size_t)height, outs = 3 * (size_t)target.columns * (size_t)target.rows;
    uint8_t *in = malloc(bytes), *fast = malloc(outs), *slow = malloc(outs);
    for (size_t i = 0; i < bytes; i++)
        in[i] = (uint8_t)(rng_at(seed, i) % 3 == 0 ? 0 : rng_at(seed, i) % 3 == 1 ? 255 : rng_at(seed, i) >> 56);
    Resizer a = {0}, b = {.portable = true};
    ResizeSource source = {in, width, height, 3 * (ptrdiff_t)width};
    cr_assert_eq(resize(&a, source, target, filter, fast, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(resize(&b, source, target, filter, slow, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(memcmp(fast, slow, outs), 0, "%d x %d to %d x %d", width, height, target.width, target.height);
    resizer_free(&a);
    resizer_free(&b);
    free(in);
    free(fast);
    free(slow);
}

Test(resize, vector_and_portable_passes_agree)
{
    Rng rng = rng_make(3, RNG_SYNTHETIC, 0, 0);
    for (int i = 0; i < 150; i++) {
        int width = 1 + (int)rng_below(&rng, i % 10 == 0 ? 900 : 90), height = 1 + (int)rng_below(&rng, 90);
        int w = 1 + (int)rng_below(&rng, 70), h = 1 + (int)rng_below(&rng, 70);
        int x = (int)rng_below(&rng, (uint64_t)w), y = (int)rng_below(&rng, (uint64_t)h);
        ResizeTarget target = {w,
                               h,
                               x,
                               y,
                               1 + (int)rng_below(&rng, (uint64_t)(w - x)),
                               1 + (int)rng_below(&rng, (uint64_t)(h - y)),
                               i % 3 == 0};
        check_pair(width, height, target, i % 2 ? INTERPOLATION_BICUBIC : INTERPOLATION_BILINEAR, (uint64_t)i);
    }
}

Test(resize, very_wide_images_do_not_overflow_the_vector_sums)
{
    ResizeTarget target = {.width = 5, .height = 3, .columns = 5, .rows = 3};
    check_pair(9000, 2, target, INTERPOLATION_BICUBIC, 1);
    check_pair(2, 9000, target, INTERPOLATION_BICUBIC, 2);
}

Test(resize, a_window_is_a_part_of_the_whole)
{
    Error error = {0};
    Image image = test_image(83, 61, 5);
    Resizer resizer = {0};
    ResizeSource source = {image.pixels, 83, 61, 3 * 83};
    uint8_t whole[40 * 50 * 3], part[13 * 17 * 3];
    ResizeTarget all = {.width = 50, .height = 40, .columns = 50, .rows = 40};
    ResizeTarget window = {.width = 50, .height = 40, .x = 21, .y = 9, .columns = 17, .rows = 13};
    cr_assert_eq(resize(&resizer, source, all, INTERPOLATION_BICUBIC, whole, &error), STATUS_OK);
    cr_assert_eq(resize(&resizer, source, window, INTERPOLATION_BICUBIC, part, &error), STATUS_OK);
    for (int y = 0; y < 13; y++) cr_assert_eq(memcmp(part + y * 51, whole + ((y + 9) * 50 + 21) * 3, 51), 0);
    resizer_free(&resizer);
    image_free(&image);
}

Test(resize, the_same_size_is_a_copy)
{
    Image image = test_image(33, 33, 6);
    Resizer resizer = {0};
    uint8_t out[33 * 33 * 3];
    resize_to(&resizer, (ResizeSource){image.pixels, 33, 33, 99}, 33, INTERPOLATION_BICUBIC, out);
    cr_assert_eq(memcmp(out, image.pixels, sizeof out), 0);
    resizer_free(&resizer);
    image_free(&image);
}

Test(resize, mirrored_is_resized_then_flipped)
{
    Error error = {0};
    const int widths[] = {83, 40};
    for (int i = 0; i < 2; i++) {
        Image image = test_image(widths[i], 61, 5);
        Resizer resizer = {0};
        ResizeSource source = {image.pixels, widths[i], 61, 3 * (ptrdiff_t)widths[i]};
        ResizeTarget target = {.width = 40, .height = 40, .x = 3, .columns = 36, .rows = 40};
        uint8_t flipped[40 * 36 * 3], mirrored[40 * 36 * 3];
        cr_assert_eq(resize(&resizer, source, target, INTERPOLATION_BICUBIC, flipped, &error), STATUS_OK);
        imageops_flip_horizontal(flipped, 36, 40);
        target.mirror = true;
        cr_assert_eq(resize(&resizer, source, target, INTERPOLATION_BICUBIC, mirrored, &error), STATUS_OK);
        cr_assert_eq(memcmp(flipped, mirrored, sizeof flipped), 0);
        resizer_free(&resizer);
        image_free(&image);
    }
}
