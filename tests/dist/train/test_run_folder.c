#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "dist/train/run_folder.h"
#include "tests/support/command.h"

static Config config;
static char folder[512];

static void set_up(void)
{
    config_defaults(&config);
    snprintf(folder, sizeof folder, "%s/runs/a", temporary_folder());
}

TestSuite(run, .init = set_up);

static void expect_open(bool resume, bool continues)
{
    Run run;
    Error error = {0};
    cr_assert_eq(run_open(&run, folder, &config, resume, false, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(run.continues, continues);
    run_close(&run);
}

static void expect_refused(bool resume, const char *word)
{
    Run run;
    Error error = {0};
    cr_assert_eq(run_open(&run, folder, &config, resume, false, &error), STATUS_USAGE);
    cr_assert_not_null(strstr(error.message, word), "'%s' lacks '%s'", error.message, word);
}

static void make(const char *name)
{
    char path[600];
    Error error = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert_eq(file_make_folders(path, &error), STATUS_OK);
    if (!strstr(name, "step-")) return;
    strcat(path, "/manifest.json");
    cr_assert_eq(file_write(path, "{}", 2, &error), STATUS_OK, "%s", error.message);
}

Test(run, a_new_folder_gets_the_configuration)
{
    Config back;
    char path[600], text[64];
    Error error = {0};
    config.lr = 0.002;
    expect_open(false, false);
    snprintf(path, sizeof path, "%s/config.yaml", folder);
    cr_assert_eq(config_load(&back, path, NULL, 0, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(config_differences(&config, &back, true, text, sizeof text), 0);
}

Test(run, continues_only_when_asked)
{
    expect_open(false, false);
    expect_open(false, true); /* no checkpoint yet: nothing can be lost */
    make("checkpoints/step-00000010");
    expect_refused(false, "--resume auto");
    expect_open(true, true);
}

Test(run, refuses_another_configuration_and_names_the_keys)
{
    expect_open(false, false);
    make("checkpoints/step-00000010");
    config.lr = 0.002;
    config.threads = 3;
    expect_refused(true, "lr: 0.002, was 0.0005");
    expect_refused(true, "1 key differs");
}

Test(run, a_longer_run_is_another_run_unless_overridden)
{
    Run run;
    Error error = {0};
    expect_open(false, false);
    make("checkpoints/step-00000010");
    config.schedule.epochs = 400;
    expect_refused(true, "epochs: 400, was 300");
    expect_refused(true, "init_weights=");
    expect_refused(true, "--override");
    cr_assert_eq(run_open(&run, folder, &config, true, true, &error), STATUS_OK, "%s", error.message);
    cr_assert_str_eq(run.changes, "  epochs: 400, was 300");
    run_close(&run);
    cr_assert_eq(run_open(&run, folder, &config, false, true, &error), STATUS_USAGE, "only a resumed run");
}

Test(run, machine_keys_may_change_and_are_told)
{
    Run run;
    Error error = {0};
    expect_open(false, false);
    make("checkpoints/step-00000010");
    config.threads = 3;
    cr_assert_eq(run_open(&run, folder, &config, true, false, &error), STATUS_OK, "%s", error.message);
    cr_assert(run.continues);
    cr_assert_str_eq(run.changes, "  threads: 3, was 0");
    run_close(&run);
    expect_open(true, true); /* and config.yaml follows */
}

Test(run, another_configuration_may_replace_one_that_never_got_to_a_checkpoint)
{
    expect_open(false, false);
    config.lr = 0.002;
    expect_open(true, false);
    expect_open(true, true);
}

Test(run, refuses_a_folder_with_results_of_unknown_origin)
{
    make("checkpoints");
    expect_refused(true, "no config.yaml");
}

Test(run, refuses_a_second_process)
{
    Run first, second;
    Error error = {0};
    cr_assert_eq(run_open(&first, folder, &config, true, false, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(run_open(&second, folder, &config, true, false, &error),
                 STATUS_FAILED); /* so that a restart loop tries on */
    cr_assert_not_null(strstr(error.message, "another process"), "%s", error.message);
    cr_assert(run_lock_held(folder));
    char log[600], old[600];
    snprintf(log, sizeof log, "%s/log.txt", folder);
    snprintf(old, sizeof old, "%s/log.1", folder);
    cr_assert_eq(file_write(log, "", 0, &error), STATUS_OK);
    cr_assert_eq(rename(log, old), 0); /* as people rotate it */
    cr_assert_eq(run_open(&second, folder, &config, true, false, &error), STATUS_FAILED);
    run_close(&first);
    cr_assert(!run_lock_held(folder));
    expect_open(true, true);
}

static void leave(const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    cr_assert(file && fclose(file) == 0);
}

static bool there(const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return file_exists(path);
}

Test(run, what_a_killed_process_left_half_written_goes_at_the_next_start)
{
    static const char *const OURS[] = {"best.safetensors.tmp.4711", "config.yaml.tmp.1", "metrics.jsonl.tmp.99",
                                       "summary.csv.tmp.5", "report.html.tmp.12"};
    Run first, second;
    Error error = {0};
    expect_open(false, false);
    cr_assert_eq(run_open(&first, folder, &config, true, false, &error), STATUS_OK, "%s", error.message);
    for (size_t i = 0; i < sizeof OURS / sizeof OURS[0]; i++) leave(OURS[i]);
    leave("notes.txt.tmp.4711");
    cr_assert_eq(run_open(&second, folder, &config, true, false, &error), STATUS_FAILED);
    cr_expect(there(OURS[0]), "only who holds the folder may");
    run_close(&first);
    expect_open(true, true);
    for (size_t i = 0; i < sizeof OURS / sizeof OURS[0]; i++) cr_expect_not(there(OURS[i]), "%s", OURS[i]);
    cr_expect(there("notes.txt.tmp.4711"), "it is not ours");
}

Test(run, says_when_the_folder_cannot_be_made)
{
    Run run;
    Error error = {0};
    cr_assert_eq(run_open(&run, "/proc/nowhere/a", &config, true, false, &error), STATUS_FAILED);
    cr_assert_not_null(strstr(error.message, "/proc/nowhere"), "%s", error.message);
}

Test(run, a_start_that_fails_leaves_nothing_of_its_own)
{
    Run run;
    Error error = {0};
    char made[600];
    snprintf(made, sizeof made, "%s/new", folder);
    cr_assert_eq(run_open(&run, made, &config, false, false, &error), STATUS_OK, "%s", error.message);
    run_abandon(&run);
    cr_expect_not(file_exists(made));
    leave("notes.txt");
    cr_assert_eq(run_open(&run, folder, &config, false, false, &error), STATUS_OK, "%s", error.message);
    leave("log.txt");
    run_abandon(&run);
    cr_expect(there("notes.txt"), "it was there before");
    cr_expect_not(there("config.yaml") || there("log.txt"));
    /* A run that was there stays whole. */
    expect_open(false, false);
    leave("log.txt");
    cr_assert_eq(run_open(&run, folder, &config, true, false, &error), STATUS_OK, "%s", error.message);
    run_abandon(&run);
    cr_expect(there("config.yaml") && there("log.txt"));
}
