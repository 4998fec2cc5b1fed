/* The kernels compiled for AVX2 (flags: Makefile). Empty on other processors. */
#if defined(__AVX2__)
#define LANES      8
#define TABLE      kernels_avx2
#define TABLE_NAME "avx2"
extern const struct Kernels TABLE;
#include "core/kernels/simd_body.h"
#else
typedef int NothingHere; /* ISO C wants a declaration */
#endif
