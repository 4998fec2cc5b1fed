/* The kernels compiled for AVX512 (flags: Makefile). Empty on other processors. */
#if defined(__AVX512F__)
#define LANES      16
#define TABLE      kernels_avx512
#define TABLE_NAME "avx512"
extern const struct Kernels TABLE;
#include "core/kernels/simd_body.h"
#else
typedef int NothingHere; /* ISO C wants a declaration */
#endif
