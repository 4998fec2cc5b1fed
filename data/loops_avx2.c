#if defined(__x86_64__)
#define LOOPS loops_avx2
#include "data/loops_body.h"
#endif
