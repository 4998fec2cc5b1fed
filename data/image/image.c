#include "data/image/image.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "data/image/codec.h"

Status image_reserve(Image *image, int width, int height, Error *error)
{
    Status status = image_check_size(width, height, error);
    if (status) return status;
    size_t bytes = (size_t)width * (size_t)height * 3;
    if (bytes > image->capacity) {
        status = memory_resize((void **)&image->pixels, (int64_t)bytes, 1, "the pixels of an image", error);
        if (status) return status;
        image->capacity = bytes;
    }
    image->width = width;
    image->height = height;
    return STATUS_OK;
}

void image_free(Image *image)
{
    free(image->pixels);
    *image = (Image){0};
}

Status image_check_size(int64_t width, int64_t height, Error *error)
{
    if (width <= 0 || height <= 0)
        return error_set(error, STATUS_DATA, "the image claims a size of %" PRId64 " x %" PRId64 " pixels", width,
                         height);
    if (width > IMAGE_MAX_PIXELS / height)
        return error_set(error, STATUS_DATA, "the image claims %" PRId64 " x %" PRId64 " pixels; the limit is %d",
                         width, height, IMAGE_MAX_PIXELS);
    return STATUS_OK;
}

static ImageFormat format_of(const uint8_t *bytes, size_t size)
{
    static const uint8_t PNG_SIGNATURE[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (size >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff) return IMAGE_JPEG;
    if (size >= 8 && memcmp(bytes, PNG_SIGNATURE, 8) == 0) return IMAGE_PNG;
    return IMAGE_UNKNOWN;
}

static Status unknown_format(const uint8_t *bytes, size_t size, Error *error)
{
    if (size == 0) return error_set(error, STATUS_DATA, "the file is empty");
    char start[16] = "";
    for (size_t i = 0; i < size && i < 4; i++) sprintf(start + 3 * i, "%02x ", bytes[i]);
    return error_set(error, STATUS_DATA, "neither JPEG nor PNG: %zu bytes, starting with %s", size, start);
}

static Status scan(const void *bytes, size_t size, bool whole, ImageInfo *info, Error *error)
{
    *info = (ImageInfo){.format = format_of(bytes, size)};
    switch (info->format) {
    case IMAGE_JPEG:
        return jpeg_scan(bytes, size, whole, info, error);
    case IMAGE_PNG:
        return png_scan(bytes, size, whole, info, error);
    default:
        return unknown_format(bytes, size, error);
    }
}

Status image_probe(const void *bytes, size_t size, ImageInfo *info, Error *error)
{
    return scan(bytes, size, false, info, error);
}

Status image_check(const void *bytes, size_t size, ImageInfo *info, Error *error)
{
    return scan(bytes, size, true, info, error);
}

/* ---- pixels: an image as a sink is as high as the rows that it was given */

static Status keep_begin(void *context, ImageBox covered, int reduction, Error *error)
{
    Image *image = context;
    (void)reduction;
    Status status = image_reserve(image, covered.width, covered.height, error);
    if (!status) image->height = 0;
    return status;
}

static uint8_t *keep_place(void *context)
{
    Image *image = context;
    return image->pixels + 3 * (size_t)image->width * (size_t)image->height++;
}

static void keep_rows(void *context, const uint8_t *const rows[], int count)
{
    const Image *image = context;
    for (int i = 0; i < count; i++) memcpy(keep_place(context), rows[i], 3 * (size_t)image->width);
}

ImageSink image_sink(Image *image)
{
    return (ImageSink){.context = image, .begin = keep_begin, .take = keep_rows, .place = keep_place};
}

Status image_decode(const void *bytes, size_t size, Image *image, Error *error)
{
    const ImageSink sink = image_sink(image);
    switch (format_of(bytes, size)) {
    case IMAGE_JPEG:
        return jpeg_stream(bytes, size, NULL, 1, &sink, error);
    case IMAGE_PNG:
        return png_decode(bytes, size, image, error);
    default:
        return unknown_format(bytes, size, error);
    }
}

static bool is_inside(ImageBox box, int width, int height)
{
    return box.left >= 0 && box.top >= 0 && box.width > 0 && box.height > 0 && box.width <= width - box.left &&
           box.height <= height - box.top;
}

static Status stream_part(const Image *image, ImageBox box, const ImageSink *sink, Error *error)
{
    Status status = sink->begin(sink->context, box, 1, error);
    for (int y = 0; y < box.height && !status; y += IMAGE_STRIP) {
        const uint8_t *rows[IMAGE_STRIP];
        int count = box.height - y < IMAGE_STRIP ? box.height - y : IMAGE_STRIP;
        for (int i = 0; i < count; i++)
            rows[i] = image->pixels + 3 * ((size_t)(box.top + y + i) * (size_t)image->width + (size_t)box.left);
        sink->take(sink->context, rows, count);
    }
    return status;
}

Status image_stream(const void *bytes, size_t size, ImageBox box, int reduction, Image *scratch, const ImageSink *sink,
                    Error *error)
{
    ImageInfo info;
    Status status = image_probe(bytes, size, &info, error);
    if (status) return status;
    if (!is_inside(box, info.width, info.height))
        return error_set(error, STATUS_FAILED, "the box %d,%d %d x %d is not inside the image of %d x %d pixels",
                         box.left, box.top, box.width, box.height, info.width, info.height);
    if (info.format == IMAGE_JPEG) return jpeg_stream(bytes, size, &box, reduction, sink, error);
    status = png_decode(bytes, size, scratch, error);
    return status ? status : stream_part(scratch, box, sink, error);
}
