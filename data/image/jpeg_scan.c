/* jpeg_scan.c: the marker structure of a JPEG (ITU-T T.81, annex B), without decoding. */
#include <string.h>

#include "data/image/codec.h"

enum {
    TEM = 0x01,
    SOF0 = 0xc0,
    DHT = 0xc4,
    JPG = 0xc8,
    DAC = 0xcc,
    SOF15 = 0xcf,
    RST0 = 0xd0,
    RST7 = 0xd7,
    EOI = 0xd9,
    SOS = 0xda,
    APP1 = 0xe1,
};

typedef struct Cursor {
    const uint8_t *bytes;
    size_t size, at;
} Cursor;

static unsigned big16(const uint8_t *bytes)
{
    return (unsigned)bytes[0] << 8 | bytes[1];
}

/* The marker at or after the cursor; bytes before its 0xff are noise, which decoders skip. -1: there is none. */
static int next_marker(Cursor *cursor)
{
    const uint8_t *end = cursor->bytes + cursor->size, *p = cursor->bytes + cursor->at;
    while (p < end && (p = memchr(p, 0xff, (size_t)(end - p)))) {
        while (p < end && *p == 0xff) p++; /* fill bytes */
        if (p == end) break;
        if (*p != 0) {
            cursor->at = (size_t)(p - cursor->bytes) + 1;
            return *p;
        }
    }
    return -1;
}

/* Inside a scan 0xff 0x00 is data and restart markers belong to it. */
static int next_marker_in_scan(Cursor *cursor)
{
    int marker;
    do marker = next_marker(cursor);
    while (marker >= RST0 && marker <= RST7);
    return marker;
}

static bool is_frame(int marker)
{
    return marker >= SOF0 && marker <= SOF15 && marker != DHT && marker != JPG && marker != DAC;
}

static unsigned tiff16(const uint8_t *p, bool little)
{
    return little ? (unsigned)p[1] << 8 | p[0] : big16(p);
}

static uint32_t tiff32(const uint8_t *p, bool little)
{
    return little ? (uint32_t)tiff16(p + 2, true) << 16 | tiff16(p, true)
                  : (uint32_t)tiff16(p, false) << 16 | tiff16(p + 2, false);
}

/* Whether the first directory of an EXIF block (TIFF 6.0, section 2) lies inside it with all its values. */
static bool exif_is_sound(const uint8_t *tiff, size_t size)
{
    static const uint8_t TYPE_BYTES[14] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4};
    if (size < 8 || tiff[0] != tiff[1] || (tiff[0] != 'I' && tiff[0] != 'M')) return false;
    bool little = tiff[0] == 'I';
    uint64_t directory = tiff32(tiff + 4, little);
    if (tiff16(tiff + 2, little) != 42 || directory < 8 || directory + 2 > size) return false;
    unsigned entries = tiff16(tiff + directory, little);
    if (directory + 2 + 12ull * entries > size) return false;
    for (unsigned i = 0; i < entries; i++) {
        const uint8_t *entry = tiff + directory + 2 + 12 * i;
        unsigned type = tiff16(entry + 2, little);
        if (type == 0 || type >= sizeof TYPE_BYTES) return false;
        uint64_t length = (uint64_t)tiff32(entry + 4, little) * TYPE_BYTES[type];
        if (length > 4 && tiff32(entry + 8, little) + length > size) return false;
    }
    return true;
}

/* Baseline, extended and progressive, by Huffman or arithmetic codes: what libjpeg-turbo decodes. */
static bool can_be_decoded(int marker)
{
    return marker == SOF0 || marker == SOF0 + 1 || marker == SOF0 + 2 || marker == SOF0 + 9 || marker == SOF0 + 10;
}

static Status read_frame(int marker, const uint8_t *segment, size_t length, ImageInfo *info, Error *error)
{
    if (length < 8) return error_set(error, STATUS_DATA, "broken JPEG: a frame header of %zu bytes", length);
    if (!can_be_decoded(marker) || segment[2] != 8)
        return error_set(error, STATUS_DATA,
                         "a JPEG of kind SOF%d with samples of %d bits; 8-bit SOF0, 1, 2, 9 and 10 "
                         "can be decoded",
                         marker - SOF0, segment[2]);
    if (segment[7] == 0 || segment[7] == 2 || segment[7] > 4)
        return error_set(error, STATUS_DATA, "a JPEG of %d components; 1, 3 and 4 can be decoded", segment[7]);
    info->height = (int)big16(segment + 3);
    info->width = (int)big16(segment + 5);
    info->components = segment[7];
    return image_check_size(info->width, info->height, error);
}

Status jpeg_scan(const uint8_t *bytes, size_t size, bool whole, ImageInfo *info, Error *error)
{
    Cursor cursor = {bytes, size, 2};
    bool in_scan = false;
    for (;;) {
        int marker = in_scan ? next_marker_in_scan(&cursor) : next_marker(&cursor);
        if (marker < 0)
            return error_set(error, STATUS_DATA, "truncated JPEG: no %s in %zu bytes",
                             info->width ? "end of the image" : "frame header", size);
        if (marker == EOI) {
            if (!in_scan) return error_set(error, STATUS_DATA, "broken JPEG: it ends without an image");
            return STATUS_OK;
        }
        if (marker == TEM || (marker >= RST0 && marker <= RST7)) continue;
        size_t left = size - cursor.at;
        size_t length = left < 2 ? 0 : big16(bytes + cursor.at);
        if (length < 2 || length > left)
            return error_set(error, STATUS_DATA, "truncated JPEG: a segment of %zu bytes at offset %zu of %zu", length,
                             cursor.at, size);
        const uint8_t *segment = bytes + cursor.at;
        if (is_frame(marker) && !info->width) {
            Status status = read_frame(marker, segment, length, info, error);
            if (status || !whole) return status;
        }
        if (marker == APP1 && length >= 8 && memcmp(segment + 2, "Exif\0\0", 6) == 0 &&
            !exif_is_sound(segment + 8, length - 8))
            info->corrupt_exif = true;
        if (marker == SOS && !info->width)
            return error_set(error, STATUS_DATA, "broken JPEG: a scan before the frame header");
        in_scan = in_scan || marker == SOS;
        cursor.at += length;
    }
}
