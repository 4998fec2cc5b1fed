/* packed.h: a matrix that many products read, such as a weight, copied once into the layout that a table reads best.
 *
 *     PackedMatrix b = {memory, 1152, 384};                        // packed_floats(1152, 384) of them
 *     packed_fill(kernels, &b, GEMM_NT, 0, 1152, weight, 384);     // weight (1152, 384): b is its transpose
 *     packed_gemm(kernels, rows, &b, 0, 1152, x, 384, 0, y, 1152); // y (rows, 1152) = x (rows, 384) b
 *
 * A table that says nothing about a layout has the plain one, rows of n floats. Products have the same bits either way.
 */
#ifndef CORE_KERNELS_PACKED_H
#define CORE_KERNELS_PACKED_H

#include <stddef.h>
#include "core/kernels/kernels.h"

size_t packed_floats(int n, int k);

/* Columns first .. first + count - 1 of b from where they are stored: GEMM_NN: b (k, n), from points at column `first`;
 * GEMM_NT: b (n, k), from points at row `first`. Parts may be filled side by side where `first` is a multiple of 48. */
void packed_fill(const Kernels *kernels, const PackedMatrix *b, GemmForm form, int first, int count, const float *from,
                 int ld);

/* C (m, count) = A (m, k) times columns first .. first + count - 1 of b + beta C */
void packed_gemm(const Kernels *kernels, int m, const PackedMatrix *b, int first, int count, const float *a, int lda,
                 float beta, float *c, int ldc);

#endif
