/* Signals to t2t train under mpirun: Ctrl-C on a terminal, as a person presses it in the middle of a long step, and one
 * that comes to a single rank. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/status.h"
#include "dist/checkpoint/checkpoint.h"
#include "tests/support/tiny.h"

enum { SECONDS = 120, CTRL_C = 3 };

/* Two steps of several seconds whose checkpoint is small: plain attention over 6,400 tokens. */
#define LONG_STEPS                                                                                                     \
    "--set model=t2t_vit_t_14 --set img_size=320 --set num_classes=10 --set token_dim=16 --set embed_dim=32 "          \
    "--set depth=2 --set num_heads=2 --set batch_size=48 --set accumulate=6 --set epochs=1 --set warmup_epochs=0 "     \
    "--set cooldown_epochs=0 --set log_interval=1 --set threads=1 --set workers=1 "

/* mpirun sends its ranks TERM so many seconds after Ctrl-C and KILL as many later; 1 unless told. */
#define KILL_TIMEOUT "OMPI_MCA_odls_base_sigkill_timeout=2 "

static char run[600];

typedef struct Terminal {
    int fd;
    pid_t child;
    char text[65536];
    size_t length;
} Terminal;

static void terminal_open(Terminal *terminal, const char *command)
{
    terminal->length = 0;
    terminal->child = forkpty(&terminal->fd, NULL, NULL, NULL);
    cr_assert_geq(terminal->child, 0);
    if (terminal->child) return;
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* What was printed within 50 ms; false when the program has ended. */
static bool terminal_read(Terminal *terminal)
{
    struct pollfd ready = {terminal->fd, POLLIN, 0};
    if (poll(&ready, 1, 50) <= 0) return true;
    size_t room = sizeof terminal->text - 1 - terminal->length;
    ssize_t got = read(terminal->fd, terminal->text + terminal->length, room);
    if (got > 0) terminal->length += (size_t)got;
    terminal->text[terminal->length] = 0;
    return got > 0;
}

static int terminal_close(Terminal *terminal)
{
    int status;
    waitpid(terminal->child, &status, 0);
    close(terminal->fd);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int64_t steps_done(void)
{
    double losses[8];
    return tiny_losses(run, losses, 8);
}

static bool metrics_there(void)
{
    char path[700];
    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    return access(path, F_OK) == 0;
}

Test(train_signals, ctrl_c_in_a_step_saves_the_one_before, .timeout = 2 * SECONDS)
{
#ifdef __SANITIZE_ADDRESS__
    cr_skip_test("steps that take seconds take minutes in a sanitizer build");
#endif
    static Terminal terminal;
    char data[600], command[2000], path[CHECKPOINT_PATH], resumed[40];
    snprintf(data, sizeof data, "%.500s/data", temporary_folder());
    snprintf(run, sizeof run, "%.500s/run", temporary_folder());
    tiny_dataset(data, 97, 7);
    snprintf(command, sizeof command,
             "exec env " KILL_TIMEOUT MPIRUN "2 " T2T " train " LONG_STEPS "--set data=%s --output %s", data, run);
    terminal_open(&terminal, command);
    bool pressed = false;
    const double began = clock_seconds();
    while (terminal_read(&terminal) && clock_seconds() - began < SECONDS) {
        if (pressed || !metrics_there() || steps_done() < 1) continue;
        usleep(200000);
        cr_assert_eq(write(terminal.fd, &(char){CTRL_C}, 1), 1);
        pressed = true;
    }
    cr_expect_neq(terminal_close(&terminal), 0, "mpirun's status is its own, but not that of a run that is done");
    cr_assert(pressed, "%s", terminal.text);
    cr_expect_not_null(strstr(terminal.text, "what is under way is dropped"), "%s", terminal.text);

    Checkpoint checkpoint;
    Error error = {0};
    const int64_t step = steps_done();
    snprintf(path, sizeof path, "%s/checkpoints/step-%08d", run, (int)step);
    cr_assert_eq(checkpoint_open(&checkpoint, path, &error), STATUS_OK, "%s\n%s", error.message, terminal.text);
    cr_expect_eq(checkpoint.position.step, step);
    checkpoint_close(&checkpoint);

    snprintf(resumed, sizeof resumed, "step-%08d", (int)step);
    EXPECT(
        command_run(SECONDS, MPIRUN "2 " T2T " train " LONG_STEPS "--set data=%s --output %s --resume auto", data, run),
        0, "resumed from", resumed, "step 2/2");
}

/* Each rank leaves its process id; USR1 goes to one of them alone when a step is on record. */
static void signal_one(int ranks, int rank, const char *options)
{
    const char *folder = temporary_folder();
    EXPECT(
        command_run(
            SECONDS,
            "rm -rf %s/one %s/pid.*; (cd %s; until grep -q '\"train\"' one/metrics.jsonl 2>/dev/null; do sleep 0.05; "
            "done; kill -USR1 $(cat pid.%d)) & " MPIRUN
            "%d sh -c 'echo $$ >%s/pid.$OMPI_COMM_WORLD_RANK; exec \"$@\"' sh " T2T
            " train %s --set epochs=2000 %s --set data=%s/data --output %s/one",
            folder, folder, folder, rank, ranks, folder, TINY_SETTINGS, options, folder, folder),
        75, "stopped at step", "checkpoint of step");
}

Test(train_signals, any_rank_may_be_the_one_that_hears, .timeout = 2 * SECONDS)
{
    char data[600];
    snprintf(data, sizeof data, "%.500s/data", temporary_folder());
    tiny_dataset(data, 97, 7);
    signal_one(2, 1, "");
    signal_one(2, 1, "--set zero=1");
    signal_one(3, 2, "--set coordinator=dedicated");
}
