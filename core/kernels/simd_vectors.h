/* simd_vectors.h: a vector of LANES floats and what can be done with it: whole and partial loads, fused multiply-adds,
 * sums and maxima over its lanes, and the walk over a row (EACH_VECTOR). Included by simd_body.h.
 */
#if LANES > 4
#include <immintrin.h>
#elif defined(VECTOR_REGISTERS)
#include <arm_neon.h>
#endif

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t VecInt __attribute__((vector_size(LANES * 4)));
typedef uint64_t VecLong __attribute__((vector_size(LANES * 4)));
typedef float VecMem __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE Vec splat(float x)
{
    return x - (Vec){0};
}

INLINE Vec load(const float *p)
{
    return *(const VecMem *)p;
}

INLINE void store(float *p, Vec v)
{
    *(VecMem *)p = v;
}

#include "core/kernels/simd_transpose.h"

/* a * b + c; where the processor can, rounded once. */
INLINE Vec multiply_add(Vec a, Vec b, Vec c)
{
#if LANES == 16
    return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif LANES == 8
    return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(VECTOR_REGISTERS)
    return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

INLINE VecInt first_lanes(int64_t n)
{
    VecInt lane = {0};
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return lane < (int32_t)n;
}

INLINE Vec load_part(const float *p, int64_t n)
{
#if LANES == 16
    return (Vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif LANES == 8
    return (Vec)_mm256_maskload_ps(p, (__m256i)first_lanes(n));
#else
    Vec v = {0};
    memcpy(&v, p, (size_t)n * sizeof(float));
    return v;
#endif
}

INLINE void store_part(float *p, Vec v, int64_t n)
{
#if LANES == 16
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#elif LANES == 8
    _mm256_maskstore_ps(p, (__m256i)first_lanes(n), (__m256)v);
#else
    memcpy(p, &v, (size_t)n * sizeof(float));
#endif
}

INLINE Vec select_vec(VecInt mask, Vec yes, Vec no)
{
    return (Vec)((mask & (VecInt)yes) | (~mask & (VecInt)no));
}

/* a > b ? a : b: a NaN in a is passed over. Compilers do not see that this is one instruction. */
INLINE Vec max_vec(Vec a, Vec b)
{
#if LANES == 16
    return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (Vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return select_vec(a > b, a, b);
#endif
}

/* The sums of 16 lanes: lane l adds up elements l, l + 16, ... of a row. */
enum { WIDE = 16, PARTS = WIDE / LANES };

typedef struct WideSum {
    Vec part[PARTS];
} WideSum;

/* Of the 16: l and l + 8, then l and l + 4, 2, 1. */
INLINE float sum_lanes(WideSum sum)
{
    Vec v = sum.part[0];
#if LANES == 16
    v += SWAP_LANES(v, 8);
#elif LANES == 8
    v += sum.part[1];
#else
    v = (v + sum.part[2]) + (sum.part[1] + sum.part[3]);
#endif
#if LANES > 4
    v += SWAP_LANES(v, 4);
#endif
    v += SWAP_LANES(v, 2);
    v += SWAP_LANES(v, 1);
    return v[0];
}

/* Runs a block for each vector of a row of `cols`: at column c, with n lanes of it, as part `part` of a WideSum. n is a
 * constant but for the end. */
#define EACH_VECTOR(cols, ...)                                                                                         \
    do {                                                                                                               \
        int c = 0;                                                                                                     \
        for (; c + WIDE <= (cols);) {                                                                                  \
            const int n = LANES;                                                                                       \
            _Pragma("GCC unroll 4") for (int part = 0; part < PARTS; part++, c += LANES) __VA_ARGS__                   \
        }                                                                                                              \
        _Pragma("GCC unroll 4") for (int part = 0; part < PARTS; part++, c += LANES)                                   \
        {                                                                                                              \
            const int n = (cols)-c < LANES ? (cols)-c : LANES;                                                         \
            if (n <= 0) break;                                                                                         \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    } while (0)

INLINE Vec load_lanes(const float *p, int n)
{
    return n == LANES ? load(p) : load_part(p, n);
}

INLINE void store_lanes(float *p, Vec v, int n)
{
    if (n == LANES)
        store(p, v);
    else
        store_part(p, v, n);
}

/* Zero in all lanes but the first n. */
INLINE Vec keep_lanes(Vec v, int n)
{
    return n == LANES ? v : (Vec)((VecInt)v & first_lanes(n));
}

INLINE float max_lanes(Vec v)
{
#if LANES > 8
    v = max_vec(v, SWAP_LANES(v, 8));
#endif
#if LANES > 4
    v = max_vec(v, SWAP_LANES(v, 4));
#endif
    v = max_vec(v, SWAP_LANES(v, 2));
    v = max_vec(v, SWAP_LANES(v, 1));
    return v[0];
}
