/* sums.h: what the MPI tests of sums share: vectors that every rank can compute for every rank, and checks. */
#ifndef TESTS_MPI_SUMS_H
#define TESTS_MPI_SUMS_H

#include <math.h>
#include <mpi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Element i of a rank's vector in a round: mixed signs and magnitudes, so that the order of additions shows. */
static inline float sums_value(int rank, int round, int64_t i)
{
    uint64_t x = (uint64_t)i * 0x9e3779b97f4a7c15u + (uint64_t)rank * 0xd1b54a32d192ed03u + (uint64_t)round * 7919;
    x = (x ^ x >> 31) * 0xbf58476d1ce4e5b9u;
    x ^= x >> 29;
    return (float)ldexp((double)(int32_t)x, -31 - (int)(x >> 61));
}

static inline void sums_fill(float *vector, int64_t count, int rank, int round)
{
    for (int64_t i = 0; i < count; i++) vector[i] = sums_value(rank, round, i);
}

/* The plain sum in double; *magnitude is that of the absolute values, by which errors are measured. */
static inline double sums_expected(int ranks, int round, int64_t i, double *magnitude)
{
    double sum = 0;
    *magnitude = 0;
    for (int rank = 0; rank < ranks; rank++) {
        double value = sums_value(rank, round, i);
        sum += value;
        *magnitude += fabs(value);
    }
    return sum;
}

/* Complains and returns false unless total[begin .. end) is the sum within `tolerance` of the magnitudes. */
static inline bool sums_check(const float *total, int64_t begin, int64_t end, int ranks, int round, double tolerance,
                              const char *what)
{
    for (int64_t i = begin; i < end; i++) {
        double magnitude, expected = sums_expected(ranks, round, i, &magnitude);
        if (fabs((double)total[i] - expected) <= tolerance * magnitude) continue;
        fprintf(stderr, "%s: element %lld of %lld..%lld is %.9g, expected %.9g\n", what, (long long)i, (long long)begin,
                (long long)end, (double)total[i], expected);
        return false;
    }
    return true;
}

/* Whether all ranks hold the same bits. Collective. */
static inline bool sums_same_bits(const float *vector, int64_t count, const char *what)
{
    uint64_t hash = 0xcbf29ce484222325u, bounds[2];
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &vector[i], sizeof bits);
        hash = (hash ^ bits) * 0x100000001b3u;
    }
    MPI_Allreduce(&hash, &bounds[0], 1, MPI_UINT64_T, MPI_MIN, MPI_COMM_WORLD);
    MPI_Allreduce(&hash, &bounds[1], 1, MPI_UINT64_T, MPI_MAX, MPI_COMM_WORLD);
    if (bounds[0] != bounds[1]) fprintf(stderr, "%s: ranks hold different bits\n", what);
    return bounds[0] == bounds[1];
}

/* The exit status that all ranks share. Collective. */
static inline int sums_verdict(bool passed)
{
    int failed = !passed, any = 0;
    MPI_Allreduce(&failed, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    return any;
}

#endif
