#include "core/base/arena.h"

#include <stdlib.h>
#include <sys/mman.h>

Status arena_allocate(Arena *arena, Error *error)
{
    arena->size = arena->used ? arena->used : 64;
    /* Fresh anonymous pages: zeroed by the kernel, and placed on the NUMA node of the thread that first writes. */
    void *memory = mmap(NULL, arena->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        size_t size = arena->size;
        *arena = (Arena){0};
        return error_set(error, STATUS_FAILED, "out of memory: %.1f MB needed; a smaller batch needs less",
                         (double)size * 1e-6);
    }
    madvise(memory, arena->size, MADV_HUGEPAGE); /* only a wish: fewer TLB misses */
    arena->base = memory;
    arena->used = 0;
    return STATUS_OK;
}

void arena_free(Arena *arena)
{
    if (arena->base) munmap(arena->base, arena->size);
    *arena = (Arena){0};
}
