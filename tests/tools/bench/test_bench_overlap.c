#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "tests/support/command.h"

Test(bench_overlap, json_has_a_step_with_and_without_sums)
{
    Command command = command_run(60,
                                  "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 mpirun -q -np 2 "
                                  "--bind-to none --oversubscribe " BUILD_FOLDER
                                  "/t2t bench overlap --config configs/quickstart.yaml --set zero=1 --batch 2 --steps "
                                  "2 --timeline %s/timeline.json --json",
                                  temporary_folder());
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    json_error_t where;
    json_t *root = json_loads(command.output, 0, &where);
    cr_assert(root, "%s in:\n%s", where.text, command.output);
    cr_expect_eq(json_integer_value(json_object_get(root, "ranks")), 2);
    cr_expect_gt(json_number_value(json_object_get(root, "alone_ms")), 0);
    cr_expect_gt(json_number_value(json_object_get(root, "step_ms")), 0);
    cr_expect_gt(json_number_value(json_object_get(root, "sums_ms")), 0);
    cr_expect_leq(json_number_value(json_object_get(root, "hidden")), 1);
    json_decref(root);
    command_free(&command);
}

Test(bench_overlap, wrong_options_are_usage_errors)
{
    static const char *const WRONG[] = {"--steps 0", "--batch x", "--what", "more"};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        Command command = command_run(30, BUILD_FOLDER "/t2t bench overlap %s", WRONG[i]);
        cr_expect_eq(command.exit_status, 2, "%s: %d: %s", WRONG[i], command.exit_status, command.output);
        command_free(&command);
    }
}
