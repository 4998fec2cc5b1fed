/* exercise_image.h: what is done with bytes that may be an image: looked through, decoded whole, decoded in part, and
 * the parts compared. */
#ifndef TESTS_FUZZ_EXERCISE_IMAGE_H
#define TESTS_FUZZ_EXERCISE_IMAGE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/image/image.h"

enum { ENOUGH_PIXELS = 1 << 15 }; /* larger images take longer and show nothing new */

static int exercise_pick(const uint8_t *data, size_t size, size_t from_end, int below)
{
    return size > from_end ? data[size - 1 - from_end] * 257 % below : 0;
}

static void exercise_part(const uint8_t *data, size_t size, const ImageInfo *info, const Image *whole)
{
    ImageBox box = {.left = exercise_pick(data, size, 0, info->width),
                    .top = exercise_pick(data, size, 1, info->height)};
    box.width = 1 + exercise_pick(data, size, 2, info->width - box.left);
    box.height = 1 + exercise_pick(data, size, 3, info->height - box.top);
    int reduction = 1 << exercise_pick(data, size, 4, 4);
    Image part = {0}, scratch = {0};
    Error error = {0};
    const ImageSink sink = image_sink(&part);
    Status status = image_stream(data, size, box, reduction, &scratch, &sink, &error);
    if (status == STATUS_OK) {
        if (reduction == 1 && (part.width != box.width || part.height != box.height)) abort();
    } else if (whole && reduction == 1) {
        abort(); /* what decodes as a whole decodes in parts */
    }
    image_free(&part);
    image_free(&scratch);
}

static inline void exercise_image(const uint8_t *data, size_t size)
{
    ImageInfo info = {0}, checked;
    Error error = {0};
    Status probe = image_probe(data, size, &info, &error);
    error = (Error){0};
    Status check = image_check(data, size, &checked, &error);
    if (probe != STATUS_OK && check == STATUS_OK) abort();
    if (probe != STATUS_OK || info.width > ENOUGH_PIXELS / info.height) return;
    Image image = {0};
    error = (Error){0};
    Status decode = image_decode(data, size, &image, &error);
    if (decode == STATUS_OK && (image.width != info.width || image.height != info.height)) abort();
    if (decode != STATUS_OK && !error.message[0]) abort();
    exercise_part(data, size, &info, decode == STATUS_OK ? &image : NULL);
    image_free(&image);
}

#endif
