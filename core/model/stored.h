/* stored.h: a matrix that lies in memory from one region of a step to another: float32, or bfloat16 (`half`) where
 * products take bfloat16 anyway. Internal to core/.
 *
 * A task computes in float32 on its tile. Where the matrix is float32 the tile is its rows; else it is scratch memory,
 * rounded into the matrix at the end, widened from it at the start.
 *
 *     float *tile = stored_write(matrix, offset, scratch);          // where to compute
 *     ...
 *     stored_end(step, matrix, offset, rows, cols, tile);
 *     const float *tile = stored_read(step, matrix, offset, rows, cols, scratch);
 *
 * `offset` is an element of the matrix; tiles are whole rows, so that they are contiguous.
 */
#ifndef CORE_MODEL_STORED_H
#define CORE_MODEL_STORED_H

#include "core/base/arena.h"
#include "core/kernels/bf16.h"

typedef struct Stored {
    void *at;
    bool half;
} Stored;

static inline Stored stored_carve(Arena *arena, size_t count, bool half)
{
    return (Stored){half ? arena_carve(arena, count * sizeof(uint16_t)) : arena_floats(arena, count), half};
}

static inline Stored stored_of(const float *floats)
{
    return (Stored){(void *)floats, false};
}

/* The floats of a matrix that is never half: what the variants that are kept in float32 read and write. */
static inline float *stored_floats(Stored matrix)
{
    return matrix.at;
}

static inline Stored stored_at(Stored matrix, int64_t offset)
{
    if (matrix.half) return (Stored){(uint16_t *)matrix.at + offset, true};
    return (Stored){(float *)matrix.at + offset, false};
}

static inline float *stored_write(Stored matrix, int64_t offset, float *scratch)
{
    return matrix.half ? scratch : (float *)matrix.at + offset;
}

/* The bfloat16 of columns of a wider matrix (leading dimension ld) from a contiguous tile (rows, cols), and back. */
static inline void stored_end_part(const Kernels *kernels, Stored matrix, int64_t offset, int rows, int cols, int ld,
                                   const float *tile)
{
    if (matrix.half && rows > 0) kernels->bf16->narrow(rows, cols, tile, cols, (uint16_t *)matrix.at + offset, ld);
}

static inline float *stored_read_part(const Kernels *kernels, Stored matrix, int64_t offset, int rows, int cols, int ld,
                                      float *scratch)
{
    if (!matrix.half) return (float *)matrix.at + offset;
    if (rows > 0) kernels->bf16->widen(rows, cols, (const uint16_t *)matrix.at + offset, ld, scratch, cols);
    return scratch;
}

/* Whole rows: as one long one. */
static inline void stored_end(const Kernels *kernels, Stored matrix, int64_t offset, int rows, int cols,
                              const float *tile)
{
    stored_end_part(kernels, matrix, offset, rows, cols, cols, tile);
}

static inline float *stored_read(const Kernels *kernels, Stored matrix, int64_t offset, int rows, int cols,
                                 float *scratch)
{
    return stored_read_part(kernels, matrix, offset, rows, cols, cols, scratch);
}

/* A tile as it is after it was rounded into the matrix. Of a float32 matrix: the tile. */
static inline const float *stored_rounded(const Kernels *kernels, Stored matrix, int64_t offset, int rows, int cols,
                                          const float *tile, float *scratch)
{
    if (!matrix.half) return tile;
    stored_end(kernels, matrix, offset, rows, cols, tile);
    return stored_read(kernels, matrix, offset, rows, cols, scratch);
}

#endif
