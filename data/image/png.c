/* png.c: libpng behind image.h. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>
#include <zlib.h>

#include "core/base/memory.h"
#include "data/image/codec.h"

static uint32_t big32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Chunks are length, type, data, CRC of type and data (PNG specification, section 5). Before libpng sees a length it has
 * to fit the file: it would allocate what a chunk claims, and its own limit (png_set_chunk_malloc_max) is no more than a
 * warning there. */
static Status check_chunks(const uint8_t *bytes, size_t size, bool checksums, Error *error)
{
    for (size_t at = 8;;) {
        if (size - at < 12) return error_set(error, STATUS_DATA, "truncated PNG: no end in %zu bytes", size);
        size_t length = big32(bytes + at);
        if (length > size - at - 12)
            return error_set(error, STATUS_DATA, "truncated PNG: a chunk of %zu bytes at offset %zu of %zu", length, at,
                             size);
        if (checksums && big32(bytes + at + 8 + length) != crc32(0, bytes + at + 4, (uInt)length + 4))
            return error_set(error, STATUS_DATA, "broken PNG: wrong checksum of the chunk at offset %zu", at);
        if (memcmp(bytes + at + 4, "IEND", 4) == 0) return STATUS_OK;
        at += 12 + length;
    }
}

Status png_scan(const uint8_t *bytes, size_t size, bool whole, ImageInfo *info, Error *error)
{
    static const uint8_t COMPONENTS[7] = {1, 0, 3, 3, 2, 0, 4}; /* by colour type; a palette yields colour */
    if (size < 33 || memcmp(bytes + 12, "IHDR", 4) != 0 || big32(bytes + 8) != 13 || bytes[25] > 6)
        return error_set(error, STATUS_DATA, "broken PNG: no header in %zu bytes", size);
    info->components = COMPONENTS[bytes[25]];
    Status status = image_check_size(big32(bytes + 16), big32(bytes + 20), error);
    if (status) return status;
    info->width = (int)big32(bytes + 16);
    info->height = (int)big32(bytes + 20);
    return whole ? check_chunks(bytes, size, true, error) : STATUS_OK;
}

typedef struct PngStream {
    png_structp png;
    png_infop info;
    const uint8_t *bytes; /* reading: [at, size) is left */
    size_t at, size;
    uint8_t *out; /* writing: grows */
    size_t capacity;
    png_bytep *rows;
    char message[256];
} PngStream;

static void stream_error(png_structp png, png_const_charp message)
{
    PngStream *stream = png_get_error_ptr(png);
    snprintf(stream->message, sizeof stream->message, "%s", message);
    png_longjmp(png, 1);
}

static void stream_warning(png_structp png, png_const_charp message)
{
    (void)png, (void)message; /* profiles and the like; pixels are not concerned */
}

static void stream_read(png_structp png, png_bytep target, png_size_t count)
{
    PngStream *stream = png_get_io_ptr(png);
    if (count > stream->size - stream->at) png_error(png, "the data end before the image does");
    memcpy(target, stream->bytes + stream->at, count);
    stream->at += count;
}

/* As Pillow's convert("RGB"): palettes looked up, low depths widened, 16 bits cut to the upper 8, alpha dropped. */
static bool read_rows(PngStream *stream, const Image *image)
{
    png_structp png = stream->png;
    if (setjmp(png_jmpbuf(png))) return false;
    png_set_read_fn(png, stream, stream_read);
    png_set_user_limits(png, 0x7fffffff, 0x7fffffff); /* png_scan has looked at the size */
    png_set_chunk_malloc_max(png, 8000000);
    png_read_info(png, stream->info);
    png_set_strip_16(png);
    png_set_expand(png);
    png_set_strip_alpha(png);
    png_set_gray_to_rgb(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, stream->info);
    if (png_get_rowbytes(png, stream->info) != (size_t)image->width * 3) png_error(png, "unexpected layout of pixels");
    png_read_image(png, stream->rows);
    png_read_end(png, NULL);
    return true;
}

Status png_decode(const uint8_t *bytes, size_t size, Image *image, Error *error)
{
    ImageInfo info = {0};
    Status status = png_scan(bytes, size, false, &info, error);
    if (!status) status = check_chunks(bytes, size, false, error);
    if (!status) status = image_reserve(image, info.width, info.height, error);
    if (status) return status;
    PngStream stream = {.bytes = bytes, .size = size};
    stream.rows = memory_alloc(info.height, sizeof *stream.rows, "the rows of a PNG", error);
    stream.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &stream, stream_error, stream_warning);
    stream.info = stream.png ? png_create_info_struct(stream.png) : NULL;
    if (!stream.rows || !stream.info) {
        status = memory_failed("decoding a PNG", error);
        goto free_stream;
    }
    for (int y = 0; y < info.height; y++) stream.rows[y] = image->pixels + (size_t)y * (size_t)info.width * 3;
    if (!read_rows(&stream, image)) status = error_set(error, STATUS_DATA, "broken PNG: %s", stream.message);
free_stream:
    png_destroy_read_struct(&stream.png, &stream.info, NULL);
    free(stream.rows);
    return status;
}

static void stream_write(png_structp png, png_bytep from, png_size_t count)
{
    PngStream *stream = png_get_io_ptr(png);
    if (count > stream->capacity - stream->size) {
        size_t capacity = 2 * stream->capacity + count + 4096;
        Error error = {0};
        if (memory_resize((void **)&stream->out, (int64_t)capacity, 1, "a PNG", &error)) png_error(png, error.message);
        stream->capacity = capacity;
    }
    memcpy(stream->out + stream->size, from, count);
    stream->size += count;
}

static void stream_flush(png_structp png)
{
    (void)png;
}

static bool write_rows(PngStream *stream, const Image *image, int gray, uint8_t *line)
{
    png_structp png = stream->png;
    if (setjmp(png_jmpbuf(png))) return false;
    png_set_write_fn(png, stream, stream_write, stream_flush);
    png_set_IHDR(png, stream->info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 gray ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, stream->info);
    for (int y = 0; y < image->height; y++) {
        const uint8_t *row = image->pixels + (size_t)y * (size_t)image->width * 3;
        if (gray) {
            for (int x = 0; x < image->width; x++) line[x] = row[3 * x];
            row = line;
        }
        png_write_row(png, row);
    }
    png_write_end(png, NULL);
    return true;
}

Status image_encode_png(const Image *image, int gray, unsigned char **bytes, size_t *size, Error *error)
{
    PngStream stream = {0};
    Status status = STATUS_OK;
    uint8_t *line = memory_alloc(image->width, 1, "a row of pixels", error);
    stream.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &stream, stream_error, stream_warning);
    stream.info = stream.png ? png_create_info_struct(stream.png) : NULL;
    if (!line || !stream.info) {
        status = memory_failed("encoding a PNG", error);
        goto free_stream;
    }
    if (!write_rows(&stream, image, gray, line))
        status = error_set(error, STATUS_FAILED, "cannot encode a PNG: %s", stream.message);
free_stream:
    png_destroy_write_struct(&stream.png, &stream.info);
    free(line);
    if (status) {
        free(stream.out);
        return status;
    }
    *bytes = stream.out;
    *size = stream.size;
    return STATUS_OK;
}
