#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"

Test(memory, is_zeroed_and_never_null_when_it_is_there)
{
    Error error = {0};
    int *items = memory_alloc(100, sizeof *items, "some items", &error);
    cr_assert(items);
    for (int i = 0; i < 100; i++) cr_assert_eq(items[i], 0);
    free(items);
    void *none = memory_alloc(0, 8, "nothing", &error);
    cr_assert(none);
    free(none);
    char *aligned = memory_alloc_aligned(64, 3, 5, "lines", &error);
    cr_assert(aligned);
    cr_assert_eq((uintptr_t)aligned % 64, 0);
    free(aligned);
    cr_assert_eq(error.status, STATUS_OK);
}

Test(memory, too_much_names_what_it_was_for)
{
    static const struct {
        int64_t count;
        size_t size;
    } CASES[] = {{INT64_MAX, 8}, {INT64_MAX, 1}, {1LL << 40, 1ULL << 40}, {-1, 4}, {2, SIZE_MAX / 2 + 1}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        Error error = {0};
        cr_assert_null(memory_alloc(CASES[i].count, CASES[i].size, "the loader's slots", &error), "case %zu", i);
        cr_assert_eq(error.status, STATUS_FAILED);
        cr_assert(strstr(error.message, "out of memory for the loader's slots: "), "%s", error.message);
        error = (Error){0};
        cr_assert_null(memory_alloc_aligned(64, CASES[i].count, CASES[i].size, "lines", &error));
        cr_assert_eq(error.status, STATUS_FAILED);
    }
}

Test(memory, what_cannot_grow_stays)
{
    Error error = {0};
    void *items = NULL;
    cr_assert_eq(memory_resize(&items, 4, 1, "four letters", &error), STATUS_OK);
    memcpy(items, "abc", 4);
    cr_assert_eq(memory_resize(&items, 400, 1, "more letters", &error), STATUS_OK);
    cr_assert_str_eq(items, "abc");
    cr_assert_eq(memory_resize(&items, INT64_MAX, 16, "all letters", &error), STATUS_FAILED);
    cr_assert_str_eq(items, "abc");
    cr_assert(strstr(error.message, "all letters"));
    free(items);
    error = (Error){0};
    char *copy = memory_copy_text("a name", "a name", &error);
    cr_assert_str_eq(copy, "a name");
    free(copy);
}
