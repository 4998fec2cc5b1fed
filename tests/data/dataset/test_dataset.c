#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "data/convert/convert.h"
#include "data/dataset/dataset.h"

#include "tests/support/command.h"
#include "tests/support/sources.h"

static char dest[4096];

/* 300 + 40 gray images of 10 x 8 in three training shards. */
static void make_dataset(void)
{
    char source[4096];
    snprintf(source, sizeof source, "%s/idx", temporary_folder());
    snprintf(dest, sizeof dest, "%s/dataset", temporary_folder());
    write_idx_source(source, 300, 40);
    convert_or_fail(source, dest, 3);
}

static Status open_error(const char *split, Error *error)
{
    *error = (Error){0};
    Dataset *dataset;
    Status status = dataset_open(&dataset, dest, split, error);
    dataset_close(dataset);
    return status;
}

static void shell(const char *format, const char *argument)
{
    char line[8192];
    snprintf(line, sizeof line, format, argument);
    cr_assert_eq(system(line), 0);
}

Test(dataset, yields_every_image_once_with_its_label, .init = make_dataset)
{
    Error error = {0};
    Dataset *dataset;
    DatasetReader *reader;
    cr_assert_eq(dataset_open(&dataset, dest, "train", &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(dataset_reader_create(&reader, dataset, &error), STATUS_OK);
    cr_assert_eq(dataset_count(dataset), 300);
    cr_assert_eq(dataset_classes(dataset), 10);
    cr_assert_str_eq(dataset_class_name(dataset, 7), "7");
    cr_assert_eq(dataset_shards(dataset), 3);
    cr_assert_eq(dataset_shard_begin(dataset, 3), 300);
    Image image = {0};
    int seen[300] = {0}, in_place = 0;
    for (int64_t i = 0; i < 300; i++) {
        Record record;
        dataset_prefetch(reader, (i + 7) % 310);
        cr_assert_eq(dataset_read(reader, i, &record, &error), STATUS_OK, "%s", error.message);
        cr_assert_eq(image_decode(record.bytes, record.size, &image, &error), STATUS_OK, "%s", error.message);
        cr_assert_eq(image.width, record.width);
        cr_assert_eq(image.height, record.height);
        int number = idx_image_number(&image);
        cr_assert(number >= 0 && number < 300);
        cr_assert_eq(record.label, idx_label(number));
        seen[number]++;
        in_place += number == i;
    }
    for (int i = 0; i < 300; i++) cr_assert_eq(seen[i], 1, "image %d was seen %d times", i, seen[i]);
    cr_assert_lt(in_place, 20, "the training split is not shuffled");
    image_free(&image);
    dataset_reader_free(reader);
    dataset_close(dataset);
}

Test(dataset, validation_keeps_the_order_of_the_source, .init = make_dataset)
{
    Error error = {0};
    Dataset *dataset;
    DatasetReader *reader;
    cr_assert_eq(dataset_open(&dataset, dest, "val", &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(dataset_reader_create(&reader, dataset, &error), STATUS_OK);
    Image image = {0};
    for (int64_t i = 0; i < 40; i++) {
        Record record;
        cr_assert_eq(dataset_read(reader, i, &record, &error), STATUS_OK);
        cr_assert_eq(image_decode(record.bytes, record.size, &image, &error), STATUS_OK);
        cr_assert_eq(idx_image_number(&image), i);
    }
    Record record;
    cr_assert_eq(dataset_read(reader, 40, &record, &error), STATUS_FAILED);
    image_free(&image);
    dataset_reader_free(reader);
    dataset_close(dataset);
}

Test(dataset, says_what_is_missing_or_cut_off, .init = make_dataset)
{
    Error error;
    cr_assert_eq(open_error("test", &error), STATUS_DATA);
    cr_assert(strstr(error.message, "'train', val") || strstr(error.message, "train"), "%s", error.message);

    shell("truncate -s -4096 %s/train-001.mdb", dest);
    cr_assert_eq(open_error("train", &error), STATUS_DATA);
    cr_assert(strstr(error.message, "train-001.mdb") && strstr(error.message, "incomplete"), "%s", error.message);
    cr_assert_eq(open_error("val", &error), STATUS_OK, "another split is not concerned");

    shell("rm %s/train-001.mdb", dest);
    cr_assert_eq(open_error("train", &error), STATUS_DATA);
    cr_assert(strstr(error.message, "train-001.mdb: missing"), "%s", error.message);

    shell("rm %s/manifest.json", dest);
    cr_assert_eq(open_error("train", &error), STATUS_DATA);
    cr_assert(strstr(error.message, "not a finished data set"), "%s", error.message);
}

Test(dataset, refuses_a_shard_of_another_data_set, .init = make_dataset)
{
    Error error;
    /* A shard of the right size but with other contents: its count gives it away. */
    shell(
        "cd %s && size=$(stat -c %%s train-000.mdb) && cp val-000.mdb train-000.mdb && truncate -s $size train-000.mdb",
        dest);
    cr_assert_eq(open_error("train", &error), STATUS_DATA);
    cr_assert(strstr(error.message, "different data sets"), "%s", error.message);
}

/* Flips bits of one byte of the first record of the validation split, counted from its magic; then exactly one record
 * must be refused, with these words. */
static void expect_refusal(long offset, int bits, const char *words)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/val-000.mdb", dest);
    FILE *file = fopen(path, "r+b");
    cr_assert(file);
    char *bytes = malloc(1 << 20);
    size_t size = fread(bytes, 1, 1 << 20, file);
    char *magic = memmem(bytes, size, "T2TR", 4);
    cr_assert(magic);
    long at = magic - bytes + offset;
    fseek(file, at, SEEK_SET);
    fputc(bytes[at] ^ bits, file);
    fclose(file);
    free(bytes);

    Error error = {0};
    Dataset *dataset;
    DatasetReader *reader;
    cr_assert_eq(dataset_open(&dataset, dest, "val", &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(dataset_reader_create(&reader, dataset, &error), STATUS_OK);
    int bad = 0;
    for (int64_t i = 0; i < 40; i++) {
        Error why = {0};
        Record record;
        if (dataset_read(reader, i, &record, &why) == STATUS_OK) continue;
        bad++;
        cr_assert(strstr(why.message, words) && strstr(why.message, "val-000.mdb"), "%s", why.message);
    }
    cr_assert_eq(bad, 1);
    dataset_reader_free(reader);
    dataset_close(dataset);
}

Test(dataset, refuses_a_record_whose_bytes_changed, .init = make_dataset)
{
    expect_refusal(RECORD_HEADER + 40, 1, "hash");
}

Test(dataset, refuses_a_label_that_no_class_has, .init = make_dataset)
{
    expect_refusal(8, 128, "manifest.json lists 10 classes");
}

Test(dataset, refuses_an_empty_split)
{
    /* Every training image is broken: the conversion says so, and what it leaves cannot be trained on. */
    char source[4096];
    snprintf(source, sizeof source, "%s/folder", temporary_folder());
    snprintf(dest, sizeof dest, "%s/dataset", temporary_folder());
    write_file(source, "train/a/1.JPEG", "no image", 8);
    write_file(source, "train/b/2.JPEG", "no image", 8);
    shell("mkdir -p %s/val/b", source);
    shell("mkdir -p %s/val/a", source);
    shell("cp tests/goldens/data/images/full444_q95_64x48.JPEG %s/val/a", source);
    convert_or_fail(source, dest, 1);
    Error error;
    cr_assert_eq(open_error("train", &error), STATUS_DATA);
    cr_assert(strstr(error.message, "'train' is empty; see rejected.tsv"), "%s", error.message);
    cr_assert_eq(open_error("val", &error), STATUS_OK, "%s", error.message);
}
