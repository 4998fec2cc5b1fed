/* The kernels compiled for Arm's 64-bit processors (flags: Makefile). */
#define LANES            4
#define VECTOR_REGISTERS 32
#include "core/kernels/simd_body.h"

/* As for AVX2, rows of a part of a cache line are copied into panels. */
GEMM_OF(8x3, .vectors = 3, .pack_rows = 96, .strip_cols = 192)
PACKED_OF(8x3, 3)

extern const Kernels kernels_neon_8x3;
KERNELS_TABLE(kernels_neon_8x3, "neon-8x3", gemm_8x3, .pack = pack_8x3, .gemm_packed = gemm_packed_8x3);
