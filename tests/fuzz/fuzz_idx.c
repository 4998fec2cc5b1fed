/* Any bytes as the images and labels of an IDX source. The first two bytes say how many of the others are the labels'
 * file; the rest is the images'. */
#include <stdint.h>
#include <stdlib.h>

#include "data/convert/source.h"
#include "tests/fuzz/memory_folder.h"

enum { ENOUGH = 64 }; /* images that are read */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < 2) return 0;
    size_t labels = ((size_t)bytes[0] | (size_t)bytes[1] << 8) % (size - 1);
    Source source;
    SourceImage image = {0};
    Error error = {0};
    memory_folder_put(0, "train-labels-idx1-ubyte", bytes + 2, labels);
    const char *folder = memory_folder_put(1, "train-images-idx3-ubyte", bytes + 2 + labels, size - 2 - labels);
    if (source_open(&source, folder, &error) != STATUS_OK) {
        if (!error.message[0]) abort();
        return 0;
    }
    const SourceSplit *train = &source.splits[SPLIT_TRAIN];
    for (int64_t i = 0; i < train->count && i < ENOUGH; i++) {
        if (train->items[i].label < 0 || train->items[i].label >= source.classes) abort();
        if (source.read(&source, &train->items[i], &image, &error) != STATUS_OK) abort();
        if (image.pixels.width < 1 || image.pixels.height < 1) abort();
    }
    source_image_free(&image);
    source_close(&source);
    return 0;
}
