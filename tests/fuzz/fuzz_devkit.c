/* Any bytes as ImageNet's devkit: a tar, gzip'ed or not, with meta.mat and the ground truth in it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/convert/imagenet_devkit.h"
#include "data/dataset/imagenet_classes.h"
#include "tests/fuzz/memory_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    ImagenetDevkit devkit;
    Error error = {0};
    const char *folder = memory_folder_put(0, "ILSVRC2012_devkit_t12.tar.gz", bytes, size);
    Status status = imagenet_devkit_load(&devkit, folder, &error);
    if ((status == STATUS_OK) != !error.message[0]) abort();
    for (int i = 0; i < devkit.val_wnids.count; i++)
        if (devkit.official && !imagenet_class_of_wnid(devkit.val_wnids.names[i])) abort();
    imagenet_devkit_free(&devkit);
    return 0;
}
