/* The arena of simulated ranks: one block of memory that all of them share, since nobody looks at what is in it. */
#include "core/base/arena.h"

#include <mpi.h>

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
