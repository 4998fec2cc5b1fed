/* Any bytes as what follows a PNG's signature. The checksums of its chunks are made right first: they would stop nearly
 * every input. */
#include <zlib.h>

#include "tests/fuzz/exercise_image.h"

static uint32_t get_big32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void mend_checksums(uint8_t *png, size_t size)
{
    for (size_t at = 8; size - at >= 12;) {
        size_t length = get_big32(png + at);
        if (length > size - at - 12) return;
        uint32_t sum = (uint32_t)crc32(0, png + at + 4, (uInt)length + 4);
        for (int i = 0; i < 4; i++) png[at + 8 + length + (size_t)i] = (uint8_t)(sum >> (24 - 8 * i));
        at += 12 + length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t SIGNATURE[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    uint8_t *png = malloc(sizeof SIGNATURE + size);
    if (!png) abort();
    memcpy(png, SIGNATURE, sizeof SIGNATURE);
    memcpy(png + sizeof SIGNATURE, data, size);
    mend_checksums(png, sizeof SIGNATURE + size);
    exercise_image(png, sizeof SIGNATURE + size);
    free(png);
    return 0;
}
