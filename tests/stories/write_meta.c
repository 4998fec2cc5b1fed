/* write_meta WNID WORDS ...: meta.mat of a devkit with these classes, and an ancestor of them, to stdout. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/devkit.h"

enum { MAX_CLASSES = 50 };

int main(int argc, char **argv)
{
    const char *rows[MAX_CLASSES + 1][2];
    int classes = (argc - 1) / 2;
    size_t size;
    if (classes < 1 || classes > MAX_CLASSES) return 2;
    for (int i = 0; i < 2 * classes; i++) rows[i / 2][i % 2] = argv[i + 1];
    rows[classes][0] = "n00001740", rows[classes][1] = "entity";
    unsigned char *bytes = devkit_meta((const char *const(*)[2])rows, classes + 1, classes, &size);
    bool done = bytes && fwrite(bytes, 1, size, stdout) == size && fflush(stdout) == 0;
    free(bytes);
    return done ? 0 : 1;
}
