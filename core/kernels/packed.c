#include "core/kernels/packed.h"

#include <string.h>

#include "core/kernels/bf16.h"

enum { WIDEST_VECTOR = 16 };

/* Rows of whole vectors, and one more that a product of some columns may read past their end; or tiles of bfloat16. */
size_t packed_floats(int n, int k)
{
    size_t wide = ((size_t)n + WIDEST_VECTOR - 1) / WIDEST_VECTOR * WIDEST_VECTOR;
    size_t floats = wide * (size_t)k + WIDEST_VECTOR, tiles = bf16_packed_floats(n, k);
    return floats > tiles ? floats : tiles;
}

void packed_fill(const Kernels *kernels, const PackedMatrix *b, GemmForm form, int first, int count, const float *from,
                 int ld)
{
    if (kernels->pack)
        kernels->pack(form, b, first, count, from, ld);
    else if (form == GEMM_NT)
        kernels->transpose(count, b->k, from, ld, b->at + first, b->n);
    else
        for (int p = 0; p < b->k; p++)
            memcpy(b->at + (int64_t)p * b->n + first, from + (int64_t)p * ld, (size_t)count * sizeof(float));
}

void packed_gemm(const Kernels *kernels, int m, const PackedMatrix *b, int first, int count, const float *a, int lda,
                 float beta, float *c, int ldc)
{
    if (kernels->gemm_packed)
        kernels->gemm_packed(m, b, first, count, a, lda, beta, c, ldc);
    else
        kernels->gemm(GEMM_NN, m, count, b->k, a, lda, b->at + first, b->n, beta, c, ldc);
}
