#define LOOPS loops_portable
#include "data/image/pixel_kernels_body.h"

const Loops *loops(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return &loops_avx2;
#endif
    return &loops_portable;
}
