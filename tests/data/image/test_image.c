#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/rng.h"
#include "core/model/safetensors.h"
#include "data/image/image.h"
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

/* A sink that keeps the rows, and what it was told of them. */
typedef struct Part {
    Image image;
    ImageBox covered;
    int reduction;
} Part;

static Status part_begin(void *context, ImageBox covered, int reduction, Error *error)
{
    Part *part = context;
    part->covered = covered;
    part->reduction = reduction;
    const ImageSink keep = image_sink(&part->image);
    return keep.begin(keep.context, covered, reduction, error);
}

static void part_take(void *context, const uint8_t *const rows[], int count)
{
    const ImageSink keep = image_sink(&((Part *)context)->image);
    cr_assert(count >= 1 && count <= IMAGE_STRIP);
    keep.take(keep.context, rows, count);
}

static Status decode_part(Bytes file, ImageBox box, int reduction, Part *part, Error *error)
{
    Image scratch = {0};
    const ImageSink sink = {.context = part, .begin = part_begin, .take = part_take};
    Status status = image_stream(file.bytes, file.size, box, reduction, &scratch, &sink, error);
    image_free(&scratch);
    return status;
}

Test(image, a_region_equals_that_part_of_the_whole)
{
    for (int i = 0; i < JPEG_COUNT; i++) {
        Bytes file = load(JPEGS[i]);
        Image whole = decode(JPEGS[i]);
        Part part = {0};
        Rng rng = rng_make(1, RNG_CROP, 0, (uint64_t)i);
        for (int round = 0; round < 60; round++) {
            ImageBox box = random_box(&rng, &whole);
            Error error = {0};
            cr_assert_eq(decode_part(file, box, 1, &part, &error), STATUS_OK, "%s", error.message);
            cr_assert_eq(part.reduction, 1);
            cr_assert_eq(memcmp(&part.covered, &box, sizeof box), 0);
            cr_assert_eq(part.image.width, box.width);
            cr_assert_eq(part.image.height, box.height);
            for (int y = 0; y < box.height; y++)
                cr_assert_eq(memcmp(part.image.pixels + (size_t)y * (size_t)box.width * 3,
                                    whole.pixels + ((size_t)(box.top + y) * (size_t)whole.width + (size_t)box.left) * 3,
                                    (size_t)box.width * 3),
                             0, "%s: row %d of the box %d,%d %d x %d differs", JPEGS[i], y, box.left, box.top,
                             box.width, box.height);
        }
        image_free(&whole);
        image_free(&part.image);
        free(file.bytes);
    }
}

Test(image, a_reduced_region_lies_where_it_says)
{
    /* The reduced image of the whole, cut to the box, is what the region has to be: the same DCT, only less of it. */
    for (int i = 0; i < JPEG_COUNT; i++) {
        Bytes file = load(JPEGS[i]);
        Image full = decode(JPEGS[i]);
        Part whole = {0}, part = {0};
        Rng rng = rng_make(2, RNG_CROP, 0, (uint64_t)i);
        for (int round = 0; round < 30; round++) {
            int reduction = 2 << round % 3;
            Error error = {0};
            ImageBox all = {0, 0, full.width, full.height}, box = random_box(&rng, &full);
            cr_assert_eq(decode_part(file, all, reduction, &whole, &error), STATUS_OK);
            const int used = whole.reduction;
            cr_assert(used == reduction || (used == 1 && strstr(JPEGS[i], "png")));
            cr_assert_eq(whole.image.width, (full.width + used - 1) / used);
            cr_assert_eq(whole.image.height, (full.height + used - 1) / used);
            cr_assert_eq(decode_part(file, box, reduction, &part, &error), STATUS_OK);
            const ImageBox covered = part.covered;
            cr_assert_eq(part.reduction, used);
            cr_assert_eq(covered.left, box.left / used);
            cr_assert_eq(covered.top, box.top / used);
            cr_assert_geq((covered.left + covered.width) * used, box.left + box.width);
            cr_assert_geq((covered.top + covered.height) * used, box.top + box.height);
            for (int y = 0; y < covered.height; y++)
                cr_assert_eq(
                    memcmp(part.image.pixels + (size_t)y * (size_t)covered.width * 3,
                           whole.image.pixels +
                               ((size_t)(covered.top + y) * (size_t)whole.image.width + (size_t)covered.left) * 3,
                           (size_t)covered.width * 3),
                    0, "%s: row %d of the box %d,%d %d x %d at 1/%d differs", JPEGS[i], y, box.left, box.top, box.width,
                    box.height, used);
        }
        image_free(&full);
        image_free(&whole.image);
        image_free(&part.image);
        free(file.bytes);
    }
}

/* Rows come by one of two ways: placed in the sink's memory, or taken from the codec's. */
typedef struct Ways {
    Image image;
    int placed, taken;
} Ways;

static Status ways_begin(void *context, ImageBox covered, int reduction, Error *error)
{
    Ways *ways = context;
    ways->placed = ways->taken = 0;
    const ImageSink keep = image_sink(&ways->image);
    return keep.begin(keep.context, covered, reduction, error);
}

static void ways_take(void *context, const uint8_t *const rows[], int count)
{
    Ways *ways = context;
    ways->taken += count;
    const ImageSink keep = image_sink(&ways->image);
    keep.take(keep.context, rows, count);
}

static uint8_t *ways_place(void *context)
{
    Ways *ways = context;
    ways->placed++;
    const ImageSink keep = image_sink(&ways->image);
    return keep.place(keep.context);
}

/* The part inside `box` must be that of the golden, by the way that is expected. */
static void check_way(const char *name, bool can_place, int cut, bool placed)
{
    Bytes file = load(name);
    Image whole = decode(name), scratch = {0};
    Ways ways = {0};
    Error error = {0};
    const ImageSink sink = {&ways, ways_begin, ways_take, can_place ? ways_place : NULL};
    const ImageBox box = {cut, cut, whole.width - cut, whole.height - cut};
    cr_assert_eq(image_stream(file.bytes, file.size, box, 1, &scratch, &sink, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(ways.placed, placed ? box.height : 0, "%s: %d rows placed", name, ways.placed);
    cr_assert_eq(ways.taken, placed ? 0 : box.height, "%s: %d rows taken", name, ways.taken);
    for (int y = 0; y < box.height; y++)
        cr_assert_eq(memcmp(ways.image.pixels + 3 * (size_t)(y * box.width),
                            whole.pixels + 3 * (size_t)((y + cut) * whole.width + cut), 3 * (size_t)box.width),
                     0, "%s: row %d", name, y);
    image_free(&ways.image);
    image_free(&whole);
    image_free(&scratch);
    free(file.bytes);
}

Test(image, rows_are_placed_or_taken_with_the_same_pixels)
{
    check_way("baseline420_q75_500x375.JPEG", true, 0, true);
    check_way("progressive420_q85_333x500.JPEG", true, 0, true);
    check_way("gray_q80_480x360.JPEG", true, 0, true);
    check_way("baseline420_q75_500x375.JPEG", false, 0, false);
    check_way("baseline420_q75_500x375.JPEG", true, 21, false); /* more columns are decoded than wanted */
    check_way("cmyk_q85_301x227.JPEG", true, 0, false);         /* four samples become three */
    check_way("ycck_q85_301x227.JPEG", true, 0, false);
    check_way("png_inside_200x150.JPEG", true, 0, false); /* decoded whole before */
}

Test(image, refuses_a_box_outside)
{
    static const ImageBox BOXES[] = {{-1, 0, 5, 5}, {0, 0, 62, 5}, {60, 0, 2, 2}, {0, 0, 0, 5}, {0, 47, 1, 1}};
    Bytes file = load("odd420_q60_61x47.JPEG");
    for (size_t i = 0; i < sizeof BOXES / sizeof BOXES[0]; i++) {
        Part part = {0};
        Error error = {0};
        cr_assert_eq(decode_part(file, BOXES[i], 1, &part, &error), STATUS_FAILED);
        image_free(&part.image);
    }
    free(file.bytes);
}

/* Whoever holds fewer bytes than the file had gets an error, not half an image: from decoding and from looking
 * alike. */
Test(image, every_truncation_is_an_error)
{
    static const char *const NAMES[] = {"odd420_q60_61x47.JPEG",   "full444_q95_64x48.JPEG",
                                        "exif_rot6_160x120.JPEG",  "progressive420_q85_333x500.JPEG",
                                        "png_inside_200x150.JPEG", "ycck_q85_301x227.JPEG"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        Bytes file = load(NAMES[i]);
        size_t step = file.size / 150 + 1;
        for (size_t size = 0; size < file.size; size += step) {
            Image image = {0};
            ImageInfo info;
            Error error = {0}, error2 = {0};
            char *copy = malloc(size + 1); /* so that a sanitizer sees reading past the end */
            memcpy(copy, file.bytes, size);
            copy = realloc(copy, size ? size : 1);
            cr_assert_eq(image_decode(copy, size, &image, &error), STATUS_DATA, "%s cut to %zu", NAMES[i], size);
            cr_assert_eq(image_check(copy, size, &info, &error2), STATUS_DATA, "%s cut to %zu", NAMES[i], size);
            cr_assert(error.message[0] && error2.message[0]);
            image_free(&image);
            free(copy);
        }
        free(file.bytes);
    }
}

Test(image, a_look_at_the_structure_tells_what_decoding_tells)
{
    for (int i = 0; i < JPEG_COUNT; i++) {
        Bytes file = load(JPEGS[i]);
        Image image = decode(JPEGS[i]);
        ImageInfo probed, checked;
        Error error = {0};
        cr_assert_eq(image_probe(file.bytes, file.size, &probed, &error), STATUS_OK);
        cr_assert_eq(image_check(file.bytes, file.size, &checked, &error), STATUS_OK, "%s", error.message);
        cr_assert_eq(probed.width, image.width);
        cr_assert_eq(probed.height, image.height);
        cr_assert_eq(checked.width, image.width);
        cr_assert_eq(checked.components, probed.components);
        int components = strstr(JPEGS[i], "gray") ? 1 : strstr(JPEGS[i], "cmyk") || strstr(JPEGS[i], "ycck") ? 4 : 3;
        cr_assert_eq(probed.components, components);
        image_free(&image);
        free(file.bytes);
    }
}

static Image make_gradient(int width, int height, bool gray)
{
    Image image = {0};
    Error error = {0};
    cr_assert_eq(image_reserve(&image, width, height, &error), STATUS_OK);
    for (int i = 0; i < width * height; i++)
        for (int c = 0; c < 3; c++)
            image.pixels[3 * i + c] =
                (uint8_t)(gray ? i * 255 / (width * height) : (i % width * 3 + c * 60 + i / width) % 256);
    return image;
}

Test(image, png_keeps_every_pixel)
{
    for (int gray = 0; gray < 2; gray++) {
        Image image = make_gradient(33, 17, gray), again = {0};
        unsigned char *bytes;
        size_t size;
        ImageInfo info;
        Error error = {0};
        cr_assert_eq(image_encode_png(&image, gray, &bytes, &size, &error), STATUS_OK, "%s", error.message);
        cr_assert_eq(image_check(bytes, size, &info, &error), STATUS_OK, "%s", error.message);
        cr_assert_eq(info.components, gray ? 1 : 3);
        cr_assert_eq(image_decode(bytes, size, &again, &error), STATUS_OK, "%s", error.message);
        cr_assert_eq(memcmp(image.pixels, again.pixels, 33 * 17 * 3), 0);
        for (size_t i = 40; i < size; i += 7) { /* each chunk has a checksum */
            bytes[i] ^= 8;
            error = (Error){0};
            cr_assert_eq(image_check(bytes, size, &info, &error), STATUS_DATA, "a change of byte %zu goes unseen", i);
            bytes[i] ^= 8;
        }
        image_free(&image);
        image_free(&again);
        free(bytes);
    }
}

Test(image, jpeg_keeps_nearly_every_pixel)
{
    for (int gray = 0; gray < 2; gray++)
        for (int quality = 75; quality <= 95; quality += 20) {
            Image image = make_gradient(64, 40, gray), again = {0};
            unsigned char *bytes;
            size_t size;
            Error error = {0};
            if (!gray) /* smooth colour, or subsampling alone costs much */
                for (int i = 0; i < 64 * 40 * 3; i++) image.pixels[i] = (uint8_t)(i / 3 % 64 * (i % 3 + 1));
            cr_assert_eq(image_encode_jpeg(&image, quality, gray, &bytes, &size, &error), STATUS_OK, "%s",
                         error.message);
            cr_assert_eq(image_decode(bytes, size, &again, &error), STATUS_OK, "%s", error.message);
            double sum = 0;
            for (int i = 0; i < 64 * 40 * 3; i++) sum += abs(image.pixels[i] - again.pixels[i]);
            cr_assert_lt(sum / (64 * 40 * 3), 3, "off by %.2f on average at quality %d", sum / (64 * 40 * 3), quality);
            image_free(&image);
            image_free(&again);
            free(bytes);
        }
}

Test(image, sizes_past_the_limit_are_refused_before_memory_is_asked_for)
{
    Image image = {0};
    Error error = {0};
    cr_assert_eq(image_reserve(&image, 60000, 60000, &error), STATUS_DATA);
    cr_assert(strstr(error.message, "the limit is 178956970"), "%s", error.message);
    cr_assert_null(image.pixels);
    error = (Error){0};
    cr_assert_eq(image_reserve(&image, 0, 5, &error), STATUS_DATA);
    cr_assert_eq(image_reserve(&image, INT32_MAX, INT32_MAX, &error), STATUS_DATA);
}

/* A progressive file may repeat a scan for ever; each costs as much as a decode. */
/* A chunk of text that claims 1.8 GB, in a file of 68 bytes; its header is right. */
Test(image, a_png_chunk_longer_than_its_file_is_refused_before_memory_is_asked_for)
{
    static const uint8_t PNG[] = {
        0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0,    0, 0, 13, 'I', 'H', 'D', 'R', 0,   0, 0,   3, 0, 0, 0, 2, 8,
        2,    0,   0,   0,   0x12, 0x16, 0xf1, 0x4d, 0x6b, 0, 0, 3,  't', 'E', 'X', 't', 'a', 0, 'b', 0, 0, 0, 0, 0, 0,
        0,    0,   0,   0,   0,    0,    0,    0,    0,    0, 0, 0,  0,   0,   0,   0,   0,   0};
    Image image = {0};
    Error error = {0};
    cr_assert_eq(image_decode(PNG, sizeof PNG, &image, &error), STATUS_DATA);
    cr_assert(strstr(error.message, "truncated PNG: a chunk of 1795162115 bytes at offset 33"), "%s", error.message);
    image_free(&image);
}

Test(image, a_thousand_scans_are_refused)
{
    Bytes file = load("progressive420_q85_333x500.JPEG");
    size_t scan = 0, length;
    for (size_t i = 0; i + 1 < file.size; i++)
        if ((uint8_t)file.bytes[i] == 0xff && (uint8_t)file.bytes[i + 1] == 0xda) scan = i;
    length = file.size - 2 - scan;
    char *bomb = malloc(file.size + 1000 * length);
    memcpy(bomb, file.bytes, file.size - 2);
    size_t size = file.size - 2;
    for (int i = 0; i < 1000; i++, size += length) memcpy(bomb + size, file.bytes + scan, length);
    memcpy(bomb + size, "\xff\xd9", 2);
    Image image = {0};
    Error error = {0};
    cr_assert_eq(image_decode(bomb, size + 2, &image, &error), STATUS_DATA);
    cr_assert(strstr(error.message, "scans"), "%s", error.message);
    image_free(&image);
    free(bomb);
    free(file.bytes);
}

Test(image, kinds_of_jpeg_that_cannot_be_decoded_are_told_by_their_header)
{
    static const struct {
        int offset, value; /* in the frame header */
        const char *part;
    } CHANGES[] = {{1, 0xc3, "SOF3"}, {1, 0xc7, "SOF7"}, {4, 12, "12 bits"}, {9, 2, "2 components"}};
    for (size_t i = 0; i < sizeof CHANGES / sizeof CHANGES[0]; i++) {
        Bytes file = load("full444_q95_64x48.JPEG");
        char *frame = memmem(file.bytes, file.size, "\xff\xc0", 2);
        cr_assert(frame);
        frame[CHANGES[i].offset] = (char)CHANGES[i].value;
        ImageInfo info;
        Image image = {0};
        Error error = {0}, error2 = {0};
        cr_assert_eq(image_check(file.bytes, file.size, &info, &error), STATUS_DATA);
        cr_assert(strstr(error.message, CHANGES[i].part), "%s", error.message);
        cr_assert_eq(image_decode(file.bytes, file.size, &image, &error2), STATUS_DATA);
        image_free(&image);
        free(file.bytes);
    }
}
