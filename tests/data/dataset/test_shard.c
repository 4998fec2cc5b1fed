#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "data/dataset/shard.h"
#include "tests/support/command.h"

static char path[4096];

static void make_path(void)
{
    snprintf(path, sizeof path, "%s/x.mdb", temporary_folder());
}

/* Sizes around every boundary of LMDB's pages, and past the 64 MiB with which a map starts. */
static size_t size_of(int number)
{
    return number < 200 ? (size_t)number * 41 : number < 290 ? 1000000 + (size_t)number : 0;
}

static void fill(uint8_t *bytes, int number)
{
    memset(bytes, number * 7 + 1, size_of(number));
}

static Record make_record(const uint8_t *bytes, int number)
{
    return (Record){.label = number % 10,
                    .width = number + 1,
                    .height = 2 * number + 1,
                    .format = number % 2 ? IMAGE_JPEG : IMAGE_PNG,
                    .bytes = bytes,
                    .size = size_of(number)};
}

enum { RECORDS = 292 };

static ShardSummary write_shard(uint8_t *bytes)
{
    ShardWriter *writer;
    ShardSummary summary;
    Error error = {0};
    cr_assert_eq(shard_writer_create(&writer, path, &error), STATUS_OK, "%s", error.message);
    Status status = STATUS_OK;
    for (int i = 0; i < RECORDS && !status; i++) {
        fill(bytes, i);
        Record record = make_record(bytes, i);
        status = shard_writer_append(writer, &record, &error);
    }
    cr_assert_eq(shard_writer_finish(writer, status, &summary, &error), STATUS_OK, "%s", error.message);
    return summary;
}

Test(shard, keeps_records_of_any_size_and_grows_its_map, .init = make_path)
{
    uint8_t *bytes = malloc(1 << 21);
    ShardSummary summary = write_shard(bytes);
    cr_assert_eq(summary.count, RECORDS);
    cr_assert_eq(summary.size, file_size(path));
    cr_assert_gt(summary.size, 86u << 20);
    cr_assert_lt(summary.size, 88u << 20, "the file is larger than its records: %llu",
                 (unsigned long long)summary.size);
    Shard *shard;
    ShardReader *reader;
    Error error = {0};
    cr_assert_eq(shard_open(&shard, path, &summary, false, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(shard_reader_create(&reader, shard, &error), STATUS_OK);
    for (int i = RECORDS - 1; i >= 0; i--) {
        Record record, expected = make_record(bytes, i);
        shard_prefetch(reader, i);
        fill(bytes, i);
        cr_assert_eq(shard_read(reader, i, &record, &error), STATUS_OK, "%s", error.message);
        cr_assert_eq(record.label, expected.label);
        cr_assert_eq(record.width, expected.width);
        cr_assert_eq(record.height, expected.height);
        cr_assert_eq(record.format, expected.format);
        cr_assert_eq(record.size, expected.size);
        cr_assert_eq(memcmp(record.bytes, bytes, record.size), 0);
    }
    Record record;
    cr_assert_eq(shard_read(reader, RECORDS, &record, &error), STATUS_DATA);
    shard_reader_free(reader);
    shard_close(shard);
    free(bytes);
}

Test(shard, its_bytes_depend_on_its_records_alone, .init = make_path)
{
    uint8_t *bytes = malloc(1 << 21);
    ShardSummary first = write_shard(bytes), second = write_shard(bytes);
    cr_assert_str_eq(first.hash, second.hash);
    free(bytes);
}

Test(shard, an_empty_one_is_possible, .init = make_path)
{
    ShardWriter *writer;
    ShardSummary summary;
    Shard *shard;
    Error error = {0};
    cr_assert_eq(shard_writer_create(&writer, path, &error), STATUS_OK);
    cr_assert_eq(shard_writer_finish(writer, STATUS_OK, &summary, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(summary.count, 0);
    cr_assert_eq(shard_open(&shard, path, &summary, true, &error), STATUS_OK, "%s", error.message);
    shard_close(shard);
}

Test(shard, a_failed_one_leaves_no_file, .init = make_path)
{
    ShardWriter *writer;
    ShardSummary summary;
    Error error = {0};
    cr_assert_eq(shard_writer_create(&writer, path, &error), STATUS_OK);
    cr_assert_eq(shard_writer_finish(writer, STATUS_DATA, &summary, &error), STATUS_DATA);
    cr_assert_not(file_exists(path));
}

Test(shard, every_byte_of_a_record_is_checked)
{
    uint8_t value[RECORD_HEADER + 64];
    for (int i = 0; i < 64; i++) value[RECORD_HEADER + i] = (uint8_t)(i * i);
    Record record = {
        .label = 3, .width = 8, .height = 8, .format = IMAGE_JPEG, .bytes = value + RECORD_HEADER, .size = 64};
    record.hash = record_hash(record.bytes, record.size);
    record_write_header(&record, value);
    Error error = {0};
    cr_assert_eq(record_parse(value, sizeof value, &record, &error), STATUS_OK, "%s", error.message);
    for (size_t size = 0; size < sizeof value; size++) {
        error = (Error){0};
        cr_assert_eq(record_parse(value, size, &record, &error), STATUS_DATA);
    }
    /* Label, width and height are the only ones whose change cannot be seen here (t2t verify compares sizes with the
     * image, the manifest's counts with the labels, and the file's hash with all). */
    for (size_t byte = 0; byte < sizeof value; byte++) {
        if (byte >= 8 && byte < 20) continue;
        value[byte] ^= 4;
        error = (Error){0};
        cr_assert_eq(record_parse(value, sizeof value, &record, &error), STATUS_DATA,
                     "a change of byte %zu goes unseen", byte);
        cr_assert(error.message[0]);
        value[byte] ^= 4;
    }
}

Test(shard, refuses_a_file_that_is_not_one, .init = make_path)
{
    Error error = {0};
    Shard *shard;
    char zeros[8192] = {0};
    cr_assert_eq(file_write(path, zeros, sizeof zeros, &error), STATUS_OK);
    ShardSummary expected = {.count = 1, .size = sizeof zeros};
    cr_assert_eq(shard_open(&shard, path, &expected, false, &error), STATUS_DATA);
    cr_assert(strstr(error.message, "x.mdb"), "%s", error.message);
}
