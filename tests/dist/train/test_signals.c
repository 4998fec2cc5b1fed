#include "dist/train/signals.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

Test(signals, each_of_the_four_sets_the_flag)
{
    static const int NUMBERS[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT};
    Error error = {0};
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(signals_catch(&error), STATUS_OK);
        cr_expect_eq(signals_caught(), 0);
        raise(NUMBERS[i]);
        cr_expect_eq(signals_caught(), NUMBERS[i]);
    }
    cr_expect_str_eq(signals_name(SIGUSR2), "SIGUSR2");
}

/* One request that launcher and scheduler both deliver is one request. */
Test(signals, a_burst_counts_once_and_a_later_one_ends_the_process)
{
    pid_t child = fork();
    if (child == 0) {
        Error error = {0};
        signals_catch(&error);
        raise(SIGUSR1);
        raise(SIGTERM);
        raise(SIGUSR1);
        if (signals_caught() != SIGUSR1) _exit(1);
        usleep(2100000);
        raise(SIGTERM);
        _exit(2);
    }
    int status;
    waitpid(child, &status, 0);
    cr_assert(WIFEXITED(status));
    cr_expect_eq(WEXITSTATUS(status), 128 + SIGTERM);
}

Test(signals, a_file_size_limit_is_no_death)
{
    Error error = {0};
    cr_assert_eq(signals_catch(&error), STATUS_OK);
    raise(SIGXFSZ);
    cr_expect_eq(signals_caught(), 0);
}
