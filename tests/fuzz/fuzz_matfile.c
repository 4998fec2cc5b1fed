/* Any bytes as the devkit's meta.mat. Without the fixed header, so that every byte of an input is one that is parsed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/convert/matfile.h"

enum { HEADER = 128 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    uint8_t *file = calloc(1, HEADER + size);
    if (!file) abort();
    memcpy(file + 126, "IM", 2);
    memcpy(file + HEADER, bytes, size);
    Synset *synsets;
    int count;
    Error error = {0};
    if (matfile_synsets(file, HEADER + size, "meta.mat", &synsets, &count, &error) != STATUS_OK) {
        if (synsets || error.status != STATUS_DATA || !error.message[0]) abort();
    } else {
        for (int i = 0; i < count; i++)
            if (strlen(synsets[i].words) >= sizeof synsets[i].words || !synsets[i].wnid[0]) abort();
    }
    free(synsets);
    free(file);
    return 0;
}
