#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include <time.h>

#include "tests/support/command.h"

typedef struct Fault {
    char arguments[48]; /* of tests/mpi/watchdog.c: kind, fault, rank */
    char expected[96];
} Fault;

ParameterizedTestParameters(watchdog, names_the_missing_rank)
{
    static Fault faults[] = {
        {"ring silent 2", "missing rank 2:"},        {"hierarchical silent 2", "missing rank 2:"},
        {"ring stopped 1", "missing rank 1:"},       {"hierarchical stopped 1", "missing rank 1:"},
        {"ring stopped 0", "missing rank 0:"}, /* the collector itself */
        {"hierarchical agree 2", "missing rank 2:"}, {"tree silent 1", "missing rank 1:"},
    };
    return cr_make_param_array(Fault, faults, sizeof faults / sizeof faults[0]);
}

ParameterizedTest(Fault *fault, watchdog, names_the_missing_rank)
{
    time_t begin = time(NULL);
    Command command = mpi_run(3, "watchdog", fault->arguments);
    cr_assert_neq(command.exit_status, 0);
    cr_assert(strstr(command.output, fault->expected), "no '%s' in:\n%s", fault->expected, command.output);
    cr_assert(strstr(command.output, strstr(fault->arguments, "agree") ? "step's figures" : "sum of gradients, bucket"),
              "no operation in:\n%s", command.output);
    cr_assert_lt(time(NULL) - begin, 15, "the missing rank would have come by itself");
    command_free(&command);
}

Test(watchdog, a_late_rank_is_no_fault)
{
    mpi_test(3, "watchdog", "ring late 2");
    mpi_test(3, "watchdog", "hierarchical late 0");
}
