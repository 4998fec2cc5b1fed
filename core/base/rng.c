#include "core/base/rng.h"

#include <math.h>

static const double TWO_PI = 6.283185307179586476925286766559;

Rng rng_make(uint64_t seed, RngPurpose purpose, uint64_t epoch, uint64_t sample)
{
    uint64_t key = rng_at(seed, (uint64_t)purpose);
    key = rng_at(key, epoch);
    key = rng_at(key, sample);
    return (Rng){.key = key};
}

Rng rng_split(Rng parent, uint64_t branch)
{
    /* The complement keeps branches apart from the parent's own draws. */
    return (Rng){.key = rng_at(~parent.key, branch)};
}

uint64_t rng_u64(Rng *rng)
{
    return rng_at(rng->key, rng->counter++);
}

double rng_uniform(Rng *rng)
{
    return (double)(rng_u64(rng) >> 11) * 0x1p-53;
}

double rng_range(Rng *rng, double low, double high)
{
    return low + (high - low) * rng_uniform(rng);
}

uint64_t rng_below(Rng *rng, uint64_t bound)
{
    /* Lemire's multiply-and-reject (ACM TOMACS 2019). */
    unsigned __int128 product = (unsigned __int128)rng_u64(rng) * bound;
    if ((uint64_t)product < bound) {
        uint64_t threshold = -bound % bound;
        while ((uint64_t)product < threshold) product = (unsigned __int128)rng_u64(rng) * bound;
    }
    return (uint64_t)(product >> 64);
}

double rng_normal(Rng *rng)
{
    double radius = sqrt(-2.0 * log1p(-rng_uniform(rng)));
    return radius * cos(TWO_PI * rng_uniform(rng));
}

/* Gamma(shape, 1): Marsaglia and Tsang, ACM TOMS 2000; a shape below 1 is boosted by u^(1/shape). */
static double rng_gamma(Rng *rng, double shape)
{
    double boost = 1.0;
    if (shape < 1.0) {
        boost = pow(1.0 - rng_uniform(rng), 1.0 / shape);
        shape += 1.0;
    }
    double d = shape - 1.0 / 3.0, c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        double x = rng_normal(rng), v = 1.0 + c * x;
        if (v <= 0.0) continue;
        v = v * v * v;
        if (log(1.0 - rng_uniform(rng)) < 0.5 * x * x + d - d * v + d * log(v)) return boost * d * v;
    }
}

double rng_beta(Rng *rng, double alpha, double beta)
{
    double a = rng_gamma(rng, alpha), b = rng_gamma(rng, beta);
    return a + b > 0.0 ? a / (a + b) : 0.5;
}
