/* The kernels with four lanes, for the baseline of any processor (SSE2, NEON). */
#define LANES      4
#define TABLE      kernels_generic
#define TABLE_NAME "generic"
extern const struct Kernels TABLE;
#include "core/kernels/simd_body.h"
