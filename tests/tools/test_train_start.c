/* What t2t train says at its start of the machine that it found. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/tiny.h"

/* The launcher and its options; OPTIONS of t2t train. */
static Command start(const char *launcher, const char *options)
{
    char data[600];
    snprintf(data, sizeof data, "%.500s/data", temporary_folder());
    tiny_dataset(data, 193, 16);
    return command_run(100,
                       "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 "
                       "%s " T2T " train %s --set epochs=1 --set threads=0 --set data=%s --output "
                       "%.500s/run %s",
                       launcher, TINY_SETTINGS, data, temporary_folder(), options);
}

static int cores_of_machine(void)
{
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

Test(train_start, processor_kernels_and_the_share_of_the_peak)
{
    Command command = start("", "");
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    const char *most = strstr(command.output, " GFLOP/s at most"), *kernels = strstr(command.output, "; kernels ");
    cr_assert(most && kernels && kernels < most, "%s", command.output);
    double gflops = 0, share = -1;
    const char *told = strstr(command.output, "steps take ");
    cr_assert(told, "%s", command.output);
    cr_assert_eq(sscanf(told, "steps take %*f ms: %lf GFLOP/s, %lf %% of what", &gflops, &share), 2, "%s", told);
    cr_assert(gflops > 0 && share >= 0 && share <= 110, "%g GFLOP/s, %g %%", gflops, share);
    cr_assert_null(strstr(told + 1, "steps take "), "it is told once:\n%s", command.output);
    command_free(&command);
}

/* As jobs/train.mpirun starts them: bound to nothing. */
Test(train_start, ranks_that_share_all_cores_divide_them)
{
    int each = cores_of_machine() / 2;
    char line[100];
    snprintf(line, sizeof line, "2 ranks on 1 node, %d thread%s each", each > 1 ? each : 1, each > 1 ? "s" : "");
    Command command = start("mpirun -np 2 --bind-to none", "");
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    cr_assert(strstr(command.output, line), "not '%s':\n%s", line, command.output);
    cr_assert(cores_of_machine() % 2 || !strstr(command.output, "WARN"), "%s", command.output);
    command_free(&command);
}

Test(train_start, one_bound_rank_among_idle_cores_is_warned)
{
    if (cores_of_machine() < 2) cr_skip_test("two cores are needed");
    Command command = start("mpirun -np 1 --bind-to core", "");
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    cr_assert(strstr(command.output, "the others idle"), "%s", command.output);
    cr_assert(strstr(command.output, "--bind-to none"), "%s", command.output);
    command_free(&command);
}

Test(train_start, ranks_with_more_threads_than_cores_are_warned)
{
    char options[60], line[60];
    int cores = cores_of_machine();
    snprintf(options, sizeof options, "--set threads=%d", cores);
    snprintf(line, sizeof line, "have %d threads in all for %d core", 2 * cores, cores);
    Command command = start("mpirun -np 2 --bind-to none", options);
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    cr_assert(strstr(command.output, line), "not '%s':\n%s", line, command.output);
    command_free(&command);
}
