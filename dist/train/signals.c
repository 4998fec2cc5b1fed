#include "dist/train/signals.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "core/base/clock.h"

/* The only globals of the program: a handler can reach nothing else. */
static atomic_int caught;               /* lock-free: a handler may write it while other threads read it */
static volatile sig_atomic_t caught_at; /* monotonic seconds */

static void handle(int number)
{
    const sig_atomic_t now = (sig_atomic_t)clock_seconds();
    if (!caught) {
        caught_at = now;
        caught = number;
    } else if (now - caught_at > 1) { /* whole seconds: at least one has passed */
        _exit(128 + number);
    }
}

Status signals_catch(Error *error)
{
    caught = 0;
    struct sigaction catch = {.sa_handler = handle, .sa_flags = SA_RESTART};
    sigemptyset(&catch.sa_mask);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    const int numbers[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaddset(&catch.sa_mask, numbers[i]);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (sigaction(numbers[i], &catch, NULL))
            return error_set(error, STATUS_FAILED, "cannot catch signal %d: %s", numbers[i], strerror(errno));
    if (sigaction(SIGXFSZ, &ignore, NULL))
        return error_set(error, STATUS_FAILED, "cannot ignore SIGXFSZ: %s", strerror(errno));
    return STATUS_OK;
}

int signals_caught(void)
{
    return atomic_load(&caught);
}

const atomic_int *signals_flag(void)
{
    return &caught;
}

const char *signals_name(int number)
{
    switch (number) {
    case SIGUSR1:
        return "SIGUSR1";
    case SIGUSR2:
        return "SIGUSR2";
    case SIGTERM:
        return "SIGTERM";
    case SIGINT:
        return "SIGINT";
    default:
        return "a signal";
    }
}
