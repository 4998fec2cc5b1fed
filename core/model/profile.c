#include "core/model/profile.h"

#include <stdint.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/base/memory.h"

typedef struct Clock {
    _Alignas(64) int64_t last; /* a cache line for each thread */
    int64_t spent[PHASES];     /* nanoseconds */
} Clock;

struct Profile {
    int threads;
    Clock *clocks;
};

Status profile_create(Profile **out, int threads, Error *error)
{
    Profile *profile = memory_alloc(1, sizeof *profile, "a profile", error);
    if (!profile) return STATUS_FAILED;
    profile->threads = threads;
    profile->clocks =
        memory_alloc_aligned(_Alignof(Clock), threads, sizeof *profile->clocks, "the threads' profiles", error);
    if (!profile->clocks) {
        profile_free(profile);
        return STATUS_FAILED;
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
    int64_t time = clock_nanoseconds();
    for (int i = 0; i < profile->threads; i++) profile->clocks[i] = (Clock){.last = time};
}

void profile_charge(Profile *profile, int thread, Phase phase)
{
    Clock *clock = &profile->clocks[thread];
    int64_t time = clock_nanoseconds();
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
