/* command.h: running programs from a test: t2t itself, and MPI programs under mpirun. */
#ifndef TESTS_SUPPORT_COMMAND_H
#define TESTS_SUPPORT_COMMAND_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Command {
    int exit_status; /* 128 + signal when killed */
    char *output;    /* stdout and stderr, interleaved; malloc'ed, the caller's */
} Command;

/* Runs a shell command line with a time limit; never fails the test by itself. */
Command command_run(int seconds, const char *format, ...) __attribute__((format(printf, 2, 3)));
void command_free(Command *command);

/* mpirun -np ranks BUILD_FOLDER/tests/mpi/<program> <arguments>, oversubscribed, as root if need be. The environment
 * may name another launcher (T2T_TEST_MPIRUN=mpirun.mpich) and another build's programs
 * (T2T_TEST_BUILD=build/thread). */
Command mpi_run(int ranks, const char *program, const char *arguments);
/* The same; fails the test with the program's output unless it exits with 0. */
void mpi_test(int ranks, const char *program, const char *arguments);

/* Makes an empty folder in `parent` with a name that nothing else has: mkdtemp, which replaces six trailing Xs. */
static inline bool make_unique_folder(char *path, size_t room, const char *parent)
{
    char letters[7] = {0};
    memset(letters, 'X', 6);
    return snprintf(path, room, "%s/t2t-%s", parent, letters) < (int)room && mkdtemp(path);
}

/* A new empty folder under the system's temporary folder, removed when the test process ends. */
const char *temporary_folder(void);

#endif
