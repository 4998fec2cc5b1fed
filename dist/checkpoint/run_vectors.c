#include "dist/checkpoint/run_vectors.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"

enum { COPY_BLOCK = 1 << 20 /* floats per task */ };

static Status vector_allocate(float **vector, bool wanted, int64_t count, Error *error)
{
    if (!wanted) return STATUS_OK;
    *vector = memory_alloc_aligned(64, count, sizeof **vector, "a checkpoint's copy of a vector", error);
    if (!*vector) return STATUS_FAILED;
    /* Its pages are there before the first copy, which a step waits for. */
    memset(*vector, 0, (size_t)count * sizeof **vector);
    return STATUS_OK;
}

Status run_vectors_allocate(RunVectors *vectors, const ParamTable *table, const RunVectorSet *which, Error *error)
{
    *vectors = (RunVectors){.begin = which->begin, .end = which->end};
    Status status = vector_allocate(&vectors->weights, which->weights, table->size, error);
    if (!status) status = vector_allocate(&vectors->ema, which->ema, table->size, error);
    if (!status) status = vector_allocate(&vectors->moment1, which->moment1, which->end - which->begin, error);
    if (!status) status = vector_allocate(&vectors->moment2, which->moment2, which->end - which->begin, error);
    return status;
}

void run_vectors_free(RunVectors *vectors)
{
    free(vectors->weights);
    free(vectors->ema);
    free(vectors->moment1);
    free(vectors->moment2);
    *vectors = (RunVectors){0};
}

typedef struct Copy {
    float *to;
    const float *from;
    int64_t count;
} Copy;

static void copy_task(void *context, int64_t task, int thread)
{
    (void)thread;
    const Copy *copy = context;
    int64_t begin = task * COPY_BLOCK, left = copy->count - begin, count = left < COPY_BLOCK ? left : COPY_BLOCK;
    memcpy(copy->to + begin, copy->from + begin, (size_t)count * sizeof(float));
}

void run_vector_copy(Pool *pool, float *to, const float *from, int64_t count)
{
    Copy copy = {to, from, count};
    if (to && from) pool_run(pool, (count + COPY_BLOCK - 1) / COPY_BLOCK, copy_task, &copy);
}

void run_vectors_copy(Pool *pool, const RunVectors *to, const RunVectors *from, int64_t size)
{
    const int64_t slice = to->end - to->begin;
    run_vector_copy(pool, to->weights, from->weights, size);
    run_vector_copy(pool, to->ema, from->ema, size);
    run_vector_copy(pool, to->moment1, from->moment1, slice);
    run_vector_copy(pool, to->moment2, from->moment2, slice);
}
