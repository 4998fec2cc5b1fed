/* rng.h: counter-based random numbers.
 *
 * Nothing random in t2t depends on rank, thread or history: every draw is a pure function of a key and a
 * counter. The key is (seed, purpose, epoch, sample); the counter advances with each draw. So there is no state to
 * save in a checkpoint, and a sample is augmented alike wherever and whenever it is decoded.
 *
 *     Rng rng = rng_make(seed, RNG_AUGMENT, epoch, sample);
 *     double u = rng_uniform(&rng);
 *
 * Generator: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), whose n-th output is mix(key + n * gamma).
 */
#ifndef CORE_BASE_RNG_H
#define CORE_BASE_RNG_H

#include <stdint.h>

typedef enum RngPurpose {                /* append only: the numbers are part of what a seed means */
                          RNG_INIT = 1,  /* sample = index of the tensor in the parameter table */
                          RNG_ORDER = 2, /* order of the samples of an epoch; sample = 0 */
                          RNG_CROP = 3,
                          RNG_FLIP = 4,
                          RNG_AUGMENT = 5,
                          RNG_ERASE = 6,
                          RNG_MIX = 7,       /* sample = step, or position for the pairwise modes */
                          RNG_DROPOUT = 8,   /* combined with a layer number by rng_split */
                          RNG_DROP_PATH = 9, /* likewise */
                          RNG_SYNTHETIC = 10,
                          RNG_JITTER = 11,
                          RNG_CONVERT = 12, /* the global shuffle of a conversion */
} RngPurpose;

typedef struct Rng {
    uint64_t key;
    uint64_t counter; /* the next draw */
} Rng;

/* The finaliser of SplitMix64: a bijection on 64 bits in which every input bit reaches every output bit. */
static inline uint64_t rng_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* The draw number `counter` of a key, in any order: 64 random bits. */
static inline uint64_t rng_at(uint64_t key, uint64_t counter)
{
    return rng_mix(key + (counter + 1) * 0x9E3779B97F4A7C15u);
}

Rng rng_make(uint64_t seed, RngPurpose purpose, uint64_t epoch, uint64_t sample);
Rng rng_split(Rng parent, uint64_t branch); /* an independent generator for sub-purpose `branch` */

uint64_t rng_u64(Rng *rng);
double rng_uniform(Rng *rng);                         /* [0, 1), 53 bits */
double rng_range(Rng *rng, double low, double high);  /* [low, high) */
uint64_t rng_below(Rng *rng, uint64_t bound);         /* 0 .. bound-1 without bias; bound > 0 */
double rng_normal(Rng *rng);                          /* mean 0, variance 1 (Box-Muller, two draws) */
double rng_beta(Rng *rng, double alpha, double beta); /* Beta(alpha, beta) by two gammas (Marsaglia, Tsang 2000) */

#endif
