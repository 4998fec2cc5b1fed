/* The kernels with four lanes, for the baseline of any processor (SSE2, NEON). */
#define LANES 4
#include "core/kernels/simd_body.h"

extern const Kernels kernels_generic;
KERNELS_TABLE(kernels_generic, "generic", gemm, );
