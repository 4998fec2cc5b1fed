#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "dist/checkpoint/checkpoint.h"
#include "dist/monitor/metrics.h"
#include "dist/train/run_folder.h"
#include "tests/support/tiny.h"

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
        TrainRecord train = {step, step / 10 - 1, 5, 5e-4, 1, 50, 0.125, 0.0625, 0};
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
        NULL,
    };
    char folder[512];
    snprintf(folder, sizeof folder, "%s/run", temporary_folder());
    make_run(folder);
    command_expect(command_run(20, "%s/t2t info %s", BUILD_FOLDER, folder), 0, EXPECTED);
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
    cr_assert_not_null(strstr(command.output, "not begun: no step is recorded, and there is no checkpoint"), "%s",
                       command.output);
    command_free(&command);
}

static Command info(const char *arguments, const char *folder)
{
    return command_run(20, "%s/t2t info %s %s", BUILD_FOLDER, arguments, folder);
}

static void shell(const char *format, const char *path)
{
    char line[1200];
    snprintf(line, sizeof line, format, path);
    SUCCEEDS(command_run(20, "%s", line));
}

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[700];
    Error error = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert_eq(file_write(path, text, strlen(text), &error), STATUS_OK, "%s", error.message);
}

Test(info_run, says_how_many_steps_a_resume_repeats)
{
    static const char *const EXPECTED[] = {
        "resume        from step 20 of 40: epoch 3, 0 steps into it; 7 recorded steps would be done again\n",
        "starts        2, 1.5 core-hours in all\n", /* 0.5 before, then 4 threads for 900 s */
        "began         20",
        "; last line 20",
        "1h 00m later\n",
        "step          27 of 40, 67.5 %\n",
        "left          13m 45s of training at that speed", /* 13 steps; 7 took 600 s less 155 */
        "command       t2t train <b>\\x1B[31m\n",
        NULL,
    };
    static const char LINES[] =
        "{\"event\":\"start\",\"step\":0,\"epoch_steps\":10,\"core_hours\":0,\"threads\":4,\"time\":1700000000.000}\n"
        "{\"event\":\"train\",\"step\":20,\"epoch\":1,\"loss\":5,\"images_per_s\":50,\"time\":1700000450.000}\n"
        "{\"event\":\"validation\",\"step\":20,\"epoch\":1,\"count\":9,\"top1\":20,\"time\":1700000460.000}\n"
        "{\"event\":\"start\",\"step\":20,\"epoch_steps\":10,\"core_hours\":0.5,\"threads\":4,\"version\":\"v1\","
        "\"command\":\"t2t train <b>\\u001b[31m\",\"time\":1700002700.000}\n"
        "{\"event\":\"train\",\"step\":27,\"epoch\":2,\"loss\":5,\"images_per_s\":50,\"time\":1700003144.231}\n"
        "{\"event\":\"end\",\"step\":27,\"state\":\"stopped\",\"core_hours\":1.5,\"time\":1700003600.000}\n";
    char folder[512];
    snprintf(folder, sizeof folder, "%s/run", temporary_folder());
    make_run(folder);
    write_text(folder, "metrics.jsonl", LINES);
    command_expect(info("", folder), 0, EXPECTED);
}

Test(info_run, promises_nothing_where_nothing_can_be_resumed)
{
    char folder[512];
    snprintf(folder, sizeof folder, "%s/run", temporary_folder());
    make_run(folder);
    shell("rm -r %s/checkpoints/step-00000020", folder);
    Command command = info("", folder);
    cr_expect_not_null(strstr(command.output, "stopped, and nothing to resume: no checkpoint is whole"), "%s",
                       command.output);
    cr_expect_null(strstr(command.output, "goes on"), "%s", command.output);
    command_free(&command);
    shell("rm -r %s/checkpoints", folder);
    command = info("", folder);
    cr_expect_not_null(strstr(command.output, "stopped, and nothing to resume: there is no checkpoint"), "%s",
                       command.output);
    command_free(&command);
}

/* Another folder with other settings beside the first; what is no run is left out by name. */
Test(info_run, runs_side_by_side)
{
    static const char *const EXPECTED[] = {
        "/one  stopped          2/4",
        "/two  stopped          2/4",
        "  lr                 0.0005 | 0.001\n",
        "/none: left out: no run folder",
        NULL,
    };
    char one[512], two[512];
    snprintf(one, sizeof one, "%s/one", temporary_folder());
    snprintf(two, sizeof two, "%s/two", temporary_folder());
    make_run(one);
    make_run(two);
    shell("mkdir %s/none", temporary_folder());
    shell("sed -i 's/^lr: .*/lr: 1e-3/' %s/config.yaml", two);
    command_expect(command_run(20, "%s/t2t info %s/*", BUILD_FOLDER, temporary_folder()), 0, EXPECTED);
}

Test(info_run, for_machines)
{
    char folder[512];
    snprintf(folder, sizeof folder, "%s/a\x1b[1m\"b", temporary_folder());
    make_run(folder);
    Command command = command_run(20, "%s/t2t info --json %s/a*", BUILD_FOLDER, temporary_folder());
    json_t *object = json_loads(command.output, 0, NULL);
    cr_assert_not_null(object, "%s", command.output);
    cr_expect_str_eq(json_string_value(json_object_get(object, "state")), "stopped");
    cr_expect_str_eq(json_string_value(json_object_get(object, "path")), folder);
    cr_expect_eq(json_integer_value(json_object_get(object, "total_steps")), 40);
    cr_expect_eq(json_integer_value(json_object_get(object, "resumable_step")), 20);
    cr_expect_eq(json_array_size(json_object_get(object, "checkpoints")), 2);
    cr_expect_null(strchr(command.output, '\x1b'), "an escape reaches the terminal");
    json_decref(object);
    command_free(&command);
}

/* Ends by itself where nothing trains. */
Test(info_run, watching_a_run_that_is_over)
{
    char folder[512];
    snprintf(folder, sizeof folder, "%s/run", temporary_folder());
    make_run(folder);
    write_text(folder, "metrics.jsonl",
               "{\"event\":\"train\",\"step\":10,\"epoch\":0,\"loss\":5,\"time\":1700000450.000}\n");
    Command command = info("--watch", folder);
    cr_expect_eq(command.exit_status, 0, "%s", command.output);
    cr_expect_not_null(strstr(command.output, "stopped"), "%s", command.output);
    command_free(&command);
}
