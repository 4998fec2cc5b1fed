#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "dist/checkpoint/checkpoint.h"
#include "dist/monitor/metrics.h"
#include "dist/train/run_folder.h"
#include "tests/support/command.h"

/* A run of two epochs of ten steps out of four, with a checkpoint at step 20 and a damaged one at step 15. */
static void make_run(const char *folder)
{
    const char *sets[] = {"epochs=3", "warmup_epochs=0", "cooldown_epochs=1", "batch_size=100"};
    Config config;
    Run run;
    Metrics metrics;
    Error error = {0};
    cr_assert_eq(config_load(&config, NULL, sets, 4, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(run_open(&run, folder, &config, false, false, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(metrics_open(&metrics, folder, 0, false, &error), STATUS_OK, "%s", error.message);
    for (int step = 10; step <= 20; step += 10) {
        TrainRecord train = {step, step / 10 - 1, 5, 5e-4, 1, 50, 0.125, 0.0625};
        ValidationRecord validation = {.step = step, .epoch = step / 10 - 1, .count = 10, .top1 = step};
        cr_assert_eq(metrics_train(&metrics, &train, &error), STATUS_OK);
        cr_assert_eq(metrics_validation(&metrics, &validation, &error), STATUS_OK);
    }
    metrics_close(&metrics);
    for (int step = 15; step <= 20; step += 5) {
        char checkpoints[600], path[CHECKPOINT_PATH];
        RunPosition position = {.step = step, .epoch = step / 10, .epoch_step = step % 10, .global_batch = 100};
        snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", folder);
        checkpoint_path(path, checkpoints, step);
        cr_assert_eq(checkpoint_begin(path, &error), STATUS_OK, "%s", error.message);
        cr_assert_eq(checkpoint_commit(path, &position, "", "1 x 1", NULL, 0, &error), STATUS_OK, "%s", error.message);
        strcat(path, "/manifest.json");
        if (step == 15) cr_assert_eq(file_write(path, "{}", 2, &error), STATUS_OK);
    }
    run_close(&run);
}

Test(info_run, says_where_it_stands)
{
    static const char *const EXPECTED[] = {
        "run of t2t_vit_14, at 224 pixels, 1000 classes, global batch 100",
        "stopped; the same command with --resume auto",
        "20 of 40, 50.0 %",
        "2 of 4 validated",
        "20.00 % top-1, after epoch 2",
        "50.0 images/s",
        "40s of training", /* 20 steps of 100 images at 50 images/s */
        "step 20        whole",
        "epoch 3, 0 steps into it",
        "step 15        damaged: ",
    };
    char folder[512];
    snprintf(folder, sizeof folder, "%s/run", temporary_folder());
    make_run(folder);
    Command command = command_run(20, "%s/t2t info %s", BUILD_FOLDER, folder);
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    for (size_t i = 0; i < sizeof EXPECTED / sizeof EXPECTED[0]; i++)
        cr_assert_not_null(strstr(command.output, EXPECTED[i]), "lacks '%s':\n%s", EXPECTED[i], command.output);
    command_free(&command);
}

Test(info_run, a_run_that_has_not_begun)
{
    char path[600];
    Config config;
    Error error = {0};
    config_defaults(&config);
    snprintf(path, sizeof path, "%s/config.yaml", temporary_folder());
    cr_assert_eq(config_save(&config, path, &error), STATUS_OK);
    Command command = command_run(20, "%s/t2t info %s", BUILD_FOLDER, temporary_folder());
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    cr_assert_not_null(strstr(command.output, "none yet"), "%s", command.output);
    command_free(&command);
}
