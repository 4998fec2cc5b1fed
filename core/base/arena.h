/* arena.h: one allocation, carved once.
 *
 * Sizes are known when a model is built, so a step never allocates. The same carving function runs twice: first
 * on an arena without memory, which only adds up, then on the real one.
 *
 *     Arena arena = {0};
 *     carve(&model, &arena);              // counts
 *     arena_allocate(&arena, error);      // 64-byte aligned, zeroed, page-aligned base
 *     carve(&model, &arena);              // hands out
 *     ...
 *     arena_free(&arena);
 */
#ifndef CORE_BASE_ARENA_H
#define CORE_BASE_ARENA_H

#include <stddef.h>
#include "core/base/status.h"

typedef struct Arena {
    char *base; /* NULL while counting */
    size_t used;
    size_t size;
} Arena;

/* Aligned to 64; NULL while counting. */
static inline void *arena_carve(Arena *arena, size_t bytes)
{
    size_t at = arena->used;
    arena->used += (bytes + 63) / 64 * 64;
    return arena->base ? arena->base + at : NULL;
}

static inline float *arena_floats(Arena *arena, size_t count)
{
    return (float *)arena_carve(arena, count * sizeof(float));
}

Status arena_allocate(Arena *arena, Error *error); /* memory for all that was counted; then `used` is 0 again */
void arena_free(Arena *arena);                     /* accepts a zeroed arena */

#endif
