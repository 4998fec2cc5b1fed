#include "core/base/memory.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/printable.h"

static void report(int64_t count, size_t size, const char *purpose, Error *error)
{
    error_set(error, STATUS_FAILED, "out of memory for %s: %.1f MB (%" PRId64 " of %zu bytes)", purpose,
              1e-6 * (double)count * (double)size, count, size);
}

/* The bytes of `count` items, at least 1; 0 when no size_t holds them. */
static size_t bytes_of(int64_t count, size_t size)
{
    size_t bytes;
    if (count < 0 || __builtin_mul_overflow((uint64_t)count, size, &bytes) || bytes > PTRDIFF_MAX) return 0;
    return bytes ? bytes : 1;
}

void *memory_alloc(int64_t count, size_t size, const char *purpose, Error *error)
{
    size_t bytes = bytes_of(count, size);
    void *items = bytes ? calloc(1, bytes) : NULL;
    if (!items) report(count, size, purpose, error);
    return items;
}

void *memory_alloc_aligned(size_t alignment, int64_t count, size_t size, const char *purpose, Error *error)
{
    size_t bytes = bytes_of(count, size);
    /* C11 wants the size to be a multiple of the alignment. */
    size_t whole = bytes + (alignment - bytes % alignment) % alignment;
    void *items = bytes ? aligned_alloc(alignment, whole) : NULL;
    if (!items) report(count, size, purpose, error);
    return items;
}

Status memory_resize(void **items, int64_t count, size_t size, const char *purpose, Error *error)
{
    size_t bytes = bytes_of(count, size);
    void *larger = bytes ? realloc(*items, bytes) : NULL;
    if (!larger) {
        report(count, size, purpose, error);
        return STATUS_FAILED;
    }
    *items = larger;
    return STATUS_OK;
}

char *memory_copy_text(const char *text, const char *purpose, Error *error)
{
    size_t size = strlen(text) + 1;
    char *copy = memory_alloc((int64_t)size, 1, purpose, error);
    if (copy) memcpy(copy, text, size);
    return copy;
}

char *memory_copy_printable(const char *text, const char *purpose, Error *error)
{
    size_t size = 4 * strlen(text) + 1;
    char *copy = memory_alloc((int64_t)size, 1, purpose, error);
    return copy ? printable(copy, size, text) : NULL;
}

Status memory_failed(const char *purpose, Error *error)
{
    return error_set(error, STATUS_FAILED, "out of memory for %s", purpose);
}
