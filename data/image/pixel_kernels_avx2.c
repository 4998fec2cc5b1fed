#if defined(__x86_64__)
#define LOOPS loops_avx2
#include "data/image/pixel_kernels_body.h"
#endif
