#include "tests/support/sources.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/file.h"
#include "data/convert.h"

enum { WIDTH = 10, HEIGHT = 8, BITS = 10 };

static void put32(FILE *file, unsigned value)
{
    for (int i = 3; i >= 0; i--) fputc((int)(value >> 8 * i & 255), file);
}

static FILE *create(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    cr_assert(file, "cannot create %s", path);
    return file;
}

int idx_label(int number)
{
    return number * 7 % 10;
}

/* Column c is bright when bit c of the number is set. */
static void write_split(const char *folder, const char *split, int count)
{
    char name[64];
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", split);
    FILE *images = create(folder, name);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", split);
    FILE *labels = create(folder, name);
    put32(images, 0x803), put32(images, (unsigned)count), put32(images, HEIGHT), put32(images, WIDTH);
    put32(labels, 0x801), put32(labels, (unsigned)count);
    for (int i = 0; i < count; i++) {
        fputc(idx_label(i), labels);
        for (int pixel = 0; pixel < WIDTH * HEIGHT; pixel++) fputc(i >> pixel % WIDTH & 1 ? 220 : 30, images);
    }
    cr_assert_eq(fclose(images), 0);
    cr_assert_eq(fclose(labels), 0);
}

void write_idx_source(const char *folder, int train, int val)
{
    Error error = {0};
    cr_assert_eq(file_make_folders(folder, &error), STATUS_OK, "%s", error.message);
    write_split(folder, "train", train);
    write_split(folder, "t10k", val);
}

int idx_image_number(const Image *image)
{
    cr_assert_eq(image->width, WIDTH);
    cr_assert_eq(image->height, HEIGHT);
    int number = 0;
    for (int bit = 0; bit < BITS; bit++) {
        int sum = 0;
        for (int y = 0; y < HEIGHT; y++) sum += image->pixels[(y * WIDTH + bit) * 3];
        if (sum > 125 * HEIGHT) number |= 1 << bit;
    }
    return number;
}

void convert_or_fail(const char *source, const char *dest, int shards)
{
    ConvertConfig config;
    convert_defaults(&config);
    config.source = source;
    config.dest = dest;
    config.shards = shards;
    Error error = {0};
    Convert *convert;
    cr_assert_eq(convert_create(&convert, &config, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(convert_run(convert, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(convert_finish(convert, &error), STATUS_OK, "%s", error.message);
    convert_free(convert);
}
