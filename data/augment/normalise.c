#include "data/augment/normalise.h"

Normalise normalise_make(const double mean[3], const double std[3])
{
    Normalise made;
    for (int c = 0; c < 3; c++) {
        made.shift[c] = (float)(mean[c] * 255);
        made.scale[c] = (float)(std[c] * 255);
    }
    return made;
}

void normalise_plane(const uint8_t *pixels, int64_t count, float shift, float scale, float *out)
{
    for (int64_t i = 0; i < count; i++) out[i] = ((float)pixels[3 * i] - shift) / scale;
}

void normalise_apply(const Normalise *normalise, const uint8_t *pixels, int64_t count, float *out, int64_t plane)
{
    void (*run)(const uint8_t *, int64_t, float, float, float *) = normalise_plane;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) run = normalise_plane_avx2;
#endif
    for (int c = 0; c < 3; c++) run(pixels + c, count, normalise->shift[c], normalise->scale[c], out + c * plane);
}
