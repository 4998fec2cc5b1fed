/* The arena of simulated ranks: one block of memory that all of them share, since nobody looks at what is in it. */
#include "core/base/arena.h"

#include <mpi.h>

void *arena_carve(Arena *arena, size_t bytes)
{
    size_t at = arena->used;
    arena->used += (bytes + 63) / 64 * 64;
    return arena->base ? arena->base + at : NULL;
}

float *arena_floats(Arena *arena, size_t count)
{
    return arena_carve(arena, count * sizeof(float));
}

Status arena_allocate(Arena *arena, Error *error)
{
    arena->size = arena->used ? arena->used : 64;
    arena->base = SMPI_SHARED_MALLOC(arena->size);
    if (!arena->base) return error_set(error, STATUS_FAILED, "no shared memory for the simulation");
    arena->used = 0;
    return STATUS_OK;
}

void arena_free(Arena *arena)
{
    if (arena->base) SMPI_SHARED_FREE(arena->base);
    *arena = (Arena){0};
}
