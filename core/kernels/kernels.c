#include "core/kernels/kernels.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

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
    const char *wanted = getenv("T2T_KERNELS");
    for (int i = 0; wanted && kernels_at(i); i++)
        if (strcmp(kernels_at(i)->name, wanted) == 0) return kernels_at(i);
    return kernels_at(0);
}
