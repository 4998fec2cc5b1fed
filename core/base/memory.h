/* memory.h: allocation that says what it is for.
 *
 *     loader->slots = memory_alloc(count, sizeof *loader->slots, "the loader's slots", error);
 *     if (!loader->slots) return error->status;
 *
 * The message of a failure: "out of memory for the loader's slots: 12.5 MB (8 of 1562500 bytes)".
 */
#ifndef CORE_BASE_MEMORY_H
#define CORE_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include "core/base/status.h"

/* Room for `count` items of `size` bytes each, zeroed; free() releases it. NULL only on failure (no items: a pointer
 * that may be freed). A count below 0, or a product that no size_t holds, fails as too much memory does. */
void *memory_alloc(int64_t count, size_t size, const char *purpose, Error *error);

/* The same, aligned to `alignment` bytes, a power of two, and not zeroed. */
void *memory_alloc_aligned(size_t alignment, int64_t count, size_t size, const char *purpose, Error *error);

/* *items with room for `count` items; what was there stays, the rest is not zeroed. On failure *items is as before. */
Status memory_resize(void **items, int64_t count, size_t size, const char *purpose, Error *error);

/* A copy of a text; and one with what is not printable UTF-8 escaped (printable.h). */
char *memory_copy_text(const char *text, const char *purpose, Error *error);
char *memory_copy_printable(const char *text, const char *purpose, Error *error);

/* The same message of what a library was to allocate, whose size only it knows; returns STATUS_FAILED. */
Status memory_failed(const char *purpose, Error *error);

#endif
