#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/rng.h"
#include "core/safetensors.h"
#include "data/image.h"
#include "tests/support/command.h"

static const char IMAGES[] = "tests/goldens/data/images";

typedef struct Bytes {
    char *bytes;
    size_t size;
} Bytes;

static Bytes load(const char *name)
{
    char path[4096];
    Error error = {0};
    Bytes file;
    snprintf(path, sizeof path, "%s/%s", IMAGES, name);
    cr_assert_eq(file_read(path, 1 << 24, &file.bytes, &file.size, &error), STATUS_OK, "%s", error.message);
    return file;
}

static Image decode(const char *name)
{
    Bytes file = load(name);
    Image image = {0};
    Error error = {0};
    cr_assert_eq(image_decode(file.bytes, file.size, &image, &error), STATUS_OK, "%s: %s", name, error.message);
    free(file.bytes);
    return image;
}

/* Every pixel, by the SHA-256 that the reference recorded. */
Test(image, decodes_every_golden_exactly)
{
    char line[4096], path[4096];
    snprintf(path, sizeof path, "%s/pixels", temporary_folder());
    FILE *table = fopen("tests/goldens/data/files.tsv", "r");
    cr_assert(table);
    cr_assert(fgets(line, sizeof line, table));
    int decoded = 0;
    while (fgets(line, sizeof line, table)) {
        char name[256], sha[65];
        int width, height;
        if (sscanf(line, "%255s %*s %*s %*s %d %d %64s", name, &width, &height, sha) != 4) continue;
        Image image = decode(name);
        cr_assert_eq(image.width, width);
        cr_assert_eq(image.height, height);
        Error error = {0};
        cr_assert_eq(file_write(path, image.pixels, (size_t)width * (size_t)height * 3, &error), STATUS_OK);
        Command command = command_run(20, "sha256sum %s", path);
        cr_expect(strncmp(command.output, sha, 64) == 0, "%s: pixels differ from Pillow's", name);
        command_free(&command);
        image_free(&image);
        decoded++;
    }
    fclose(table);
    cr_assert_eq(decoded, 11);
}

/* The same by value, so that a failure says how far off it is. */
Test(image, golden_pixels_by_value)
{
    Error error = {0};
    Safetensors file = {0};
    cr_assert_eq(safetensors_open(&file, "tests/goldens/data/decode.safetensors", &error), STATUS_OK, "%s",
                 error.message);
    for (int i = 0; i < file.count; i++) {
        const SafetensorsEntry *entry = &file.entries[i];
        uint8_t *expected = malloc((size_t)entry->numel);
        cr_assert_eq(safetensors_read(&file, entry, expected, &error), STATUS_OK);
        Image image = decode(strchr(entry->name, '.') + 1);
        int height = (int)entry->shape[0], width = (int)entry->shape[1], worst = 0;
        int top = (image.height - height) / 2, left = (image.width - width) / 2;
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width * 3; x++) {
                int got = image.pixels[((size_t)(top + y) * (size_t)image.width + (size_t)left) * 3 + (size_t)x];
                int off = abs(got - expected[y * width * 3 + x]);
                if (off > worst) worst = off;
            }
        cr_expect_eq(worst, 0, "%s: off by up to %d", entry->name, worst);
        image_free(&image);
        free(expected);
    }
    cr_assert_eq(file.count, 11);
    safetensors_close(&file);
}

static const char *const JPEGS[] = {
    "baseline420_q75_500x375.JPEG", "odd420_q60_61x47.JPEG",   "odd422_q80_67x53.JPEG",
    "full444_q95_64x48.JPEG",       "gray_q80_480x360.JPEG",   "cmyk_q85_301x227.JPEG",
    "ycck_q85_301x227.JPEG",        "png_inside_200x150.JPEG", "progressive420_q85_333x500.JPEG"};
enum { JPEG_COUNT = sizeof JPEGS / sizeof JPEGS[0] };

static ImageBox random_box(Rng *rng, const Image *image)
{
    ImageBox box = {.width = 1 + (int)rng_below(rng, (uint64_t)image->width),
                    .height = 1 + (int)rng_below(rng, (uint64_t)image->height)};
    box.left = (int)rng_below(rng, (uint64_t)(image->width - box.width) + 1);
    box.top = (int)rng_below(rng, (uint64_t)(image->height - box.height) + 1);
    return box;
}

Test(image, a_region_equals_that_part_of_the_whole)
{
    for (int i = 0; i < JPEG_COUNT; i++) {
        Bytes file = load(JPEGS[i]);
        Image whole = decode(JPEGS[i]), part = {0};
        Rng rng = rng_make(1, RNG_CROP, 0, (uint64_t)i);
        for (int round = 0; round < 60; round++) {
            ImageBox box = random_box(&rng, &whole), covered;
            int reduction = 1;
            Error error = {0};
            cr_assert_eq(image_decode_region(file.bytes, file.size, box, &reduction, &part, &covered, &error),
                         STATUS_OK, "%s", error.message);
            cr_assert_eq(reduction, 1);
            cr_assert_eq(memcmp(&covered, &box, sizeof box), 0);
            cr_assert_eq(part.width, box.width);
            cr_assert_eq(part.height, box.height);
            for (int y = 0; y < box.height; y++)
                cr_assert_eq(memcmp(part.pixels + (size_t)y * (size_t)box.width * 3,
                                    whole.pixels + ((size_t)(box.top + y) * (size_t)whole.width + (size_t)box.left) * 3,
                                    (size_t)box.width * 3),
                             0, "%s: row %d of the box %d,%d %d x %d differs", JPEGS[i], y, box.left, box.top,
                             box.width, box.height);
        }
        image_free(&whole);
        image_free(&part);
        free(file.bytes);
    }
}
