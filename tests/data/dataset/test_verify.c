#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "data/dataset/shard.h"
#include "data/dataset/verify.h"
#include "tests/support/command.h"
#include "tests/support/sources.h"

static char dest[4096];
static char told[65536];

static void make_dataset(void)
{
    char source[4096];
    snprintf(source, sizeof source, "%s/source", temporary_folder());
    snprintf(dest, sizeof dest, "%s/dataset", temporary_folder());
    write_folder_source(source);
    convert_or_fail(source, dest, 2);
}

static void remember(void *context, const char *problem)
{
    (void)context;
    size_t used = strlen(told);
    snprintf(told + used, sizeof told - used, "%s\n", problem);
}

static Status verify(bool decode, VerifyCounts *counts)
{
    Error error = {0};
    VerifyOptions options = {.decode = decode, .threads = 3, .found = remember};
    told[0] = 0;
    Status status = dataset_verify(dest, &options, counts, &error);
    cr_assert_eq(status, error.status);
    return status;
}

Test(verify, a_sound_data_set_is_good, .init = make_dataset)
{
    VerifyCounts counts;
    for (int decode = 0; decode < 2; decode++) {
        cr_assert_eq(verify(decode, &counts), STATUS_OK, "%s", told);
        cr_assert_eq(counts.images, FOLDER_GOOD + FOLDER_VAL);
        cr_assert_eq(counts.total, FOLDER_GOOD + FOLDER_VAL);
        cr_assert_eq(counts.problems, 0);
    }
}

/* Changes one byte `offset` bytes after the first record's magic. */
static void damage(const char *file, long offset)
{
    char path[8192], *bytes;
    size_t size;
    Error error = {0};
    snprintf(path, sizeof path, "%s/%s", dest, file);
    cr_assert_eq(file_read(path, 1 << 24, &bytes, &size, &error), STATUS_OK);
    char *magic = memmem(bytes, size, "T2TR", 4);
    cr_assert(magic);
    magic[offset] ^= 1;
    cr_assert_eq(file_write(path, bytes, size, &error), STATUS_OK);
    free(bytes);
}

Test(verify, names_shard_and_place_of_a_changed_byte, .init = make_dataset)
{
    VerifyCounts counts;
    damage("train-001.mdb", RECORD_HEADER + 100);
    cr_assert_eq(verify(false, &counts), STATUS_DATA);
    cr_assert_eq(counts.problems, 1);
    cr_assert(strstr(told, "train-001.mdb: its bytes have hash") && strstr(told, "at offset") &&
                  strstr(told, "the image's bytes have hash"),
              "%s", told);
    cr_assert_gt(counts.images, 0, "the other shards have to be looked at all the same");
}

Test(verify, tells_everything_that_is_wrong, .init = make_dataset)
{
    VerifyCounts counts;
    damage("train-000.mdb", 8); /* a label */
    run_or_fail("truncate -s -4096 %s/train-001.mdb && rm %s/val-000.mdb", dest, dest);
    cr_assert_eq(verify(true, &counts), STATUS_DATA);
    cr_assert_eq(counts.problems, 3, "%s", told);
    cr_assert(strstr(told, "train-000.mdb: its bytes have hash"), "%s", told);
    cr_assert(strstr(told, "train-001.mdb:") && strstr(told, "the copy is incomplete"), "%s", told);
    cr_assert(strstr(told, "val-000.mdb: missing"), "%s", told);
}

/* A shard whose file is as its manifest says, but whose records are not: written so on purpose. */
Test(verify, looks_into_the_records, .init = make_dataset)
{
    static const char JPEG[] = "tests/goldens/data/images/odd420_q60_61x47.JPEG";
    static const char CUT[] = "tests/goldens/data/images/truncated_500x375.JPEG";
    char path[8192], *good, *cut;
    size_t good_size, cut_size;
    Error error = {0};
    ShardWriter *writer;
    ShardSummary summary;
    cr_assert_eq(file_read(JPEG, 1 << 24, &good, &good_size, &error), STATUS_OK);
    cr_assert_eq(file_read(CUT, 1 << 24, &cut, &cut_size, &error), STATUS_OK);
    snprintf(path, sizeof path, "%s/val-000.mdb", dest);
    cr_assert_eq(shard_writer_create(&writer, path, &error), STATUS_OK);
    Record records[] = {
        {.label = 7, .width = 61, .height = 47, .format = IMAGE_JPEG, .bytes = good, .size = good_size},
        {.label = 0, .width = 61, .height = 48, .format = IMAGE_JPEG, .bytes = good, .size = good_size},
        {.label = 0, .width = 500, .height = 375, .format = IMAGE_JPEG, .bytes = cut, .size = cut_size}};
    for (int i = 0; i < 3; i++) cr_assert_eq(shard_writer_append(writer, &records[i], &error), STATUS_OK);
    cr_assert_eq(shard_writer_finish(writer, STATUS_OK, &summary, &error), STATUS_OK);
    run_or_fail("cd %s && sed -i '/\"val\"/,$ { s/\"count\": [0-9]*/\"count\": 3/; s/\"size\": [0-9]*/\"size\": %llu/; "
                "s/\"xxh3_128\": \"[0-9a-f]*/\"xxh3_128\": \"%s/ }' manifest.json && "
                "sed -i '/\"val\"/,$ { /per_class/,/]/ s/ 1$/ 2/ }' manifest.json",
                dest, (unsigned long long)summary.size, summary.hash);
    VerifyCounts counts;
    cr_assert_eq(verify(false, &counts), STATUS_DATA);
    cr_assert_eq(counts.problems, 3, "%s", told);
    cr_assert(strstr(told, "label 7, but manifest.json lists 2 classes"), "%s", told);
    cr_assert(strstr(told, "the record says 61 x 48 pixels, its image 61 x 47"), "%s", told);
    cr_assert(strstr(told, "truncated JPEG") && strstr(told, "val-000.mdb, key 2"), "%s", told);
    free(good);
    free(cut);
}
