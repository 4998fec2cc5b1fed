#define PIXEL_KERNELS pixel_kernels_avx2
#include "data/image/pixel_kernels_body.h"
