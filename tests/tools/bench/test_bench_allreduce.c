#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "tests/support/command.h"

#define MPIRUN                                                                                                         \
    "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 "                   \
    "OMPI_MCA_hwloc_base_binding_policy=none mpirun -np 3 "

Test(bench_allreduce, json_has_every_algorithm_and_right_sums)
{
    Command command =
        command_run(60, MPIRUN BUILD_FOLDER "/t2t bench allreduce --min 4 --max 70000 --factor 100 --rounds 2 --json");
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    json_error_t where;
    json_t *rows = json_loads(command.output, 0, &where), *row;
    cr_assert(rows, "line %d: %s in:\n%s", where.line, where.text, command.output);
    cr_assert_eq(json_array_size(rows), 3 * 4, "three sizes by four algorithms");
    int named[4] = {0};
    size_t index;
    json_array_foreach(rows, index, row)
    {
        const char *name = json_string_value(json_object_get(row, "algorithm"));
        named[0] += strcmp(name, "ring") == 0;
        named[1] += strcmp(name, "hierarchical") == 0;
        named[2] += strcmp(name, "mpi") == 0;
        named[3] += strcmp(name, "tree") == 0;
        cr_assert_eq(json_integer_value(json_object_get(row, "ranks")), 3);
        double bytes = json_number_value(json_object_get(row, "bytes"));
        double seconds = json_number_value(json_object_get(row, "time_us")) * 1e-6;
        double algorithm = json_number_value(json_object_get(row, "algbw_gb_s"));
        double bus = json_number_value(json_object_get(row, "busbw_gb_s"));
        cr_assert_float_eq(algorithm, bytes / seconds * 1e-9, 1e-4 + 0.01 * algorithm);
        cr_assert_float_eq(bus, algorithm * 4 / 3, 2e-4);
        cr_assert_lt(json_number_value(json_object_get(row, "max_error")), 1e-6);
    }
    for (int i = 0; i < 4; i++) cr_assert_eq(named[i], 3);
    json_decref(rows);
    command_free(&command);
}

Test(bench_allreduce, wrong_options_are_usage_errors)
{
    static const char *const WRONG[] = {"--min 0", "--factor 1", "--wire fp8", "--rounds x", "--what", "extra"};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        Command command = command_run(30, BUILD_FOLDER "/t2t bench allreduce %s", WRONG[i]);
        cr_assert_eq(command.exit_status, 2, "%s: exit status %d: %s", WRONG[i], command.exit_status, command.output);
        command_free(&command);
    }
}
