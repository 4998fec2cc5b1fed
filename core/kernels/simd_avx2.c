/* The kernels compiled for AVX2 (flags: Makefile). */
#define LANES            8
#define VECTOR_REGISTERS 16
#include "core/kernels/simd_body.h"

/* Panels are copied: rows of half a cache line fall on few sets of the first-level cache. */
GEMM_OF(6x2, .vectors = 2, .pack_rows = 96, .strip_cols = INT_MAX)
GEMM_OF(4x3, .vectors = 3, .pack_rows = 96, .strip_cols = 192)
PACKED_OF(4x3, 3)

extern const Kernels kernels_avx2_6x2, kernels_avx2_4x3;
KERNELS_TABLE(kernels_avx2_4x3, "avx2-4x3", gemm_4x3, .pack = pack_4x3, .gemm_packed = gemm_packed_4x3);
KERNELS_TABLE(kernels_avx2_6x2, "avx2-6x2", gemm_6x2, );
