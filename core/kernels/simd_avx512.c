/* The kernels compiled for AVX512 (flags: Makefile), a table for each shape of the micro-kernel. */
#define LANES            16
#define VECTOR_REGISTERS 32
#include "core/kernels/simd_body.h"

/* One 512-bit multiply-add a cycle (Zen 4) leaves time for two loads: few vectors, and nothing is copied. */
GEMM_OF(12x2, .vectors = 2, .pack_rows = INT_MAX, .strip_cols = INT_MAX)
/* Two a cycle: 11 loads for 24 multiply-adds instead of 14. */
GEMM_OF(8x3, .vectors = 3, .pack_rows = INT_MAX, .strip_cols = 192)
PACKED_OF(8x3, 3)

extern const Kernels kernels_avx512_12x2, kernels_avx512_8x3;
KERNELS_TABLE(kernels_avx512_12x2, "avx512-12x2", gemm_12x2, );
KERNELS_TABLE(kernels_avx512_8x3, "avx512-8x3", gemm_8x3, .pack = pack_8x3, .gemm_packed = gemm_packed_8x3);
