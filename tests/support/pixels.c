#include "tests/support/pixels.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/rng.h"
#include "data/dataset/manifest.h"

uint8_t *golden_bytes(const Safetensors *file, const char *name, int64_t shape[3])
{
    Error error = {0};
    const SafetensorsEntry *entry = safetensors_find(file, name);
    cr_assert_not_null(entry, "%s has no %s", file->path, name);
    cr_assert_eq(entry->dtype, DTYPE_U8, "%s: %s is no U8", file->path, name);
    for (int i = 0; i < 3; i++) shape[i] = i < entry->ndim ? entry->shape[i] : 1;
    uint8_t *bytes = malloc((size_t)entry->numel + 1);
    cr_assert_eq(safetensors_read(file, entry, bytes, &error), STATUS_OK, "%s", error.message);
    return bytes;
}

GoldenHash *golden_hashes(const char *file, int *count)
{
    const char *path = "tests/goldens/data/hashes.tsv";
    FILE *in = fopen(path, "r");
    cr_assert_not_null(in, "%s: cannot open", path);
    GoldenHash *list = NULL;
    char line[512], name[32], argument[64];
    *count = 0;
    while (fgets(line, sizeof line, in)) {
        GoldenHash row;
        if (sscanf(line, "%31s %95s %d %d %63s %" SCNx64, name, row.tensor, &row.height, &row.width, argument,
                   &row.hash) != 6)
            continue; /* the heading */
        if (strcmp(name, file) != 0) continue;
        row.argument = strcmp(argument, "-") == 0 ? NAN : strtod(argument, NULL);
        list = realloc(list, (size_t)(*count + 1) * sizeof *list);
        list[(*count)++] = row;
    }
    fclose(in);
    cr_assert_gt(*count, 0, "%s has no rows of %s", path, file);
    return list;
}

Image golden_image(const char *name)
{
    char path[512], *bytes;
    size_t size;
    Image image = {0};
    Error error = {0};
    snprintf(path, sizeof path, "tests/goldens/data/images/%s", name);
    cr_assert_eq(file_read(path, 1 << 24, &bytes, &size, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(image_decode(bytes, size, &image, &error), STATUS_OK, "%s: %s", path, error.message);
    free(bytes);
    return image;
}

Image test_image(int width, int height, uint64_t seed)
{
    Image image = {0};
    Error error = {0};
    cr_assert_eq(image_reserve(&image, width, height, &error), STATUS_OK, "%s", error.message);
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            for (int c = 0; c < 3; c++) {
                uint64_t hash = rng_at(seed, (uint64_t)((y * width + x) * 3 + c));
                double wave =
                    sin((x + 3.0 * (double)(seed % 17)) / (9.0 + c)) * cos((y - 2.0 * (double)(seed % 23)) / 11.0);
                image.pixels[(y * width + x) * 3 + c] = (uint8_t)(128 + 90 * wave + (double)(hash % 32));
            }
        }
    }
    return image;
}

static void append_image(ShardWriter *writer, DatasetStats *stats, int number, bool corrupt)
{
    Error error = {0};
    int width = 40 + (int)(rng_at(1, (uint64_t)number) % 61), height = 40 + (int)(rng_at(2, (uint64_t)number) % 61);
    Image image = test_image(width, height, (uint64_t)number);
    unsigned char *bytes;
    size_t size;
    cr_assert_eq(image_encode_jpeg(&image, 90, 0, &bytes, &size, &error), STATUS_OK, "%s", error.message);
    if (corrupt) memset(bytes, 'x', size);
    Record record = {.label = number % TEST_CLASSES,
                     .width = width,
                     .height = height,
                     .format = IMAGE_JPEG,
                     .bytes = bytes,
                     .size = size};
    cr_assert_eq(shard_writer_append(writer, &record, &error), STATUS_OK, "%s", error.message);
    ImageInfo info = {.format = IMAGE_JPEG, .width = width, .height = height, .components = 3};
    dataset_stats_count(stats, number % TEST_CLASSES, size, &info);
    free(bytes);
    image_free(&image);
}

void test_dataset(const char *folder, int count, int per_shard, int corrupt)
{
    Error error = {0};
    int shards = (count + per_shard - 1) / per_shard;
    Manifest manifest = {
        .source = "folder", .fingerprint = "0", .quality = 90, .classes = TEST_CLASSES, .split_count = 1};
    manifest.class_names = calloc(TEST_CLASSES, sizeof(char *));
    manifest.class_words = calloc(TEST_CLASSES, sizeof(char *));
    for (int i = 0; i < TEST_CLASSES; i++) cr_assert(asprintf(&manifest.class_names[i], "class %d", i) > 0);
    ManifestSplit *split = &manifest.splits[0];
    snprintf(split->name, sizeof split->name, "train");
    split->count = count;
    split->shards = calloc((size_t)shards, sizeof *split->shards);
    split->shard_count = shards;
    cr_assert_eq(dataset_stats_create(&split->stats, TEST_CLASSES, &error), STATUS_OK, "%s", error.message);
    for (int s = 0; s < shards; s++) {
        ManifestShard *shard = &split->shards[s];
        ShardWriter *writer;
        char path[4200];
        snprintf(shard->file, sizeof shard->file, "train-%03d.mdb", s);
        snprintf(path, sizeof path, "%s/%s", folder, shard->file);
        cr_assert_eq(shard_writer_create(&writer, path, &error), STATUS_OK, "%s", error.message);
        for (int i = s * per_shard; i < count && i < (s + 1) * per_shard; i++)
            append_image(writer, &split->stats, i, i == corrupt);
        cr_assert_eq(shard_writer_finish(writer, STATUS_OK, &shard->summary, &error), STATUS_OK, "%s", error.message);
    }
    cr_assert_eq(manifest_write(&manifest, folder, &error), STATUS_OK, "%s", error.message);
    manifest_free(&manifest);
}

PipelineConfig test_pipeline(int img_size)
{
    PipelineConfig config;
    augment_defaults(&config);
    config.img_size = img_size;
    return config;
}
