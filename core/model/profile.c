#include "core/model/profile.h"

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

typedef struct Clock {
    _Alignas(64) int64_t last; /* a cache line for each thread */
    int64_t spent[PHASES];     /* nanoseconds */
} Clock;

struct Profile {
    int threads;
    Clock *clocks;
};

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

Status profile_create(Profile **out, int threads, Error *error)
{
    Profile *profile = calloc(1, sizeof *profile);
    if (profile) {
        profile->threads = threads;
        profile->clocks = aligned_alloc(_Alignof(Clock), (size_t)threads * sizeof *profile->clocks);
    }
    if (!profile || !profile->clocks) {
        profile_free(profile);
        return error_set(error, STATUS_FAILED, "out of memory for a profile of %d threads", threads);
    }
    profile_reset(profile);
    *out = profile;
    return STATUS_OK;
}

void profile_free(Profile *profile)
{
    if (!profile) return;
    free(profile->clocks);
    free(profile);
}

void profile_reset(Profile *profile)
{
    int64_t time = now();
    for (int i = 0; i < profile->threads; i++) profile->clocks[i] = (Clock){.last = time};
}

void profile_charge(Profile *profile, int thread, Phase phase)
{
    Clock *clock = &profile->clocks[thread];
    int64_t time = now();
    clock->spent[phase] += time - clock->last;
    clock->last = time;
}

void profile_charge_all(Profile *profile, Phase phase)
{
    for (int i = 0; i < profile->threads; i++) profile_charge(profile, i, phase);
}

double profile_seconds(const Profile *profile, Phase phase)
{
    int64_t total = 0;
    for (int i = 0; i < profile->threads; i++) total += profile->clocks[i].spent[phase];
    return 1e-9 * (double)total;
}

const char *profile_phase_name(Phase phase)
{
    static const char *const NAMES[PHASES] = {"soft split", "token attention", "attention", "linears", "norms",
                                              "loss",       "update",          "other",     "idle"};
    return NAMES[phase];
}
