#include <criterion/criterion.h>
#include <string.h>

#include "dist/comm/world.h"
#include "tests/support/command.h"

static const char *const *environment; /* name, value, ..., NULL */

static char *get(const char *name)
{
    for (int i = 0; environment[i]; i += 2)
        if (strcmp(environment[i], name) == 0) return (char *)environment[i + 1];
    return NULL;
}

static const char *problem(int size, const char *const *variables)
{
    static char message[1024];
    environment = variables;
    return world_launch_problem(size, get, message, sizeof message);
}

#define ENVIRONMENT(...) ((const char *const[]){__VA_ARGS__, NULL})

Test(world, alone_by_intent)
{
    cr_assert_null(problem(1, (const char *const[]){NULL}));
    cr_assert_null(problem(1, ENVIRONMENT("OMPI_COMM_WORLD_SIZE", "1")));
    cr_assert_null(problem(1, ENVIRONMENT("SLURM_NTASKS", "1", "SLURM_STEP_NUM_TASKS", "1")));
    /* mpirun -np 1 in an allocation of four tasks; its daemons are themselves a step of several tasks */
    cr_assert_null(
        problem(1, ENVIRONMENT("OMPI_COMM_WORLD_SIZE", "1", "SLURM_NTASKS", "4", "SLURM_STEP_NUM_TASKS", "2")));
    cr_assert_null(problem(4, ENVIRONMENT("OMPI_COMM_WORLD_SIZE", "4", "SLURM_NTASKS", "8")));
}

Test(world, alone_by_mistake)
{
    static const struct {
        const char *variables[5], *expected;
    } CASES[] = {
        {{"PMI_SIZE", "4"}, "MPICH"},                                 /* mpirun of another MPI */
        {{"OMPI_COMM_WORLD_SIZE", "2"}, "Open MPI's mpirun"},         /* the same, the other way round */
        {{"SLURM_STEP_NUM_TASKS", "4", "SLURM_NTASKS", "4"}, "PMIx"}, /* srun that MPI does not understand */
        {{"SLURM_NTASKS", "4"}, "without a launcher"},                /* a bare program in a batch script */
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const char *message = problem(1, CASES[i].variables);
        cr_assert(message, "case %zu is not noticed", i);
        cr_assert(strstr(message, CASES[i].expected), "case %zu: %s", i, message);
        cr_assert(strstr(message, "mpirun") && strstr(message, "srun"), "case %zu names both launches: %s", i, message);
    }
}

Test(world, the_program_refuses_to_run_alone)
{
    Command command = command_run(30, "SLURM_NTASKS=4 " BUILD_FOLDER "/t2t bench allreduce --max 4096");
    cr_assert_eq(command.exit_status, 1);
    cr_assert(strstr(command.output, "SLURM_NTASKS=4"), "%s", command.output);
    command_free(&command);
}
