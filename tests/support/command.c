#include "tests/support/command.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

Command command_run(int seconds, const char *format, ...)
{
    char line[8192], whole[8400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    /* The line goes through the environment, so that its quotes need no quoting. */
    setenv("T2T_TEST_COMMAND", line, 1);
    snprintf(whole, sizeof whole, "timeout -k 5 %d sh -c \"$T2T_TEST_COMMAND\" 2>&1 </dev/null", seconds);
    FILE *pipe = popen(whole, "r");
    cr_assert(pipe, "cannot start: %s", line);
    Command command = {0};
    size_t used = 0, room = 0;
    for (;;) {
        if (room - used < 4096) {
            room = room ? room * 2 : 16384;
            command.output = realloc(command.output, room);
            cr_assert(command.output);
        }
        size_t got = fread(command.output + used, 1, room - used - 1, pipe);
        if (got == 0) break;
        used += got;
    }
    command.output[used] = 0;
    int status = pclose(pipe);
    command.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return command;
}

void command_free(Command *command)
{
    free(command->output);
    *command = (Command){0};
}

Command mpi_run(int ranks, const char *program, const char *arguments)
{
    const char *mpirun = getenv("T2T_TEST_MPIRUN"), *build = getenv("T2T_TEST_BUILD");
    return command_run(120,
                       "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
                       "OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none "
                       "%s -np %d %s/tests/mpi/%s %s",
                       mpirun ? mpirun : "mpirun", ranks, build ? build : BUILD_FOLDER, program, arguments);
}

void mpi_test(int ranks, const char *program, const char *arguments)
{
    Command command = mpi_run(ranks, program, arguments);
    cr_assert_eq(command.exit_status, 0, "%s on %d ranks exited with %d:\n%s", program, ranks, command.exit_status,
                 command.output);
    command_free(&command);
}

static char folder[4096];
static pid_t folder_owner;

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *position)
{
    (void)info, (void)type, (void)position;
    return remove(path);
}

static void remove_folder(void)
{
    if (getpid() == folder_owner) nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *temporary_folder(void)
{
    if (folder_owner == getpid()) return folder;
    const char *root = getenv("TMPDIR");
    cr_assert(make_unique_folder(folder, sizeof folder, root ? root : "/tmp"), "cannot make %s: %s", folder,
              strerror(errno));
    folder_owner = getpid();
    atexit(remove_folder);
    return folder;
}
