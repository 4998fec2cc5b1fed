#include "core/kernels/kernels.h"

#include <stddef.h>

extern const Kernels kernels_generic;
#if defined(__x86_64__)
extern const Kernels kernels_avx2, kernels_avx512;
#endif

const Kernels *kernels_at(int index)
{
    const Kernels *available[3];
    int count = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        available[count++] = &kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) available[count++] = &kernels_avx2;
#endif
    available[count++] = &kernels_generic;
    return index >= 0 && index < count ? available[index] : NULL;
}

const Kernels *kernels_best(void)
{
    return kernels_at(0);
}

void kernels_transpose(int rows, int cols, const float *in, int ldi, float *out, int ldo)
{
    enum { TILE = 16 }; /* a cache line of floats each way */
    for (int r0 = 0; r0 < rows; r0 += TILE) {
        int r1 = r0 + TILE < rows ? r0 + TILE : rows;
        for (int c0 = 0; c0 < cols; c0 += TILE) {
            int c1 = c0 + TILE < cols ? c0 + TILE : cols;
            for (int c = c0; c < c1; c++)
                for (int r = r0; r < r1; r++) out[(int64_t)c * ldo + r] = in[(int64_t)r * ldi + c];
        }
    }
}
