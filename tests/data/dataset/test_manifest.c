#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "data/dataset/manifest.h"
#include "tests/support/command.h"

static const char GOOD[] =
    "{\"format\": \"t2t dataset\", \"version\": 1, \"source\": \"folder\", \"fingerprint\": \"f\",\n"
    "\"options\": {\"seed\": 3, \"resize\": 0, \"quality\": 95},\n"
    "\"classes\": [{\"name\": \"a\", \"words\": \"cat, tom\"}, {\"name\": \"b\"}],\n"
    "\"splits\": {\"train\": {\"count\": 5, \"rejected\": 1, \"tally\": {\"bytes\": 9, \"jpeg\": 5, \"png\": 0,\n"
    "\"gray\": 0, \"cmyk\": 0, \"corrupt_exif\": 0, \"shorter_side\": [0,0,5,0,0,0,0,0,0,0,0,0], \"per_class\": [3, "
    "2]},\n"
    "\"shards\": [{\"file\": \"train-000.mdb\", \"count\": 5, \"size\": 12288,\n"
    "\"xxh3_128\": \"00112233445566778899aabbccddeeff\"}]}}}\n";

static Status parse(const char *text, Manifest *manifest, Error *error)
{
    *error = (Error){0};
    return manifest_parse(manifest, text, strlen(text), "manifest.json", error);
}

Test(manifest, is_read_as_written)
{
    Manifest manifest, again;
    Error error;
    cr_assert_eq(parse(GOOD, &manifest, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(manifest.classes, 2);
    cr_assert_str_eq(manifest.class_words[0], "cat, tom");
    cr_assert_null(manifest.class_words[1]);
    cr_assert_eq(manifest_write(&manifest, temporary_folder(), &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(manifest_read(&again, temporary_folder(), &error), STATUS_OK, "%s", error.message);
    const ManifestSplit *split = manifest_split(&again, "train");
    cr_assert_null(manifest_split(&again, "val"));
    cr_assert_eq(split->count, 5);
    cr_assert_eq(split->stats.per_class[1], 2);
    cr_assert_str_eq(split->shards[0].file, "train-000.mdb");
    cr_assert_str_eq(split->shards[0].summary.hash, "00112233445566778899aabbccddeeff");
    manifest_free(&manifest);
    manifest_free(&again);
}

/* A copy of GOOD in which `from` has become `to`. */
static char *change(const char *from, const char *to)
{
    const char *at = strstr(GOOD, from);
    cr_assert(at, "%s", from);
    char *text = malloc(sizeof GOOD + strlen(to));
    sprintf(text, "%.*s%s%s", (int)(at - GOOD), GOOD, to, at + strlen(from));
    return text;
}

Test(manifest, says_what_is_wrong)
{
    static const char *const CHANGES[][3] = {
        {"t2t dataset", "other", "format 'other'"},
        {"\"version\": 1", "\"version\": 2", "version 2"},
        {"\"version\": 1", "\"version\": ", "manifest.json:1"},
        {"\"source\": \"folder\", ", "", "source"},
        {"train-000.mdb", "../train-000.mdb", "not the name of a shard"},
        {"train-000.mdb", "", "not the name of a shard"},
        {"00112233", "xx112233", "32 hexadecimal digits"},
        {"\"size\": 12288", "\"size\": -1", "size -1"},
        {"\"count\": 5, \"size\"", "\"count\": 6, \"size\"", "its shards add up to 6"},
        {"\"count\": 5, \"rejected\"", "\"count\": 4, \"rejected\"", "says 4 images"},
        {"[3, 2]", "[3, 3]", "its classes to 6"},
        {"[3, 2]", "[5]", "one for each class"},
        {"[3, 2]", "[6, -1]", "one for each class"},
        {"[3, 2]", "[\"3\", 2]", "one for each class"},
        {"{\"name\": \"b\"}", "{\"name\": 7}", "class 1"},
        {"[{\"name\": \"a\", \"words\": \"cat, tom\"}, {\"name\": \"b\"}]", "[]", "at least one class"},
        {"\"train\": {\"count\"", "\"\\u001b[31m\": {\"count\"", "is not the name of a split"},
        {"\"train\": {\"count\"", "\"a_very_long_split_name\": {\"count\"", "is not the name of a split"},
        {"\"source\": \"folder\"", "\"source\": \"folder\", \"source\": \"tar\"", "duplicate"},
    };
    for (size_t i = 0; i < sizeof CHANGES / sizeof CHANGES[0]; i++) {
        Manifest manifest;
        Error error;
        char *text = change(CHANGES[i][0], CHANGES[i][1]);
        cr_assert_eq(parse(text, &manifest, &error), STATUS_DATA, "%s -> %s was taken", CHANGES[i][0], CHANGES[i][1]);
        cr_assert(strstr(error.message, CHANGES[i][2]), "%s -> %s: %s", CHANGES[i][0], CHANGES[i][1], error.message);
        cr_assert(strstr(error.message, "manifest.json"), "%s", error.message);
        free(text);
    }
}

Test(manifest, every_truncation_is_refused)
{
    for (size_t size = 0; size < strlen(GOOD) - 2; size++) {
        Manifest manifest;
        Error error = {0};
        cr_assert_eq(manifest_parse(&manifest, GOOD, size, "manifest.json", &error), STATUS_DATA);
    }
}

Test(manifest, tallies_put_sides_into_bins)
{
    DatasetStats stats;
    Error error = {0};
    cr_assert_eq(dataset_stats_create(&stats, 2, &error), STATUS_OK);
    const int sides[][2] = {{31, 900}, {900, 32}, {224, 224}, {5000, 4000}};
    for (int i = 0; i < 4; i++)
        dataset_stats_count(&stats, i % 2, 100, &(ImageInfo){IMAGE_JPEG, sides[i][0], sides[i][1], 3, false});
    cr_assert_eq(stats.sides[0], 1);
    cr_assert_eq(stats.sides[1], 1);
    cr_assert_eq(stats.sides[4], 1);
    cr_assert_eq(stats.sides[SIDE_BINS - 1], 1);
    cr_assert_eq(dataset_stats_side_bound(SIDE_BINS - 1), INT_MAX);
    cr_assert_eq(stats.bytes, 400);
    dataset_stats_free(&stats);
}
