#define PIXEL_KERNELS pixel_kernels_portable
#include "data/image/pixel_kernels_body.h"

const PixelKernels *pixel_kernels(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return &pixel_kernels_avx2;
#endif
    return &pixel_kernels_portable;
}
