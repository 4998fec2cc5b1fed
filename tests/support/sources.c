#include "tests/support/sources.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "core/base/file.h"
#include "tests/support/command.h"
#include "data/dataset/imagenet_classes.h"
#include "tests/support/devkit.h"

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

/* ---- files */

void write_file(const char *folder, const char *name, const void *bytes, size_t size)
{
    char path[4096];
    Error error = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    *strrchr(path, '/') = 0;
    cr_assert_eq(file_make_folders(path, &error), STATUS_OK, "%s", error.message);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert_eq(file_write(path, bytes, size, &error), STATUS_OK, "%s", error.message);
}

void run_or_fail(const char *format, ...)
{
    char line[8192];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    Command command = command_run(120, "%s", line);
    cr_assert_eq(command.exit_status, 0, "%s\n%s", line, command.output);
    command_free(&command);
}

/* ---- folder */

static void copy_golden(const char *folder, const char *name, const char *golden)
{
    char path[4096], *bytes;
    size_t size;
    Error error = {0};
    snprintf(path, sizeof path, "tests/goldens/data/images/%s", golden);
    cr_assert_eq(file_read(path, 1 << 24, &bytes, &size, &error), STATUS_OK, "%s", error.message);
    write_file(folder, name, bytes, size);
    free(bytes);
}

/* A good JPEG with an EXIF block of nonsense put after its first marker. */
static void write_bad_exif(const char *folder, const char *name)
{
    static const char EXIF[] = "\xff\xe1\x00\x10"
                               "Exif\0\0"
                               "MM\0*\xff\xff\xff\xff";
    char *bytes, joined[8192];
    size_t size, length = 18;
    Error error = {0};
    cr_assert_eq(file_read("tests/goldens/data/images/full444_q95_64x48.JPEG", 1 << 20, &bytes, &size, &error),
                 STATUS_OK);
    cr_assert(size + length < sizeof joined);
    memcpy(joined, bytes, 2);
    memcpy(joined + 2, EXIF, length);
    memcpy(joined + 2 + length, bytes + 2, size - 2);
    write_file(folder, name, joined, size + length);
    free(bytes);
}

static void write_bombs(const char *folder)
{
    unsigned char png[33] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\x86\xa0\0\1\x86\xa0\x08\x02";
    static const unsigned char JPEG[] =
        "\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\1\x22\0\2\x11\1\3\x11\1\xff\xd9";
    unsigned long crc = crc32(0, png + 12, 17);
    for (int i = 0; i < 4; i++) png[29 + i] = (unsigned char)(crc >> (24 - 8 * i));
    write_file(folder, "train/n02119789/bomb.png", png, sizeof png);
    write_file(folder, "train/n02119789/bomb.JPEG", JPEG, sizeof JPEG - 1);
}

void write_folder_source(const char *folder)
{
    copy_golden(folder, "train/n02100735/n01_1.JPEG", "baseline420_q75_500x375.JPEG");
    copy_golden(folder, "train/n02100735/n01_2.JPEG", "cmyk_q85_301x227.JPEG");
    copy_golden(folder, "train/n02100735/n01_3.JPEG", "png_inside_200x150.JPEG");
    copy_golden(folder, "train/n02119789/n02_1.JPEG", "ycck_q85_301x227.JPEG");
    copy_golden(folder, "train/n02119789/n02_2.JPEG", "gray_q80_480x360.JPEG");
    copy_golden(folder, "train/n02119789/n02_3.JPEG", "progressive420_q85_333x500.JPEG");
    write_bad_exif(folder, "train/n02119789/n02_4.JPEG");
    copy_golden(folder, "train/n02100735/cut_off.JPEG", "truncated_500x375.JPEG");
    write_file(folder, "train/n02100735/empty.JPEG", "", 0);
    write_file(folder, "train/n02119789/text.JPEG", "not an image\n", 13);
    write_bombs(folder);
    copy_golden(folder, "val/n02119789/ILSVRC2012_val_00000001.JPEG", "odd422_q80_67x53.JPEG");
    copy_golden(folder, "val/n02100735/ILSVRC2012_val_00000002.JPEG", "exif_rot6_160x120.JPEG");
}

/* ---- tars and devkit */

void write_tar_source(const char *folder, const char *tars)
{
    size_t size;
    unsigned char *meta = devkit_meta(IMAGENET_CLASSES, 0, &size);
    cr_assert(meta);
    write_file(tars, "ILSVRC2012_devkit_t12/data/meta.mat", meta, size);
    free(meta);
    write_file(tars, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", "1\n2\n", 4);
    run_or_fail("cd %s && tar czf ILSVRC2012_devkit_t12.tar.gz ILSVRC2012_devkit_t12 && rm -r ILSVRC2012_devkit_t12",
                tars);
    run_or_fail("cd %s/train && for c in n02100735 n02119789; do (cd $c && tar --format=ustar -cf %s/$c.tar *); done",
                folder, tars);
    run_or_fail("cd %s && tar cf ILSVRC2012_img_train.tar n02119789.tar n02100735.tar && rm n02*.tar", tars);
    run_or_fail(
        "mkdir %s/flat && cp %s/val/*/* %s/flat && cd %s/flat && tar cf ../ILSVRC2012_img_val.tar * && rm -r ../flat",
        tars, folder, tars, tars);
}

/* ---- conversion */

ConvertConfig convert_config(const char *source, const char *dest, int shards)
{
    ConvertConfig config;
    convert_defaults(&config);
    config.source = source;
    config.dest = dest;
    config.shards = shards;
    return config;
}

Status convert_all(const ConvertConfig *config, Error *error)
{
    Convert *convert;
    Status status = convert_create(&convert, config, error);
    if (!status) status = convert_run(convert, error);
    if (!status) status = convert_finish(convert, error);
    convert_free(convert);
    return status;
}

void convert_or_fail(const char *source, const char *dest, int shards)
{
    ConvertConfig config = convert_config(source, dest, shards);
    Error error = {0};
    cr_assert_eq(convert_all(&config, &error), STATUS_OK, "%s", error.message);
}

Error convert_refused(const char *source, const char *dest, Status expected)
{
    ConvertConfig config = convert_config(source, dest, 1);
    Error error = {0};
    cr_assert_eq(convert_all(&config, &error), expected, "%d: %s", error.status, error.message);
    return error;
}

Manifest convert_manifest(const char *path)
{
    Manifest manifest;
    Error error = {0};
    cr_assert_eq(manifest_read(&manifest, path, &error), STATUS_OK, "%s", error.message);
    return manifest;
}

OpenedSplit split_open(const char *path, const char *split)
{
    OpenedSplit opened;
    Error error = {0};
    cr_assert_eq(dataset_open(&opened.dataset, path, split, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(dataset_reader_create(&opened.reader, opened.dataset, &error), STATUS_OK);
    return opened;
}

void split_close(OpenedSplit *opened)
{
    dataset_reader_free(opened->reader);
    dataset_close(opened->dataset);
}

Record split_record(const OpenedSplit *opened, int64_t index)
{
    Record record;
    Error error = {0};
    cr_assert_eq(dataset_read(opened->reader, index, &record, &error), STATUS_OK, "%s", error.message);
    return record;
}
