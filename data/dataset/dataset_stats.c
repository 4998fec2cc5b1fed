#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset/manifest.h"

static const int SIDE_BOUNDS[SIDE_BINS] = {32, 64, 128, 192, 256, 320, 384, 512, 768, 1024, 2048, INT_MAX};

int tally_side_bound(int bin)
{
    return SIDE_BOUNDS[bin];
}

Status tally_create(Tally *tally, int classes, Error *error)
{
    *tally = (Tally){.classes = classes, .per_class = calloc((size_t)classes + 1, sizeof *tally->per_class)};
    if (!tally->per_class) return error_set(error, STATUS_FAILED, "no memory for the counts of %d classes", classes);
    return STATUS_OK;
}

void tally_free(Tally *tally)
{
    free(tally->per_class);
    *tally = (Tally){0};
}

void tally_count(Tally *tally, int label, size_t size, const ImageInfo *info)
{
    int side = info->width < info->height ? info->width : info->height, bin = 0;
    while (bin < SIDE_BINS - 1 && side >= SIDE_BOUNDS[bin]) bin++;
    tally->sides[bin]++;
    tally->per_class[label]++;
    tally->bytes += (int64_t)size;
    tally->jpeg += info->format == IMAGE_JPEG;
    tally->png += info->format == IMAGE_PNG;
    tally->gray += info->components == 1;
    tally->cmyk += info->format == IMAGE_JPEG && info->components == 4;
    tally->corrupt_exif += info->corrupt_exif;
}

void tally_add(Tally *total, const Tally *part)
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

json_t *tally_to_json(const Tally *tally)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "bytes", (json_int_t)tally->bytes, "jpeg",
                     (json_int_t)tally->jpeg, "png", (json_int_t)tally->png, "gray", (json_int_t)tally->gray, "cmyk",
                     (json_int_t)tally->cmyk, "corrupt_exif", (json_int_t)tally->corrupt_exif, "shorter_side",
                     numbers_to_json(tally->sides, SIDE_BINS), "per_class",
                     numbers_to_json(tally->per_class, tally->classes));
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

Status tally_from_json(Tally *tally, json_t *json, int classes, const char *name, Error *error)
{
    Status status = tally_create(tally, classes, error);
    if (status) return status;
    json_int_t bytes, jpeg, png, gray, cmyk, exif;
    json_t *sides, *per_class;
    json_error_t why;
    if (json_unpack_ex(json, &why, 0, "{s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "bytes", &bytes, "jpeg", &jpeg, "png",
                       &png, "gray", &gray, "cmyk", &cmyk, "corrupt_exif", &exif, "shorter_side", &sides, "per_class",
                       &per_class) != 0)
        return error_set(error, STATUS_DATA, "%s: tally: %s", name, why.text);
    if (!numbers_from_json(sides, tally->sides, SIDE_BINS))
        return error_set(error, STATUS_DATA, "%s: shorter_side is not %d counts", name, SIDE_BINS);
    if (!numbers_from_json(per_class, tally->per_class, classes))
        return error_set(error, STATUS_DATA, "%s: per_class is not %d counts, one for each class", name, classes);
    tally->bytes = bytes;
    tally->jpeg = jpeg;
    tally->png = png;
    tally->gray = gray;
    tally->cmyk = cmyk;
    tally->corrupt_exif = exif;
    return STATUS_OK;
}
