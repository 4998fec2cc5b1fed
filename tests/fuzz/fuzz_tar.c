/* Any bytes as a tar of images, or of tars of images: opened as ImageNet's, and every image that it lists is read. */
#include <stdint.h>
#include <stdlib.h>

#include "data/convert/source.h"
#include "tests/fuzz/memory_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char WNIDS[] = "n01440764\nn01443537\n";
    Source source;
    SourceImage image = {0};
    Error error = {0};
    memory_folder_put(0, "images.tar", bytes, size);
    const char *folder = memory_folder_put(1, "val_wnids.txt", (const uint8_t *)WNIDS, sizeof WNIDS - 1);
    if (source_open(&source, folder, &error) != STATUS_OK) {
        if (!error.message[0]) abort();
        return 0;
    }
    for (int split = 0; split < SOURCE_SPLITS; split++)
        for (int64_t i = 0; i < source.splits[split].count; i++) {
            const SourceItem *item = &source.splits[split].items[i];
            if (item->label < 0 || item->label >= source.classes || item->offset + item->size > size) abort();
            if (source.read(&source, item, &image, &error) != STATUS_OK) abort();
        }
    source_image_free(&image);
    source_close(&source);
    return 0;
}
