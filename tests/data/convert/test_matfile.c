/* The table of synsets in a devkit's meta.mat. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "data/convert/matfile.h"

/* The fuzzer's seed lacks the header of 128 bytes. */
static char *read_seed(size_t *size)
{
    enum { HEADER = 128 };
    char *seed;
    Error error = {0};
    cr_assert_eq(file_read("tests/fuzz/seeds/fuzz_matfile/plain", 1 << 20, &seed, size, &error), STATUS_OK, "%s",
                 error.message);
    char *file = calloc(1, HEADER + *size);
    memcpy(file + 126, "IM", 2);
    memcpy(file + HEADER, seed, *size);
    free(seed);
    *size += HEADER;
    return file;
}

Test(matfile, gives_ids_and_words)
{
    size_t size;
    int count;
    Synset *synsets;
    Error error = {0};
    char *file = read_seed(&size);
    cr_assert_eq(matfile_synsets(file, size, "meta.mat", &synsets, &count, &error), STATUS_OK, "%s", error.message);
    cr_assert_gt(count, 0);
    for (int i = 0; i < count; i++) cr_assert(synsets[i].id > 0 && synsets[i].wnid[0] == 'n');
    free(synsets);
    free(file);
}

Test(matfile, refuses_a_table_without_wordnet_ids)
{
    size_t size;
    int count;
    Synset *synsets;
    Error error = {0};
    char *file = read_seed(&size), *field = memmem(file, size, "WNID", 4);
    cr_assert(field);
    memcpy(field, "WHAT", 4);
    cr_assert_eq(matfile_synsets(file, size, "meta.mat", &synsets, &count, &error), STATUS_DATA);
    cr_assert_null(synsets);
    free(file);
}
