/* clock.h: the time. */
#ifndef CORE_BASE_CLOCK_H
#define CORE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline double clock_read(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* On a clock that never jumps. May be called in a signal handler, as clock_gettime may. */
static inline double clock_seconds(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

/* The same clock, to be added up exactly. */
static inline int64_t clock_nanoseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Since 1970. */
static inline double clock_wall_seconds(void)
{
    return clock_read(CLOCK_REALTIME);
}

/* That all threads of this process computed together. */
static inline double clock_processor_seconds(void)
{
    return clock_read(CLOCK_PROCESS_CPUTIME_ID);
}

#endif
