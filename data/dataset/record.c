#include <inttypes.h>
#include <string.h>

#include <xxhash.h>

#include "data/dataset/shard.h"

static const uint8_t MAGIC[4] = {'T', '2', 'T', 'R'};
enum { RECORD_VERSION = 1 };

static void put(uint8_t *target, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) target[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *from, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)from[i] << 8 * i;
    return value;
}

uint64_t record_hash(const void *bytes, size_t size)
{
    return XXH3_64bits(bytes, size);
}

void record_write_header(const Record *record, uint8_t header[RECORD_HEADER])
{
    memcpy(header, MAGIC, 4);
    put(header + 4, RECORD_VERSION, 2);
    put(header + 6, record->format, 2);
    put(header + 8, (uint64_t)record->label, 4);
    put(header + 12, (uint64_t)record->width, 4);
    put(header + 16, (uint64_t)record->height, 4);
    put(header + 20, record->size, 4);
    put(header + 24, record->hash, 8);
}

Status record_parse(const void *value, size_t size, Record *record, Error *error)
{
    const uint8_t *header = value;
    if (size < RECORD_HEADER)
        return error_set(error, STATUS_DATA, "a record of %zu bytes, shorter than its header of %d", size,
                         RECORD_HEADER);
    if (memcmp(header, MAGIC, 4) != 0)
        return error_set(error, STATUS_DATA, "not a record: it does not start with T2TR");
    if (get(header + 4, 2) != RECORD_VERSION)
        return error_set(error, STATUS_DATA, "record version %d; this t2t reads version %d", (int)get(header + 4, 2),
                         RECORD_VERSION);
    uint64_t format = get(header + 6, 2), label = get(header + 8, 4);
    uint64_t width = get(header + 12, 4), height = get(header + 16, 4);
    if (format != IMAGE_JPEG && format != IMAGE_PNG)
        return error_set(error, STATUS_DATA, "unknown image format %d in a record", (int)format);
    if (width == 0 || height == 0 || width > IMAGE_MAX_PIXELS / height)
        return error_set(error, STATUS_DATA, "a record claims an image of %" PRIu64 " x %" PRIu64 " pixels", width,
                         height);
    if (get(header + 20, 4) != size - RECORD_HEADER)
        return error_set(error, STATUS_DATA, "a record says %" PRIu64 " bytes of image, but holds %zu",
                         get(header + 20, 4), size - RECORD_HEADER);
    *record = (Record){.label = (int64_t)label,
                       .width = (int)width,
                       .height = (int)height,
                       .format = (ImageFormat)format,
                       .hash = get(header + 24, 8),
                       .bytes = header + RECORD_HEADER,
                       .size = size - RECORD_HEADER};
    uint64_t found = record_hash(record->bytes, record->size);
    if (found != record->hash)
        return error_set(error, STATUS_DATA,
                         "the image's bytes have hash %016" PRIx64 ", but the record says %016" PRIx64, found,
                         record->hash);
    return STATUS_OK;
}
