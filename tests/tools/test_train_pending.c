/* A run whose last checkpoint was written while its last validation was still going on, and which was killed then. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "dist/checkpoint/checkpoint.h"
#include "tests/support/tiny.h"

enum { SECONDS = 100, STEPS = 24 };

static Command resume(void)
{
    const char *folder = temporary_folder();
    return command_run(SECONDS,
                       MPIRUN "3 " T2T " train %s --set coordinator=dedicated --set epochs=2 --set data=%s/data "
                              "--output %s/run --resume auto",
                       TINY_SETTINGS, folder, folder);
}

/* What the kill leaves: the manifest knows the validation before, and what is to be validated lies beside it. */
static void take_back_the_last_validation(void)
{
    char folder[600], step[CHECKPOINT_PATH], pending[CHECKPOINT_PATH];
    Checkpoint checkpoint = {0};
    Error error = {0};
    snprintf(folder, sizeof folder, "%.500s/run/checkpoints", temporary_folder());
    checkpoint_path(step, folder, STEPS);
    checkpoint_pending_path(pending, folder, 2);
    SUCCEEDS(command_run(5, "cp -r %s %s", step, pending));
    cr_assert_eq(checkpoint_open(&checkpoint, step, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(checkpoint.position.validated, 2);
    RunPosition before = checkpoint.position;
    before.validated = 1;
    cr_assert_eq(checkpoint_set_validated(step, &before, "none", &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(checkpoint_set_validated(pending, &before, "none", &error), STATUS_OK, "%s", error.message);
    checkpoint_close(&checkpoint);
}

Test(train_pending, the_validation_is_done_once_and_told_to_the_manifest, .timeout = 4 * SECONDS)
{
    char data[600];
    const char *folder = temporary_folder();
    snprintf(data, sizeof data, "%.500s/data", folder);
    tiny_dataset(data, 97, 7);
    SUCCEEDS(resume());
    SUCCEEDS(command_run(5, "cp %s/run/summary.csv %s/summary.csv", folder, folder));
    take_back_the_last_validation();
    EXPECT(resume(), 0, "epoch 2 validated");
    EXPECT(command_run(5, "ls %s/run/checkpoints && grep validated %s/run/checkpoints/step-%08d/manifest.json", folder,
                       folder, STEPS),
           0, "\"validated\": 2");
    SUCCEEDS(command_run(5, "! ls -d %s/run/checkpoints/pending-* 2>/dev/null", folder));
    SUCCEEDS(command_run(5, "cmp %s/run/summary.csv %s/summary.csv", folder, folder));
    EXPECT(command_run(SECONDS, T2T " info %s/run", folder), 0, "2 of 2");
    Command again = resume();
    cr_expect_null(strstr(again.output, "epoch 2 validated"), "a second time:\n%s", again.output);
    EXPECT(again, 0, "this run is done");
}
