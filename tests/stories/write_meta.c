/* write_meta: meta.mat of an ILSVRC2012 devkit, to stdout. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/dataset/imagenet_classes.h"
#include "tests/support/devkit.h"

int main(void)
{
    size_t size;
    unsigned char *bytes = devkit_meta(IMAGENET_CLASSES, 0, &size);
    bool done = bytes && fwrite(bytes, 1, size, stdout) == size && fflush(stdout) == 0;
    free(bytes);
    return done ? 0 : 1;
}
