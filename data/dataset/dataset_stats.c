#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "data/dataset/manifest.h"

static const int SIDE_BOUNDS[SIDE_BINS] = {32, 64, 128, 192, 256, 320, 384, 512, 768, 1024, 2048, INT_MAX};

int dataset_stats_side_bound(int bin)
{
    return SIDE_BOUNDS[bin];
}

Status dataset_stats_create(DatasetStats *stats, int classes, Error *error)
{
    *stats = (DatasetStats){.classes = classes,
                            .per_class =
                                memory_alloc(classes, sizeof *stats->per_class, "the counts of the classes", error)};
    return stats->per_class ? STATUS_OK : STATUS_FAILED;
}

void dataset_stats_free(DatasetStats *stats)
{
    free(stats->per_class);
    *stats = (DatasetStats){0};
}

void dataset_stats_count(DatasetStats *stats, int label, size_t size, const ImageInfo *info)
{
    int side = info->width < info->height ? info->width : info->height, bin = 0;
    while (bin < SIDE_BINS - 1 && side >= SIDE_BOUNDS[bin]) bin++;
    stats->sides[bin]++;
    stats->per_class[label]++;
    stats->bytes += (int64_t)size;
    stats->jpeg += info->format == IMAGE_JPEG;
    stats->png += info->format == IMAGE_PNG;
    stats->gray += info->components == 1;
    stats->cmyk += info->format == IMAGE_JPEG && info->components == 4;
    stats->corrupt_exif += info->corrupt_exif;
}

void dataset_stats_add(DatasetStats *total, const DatasetStats *part)
{
    for (int i = 0; i < total->classes; i++) total->per_class[i] += part->per_class[i];
    for (int i = 0; i < SIDE_BINS; i++) total->sides[i] += part->sides[i];
    total->bytes += part->bytes;
    total->jpeg += part->jpeg;
    total->png += part->png;
    total->gray += part->gray;
    total->cmyk += part->cmyk;
    total->corrupt_exif += part->corrupt_exif;
}

static json_t *numbers_to_json(const int64_t *numbers, int count)
{
    json_t *array = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(array, json_integer(numbers[i]));
    return array;
}

json_t *dataset_stats_to_json(const DatasetStats *stats)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "bytes", (json_int_t)stats->bytes, "jpeg",
                     (json_int_t)stats->jpeg, "png", (json_int_t)stats->png, "gray", (json_int_t)stats->gray, "cmyk",
                     (json_int_t)stats->cmyk, "corrupt_exif", (json_int_t)stats->corrupt_exif, "shorter_side",
                     numbers_to_json(stats->sides, SIDE_BINS), "per_class",
                     numbers_to_json(stats->per_class, stats->classes));
}

static bool numbers_from_json(json_t *array, int64_t *numbers, int count)
{
    if (!json_is_array(array) || json_array_size(array) != (size_t)count) return false;
    for (int i = 0; i < count; i++) {
        json_t *number = json_array_get(array, (size_t)i);
        numbers[i] = json_integer_value(number);
        if (!json_is_integer(number) || numbers[i] < 0 || numbers[i] > INT64_MAX / MAX_CLASSES) return false;
    }
    return true;
}

Status dataset_stats_from_json(DatasetStats *stats, json_t *json, int classes, const char *name, Error *error)
{
    Status status = dataset_stats_create(stats, classes, error);
    if (status) return status;
    json_int_t bytes, jpeg, png, gray, cmyk, exif;
    json_t *sides, *per_class;
    json_error_t why;
    if (json_unpack_ex(json, &why, 0, "{s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "bytes", &bytes, "jpeg", &jpeg, "png",
                       &png, "gray", &gray, "cmyk", &cmyk, "corrupt_exif", &exif, "shorter_side", &sides, "per_class",
                       &per_class) != 0)
        return error_set(error, STATUS_DATA, "%s: tally: %s", name, why.text);
    if (!numbers_from_json(sides, stats->sides, SIDE_BINS))
        return error_set(error, STATUS_DATA, "%s: shorter_side is not %d counts", name, SIDE_BINS);
    if (!numbers_from_json(per_class, stats->per_class, classes))
        return error_set(error, STATUS_DATA, "%s: per_class is not %d counts, one for each class", name, classes);
    stats->bytes = bytes;
    stats->jpeg = jpeg;
    stats->png = png;
    stats->gray = gray;
    stats->cmyk = cmyk;
    stats->corrupt_exif = exif;
    return STATUS_OK;
}
