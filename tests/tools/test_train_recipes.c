/* Recipes that are more than a rate: LAMB over slices, transfer with frozen tensors, scaled rates. */
#include <criterion/criterion.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/model/safetensors.h"
#include "tests/support/tiny.h"

enum { SECONDS = 100, STEPS = 64 };

static int64_t losses_of(const char *run, double *losses)
{
    char folder[1000];
    snprintf(folder, sizeof folder, "%.500s/%s", temporary_folder(), run);
    return tiny_losses(folder, losses, STEPS);
}

/* Norms of tensors that lie in several ranks' slices are those of whole tensors. */
Test(train_recipes, lamb_is_the_same_whole_and_in_slices)
{
#define LAMB "--set epochs=2 --set opt=lamb --set opt_eps=1e-6 --set lr=0.01 --set mixup=0 --set cutmix=0 "
    static const char *const RUNS[] = {"whole", "sliced", "alone"};
    double losses[3][STEPS];
    tiny_train_data();
    SUCCEEDS(tiny_train(3, "whole", LAMB));
    SUCCEEDS(tiny_train(3, "sliced", LAMB "--set zero=1"));
    SUCCEEDS(tiny_train(0, "alone", LAMB));
    for (int i = 0; i < 3; i++) cr_assert_eq(losses_of(RUNS[i], losses[i]), 24);
    for (int i = 1; i < 3; i++)
        for (int step = 1; step <= 24; step++)
            cr_assert_float_eq(losses[i][step], losses[0][step], 2e-5, "%s, step %d: loss %.9g, expected %.9g", RUNS[i],
                               step, losses[i][step], losses[0][step]);
}

static float *tensor(const char *run, const char *file, const char *name, int64_t *count)
{
    char path[1000];
    Safetensors weights;
    Error error = {0};
    snprintf(path, sizeof path, "%.500s/%s/%s", temporary_folder(), run, file);
    cr_assert_eq(safetensors_open(&weights, path, &error), STATUS_OK, "%s", error.message);
    const SafetensorsEntry *entry = safetensors_find(&weights, name);
    cr_assert(entry, "%s: %s", path, name);
    float *values = malloc((size_t)entry->numel * sizeof *values);
    cr_assert_eq(safetensors_read(&weights, entry, values, &error), STATUS_OK, "%s", error.message);
    *count = entry->numel;
    safetensors_close(&weights);
    return values;
}

Test(train_recipes, frozen_tensors_keep_the_file_s_values)
{
    static const struct {
        const char *name;
        bool frozen;
    } CASES[] = {{"cls_token", true},
                 {"norm.weight", true},
                 {"norm.bias", true},
                 {"blocks.0.norm1.weight", false},
                 {"tokens_to_token.project.weight", false},
                 {"head.weight", false}};
    char options[1500];
    tiny_train_data();
    SUCCEEDS(tiny_train(0, "first", "--set epochs=1"));
    snprintf(options, sizeof options,
             "--set epochs=1 --set init_weights=%s/first/best.safetensors --set opt=momentum --set lr=0.05 --set "
             "transfer_ratio=0.1 --set weight_decay_all=true --set 'freeze=[cls_token, norm.*]' --set model_ema=false",
             temporary_folder());
    command_expect(tiny_train(2, "second", options), 0,
                   (const char *[]){"frozen: 3 of ", "lr 0.05 is the head's; everything else begins at 0.005", NULL});
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int64_t count;
        float *before = tensor("first", "best.safetensors", CASES[i].name, &count);
        float *after = tensor("second", "best.safetensors", CASES[i].name, &count);
        bool same = memcmp(before, after, (size_t)count * sizeof *before) == 0;
        cr_expect_eq(same, CASES[i].frozen, "%s", CASES[i].name);
        free(before), free(after);
    }
}

Test(train_recipes, a_scaled_rate_is_what_trains)
{
    double plain[STEPS], scaled[STEPS];
    tiny_train_data();
    SUCCEEDS(tiny_train(0, "plain", "--set epochs=1 --set lr=0.001"));
    command_expect(
        tiny_train(0, "scaled", "--set epochs=1 --set lr=0.016 --set lr_scale=linear --set lr_base_batch=128"), 0,
        (const char *[]){"lr 0.001 = 0.016 x 0.0625 (lr_scale linear: batch_size 8 over lr_base_batch 128)", NULL});
    int64_t steps = losses_of("plain", plain);
    cr_assert_eq(losses_of("scaled", scaled), steps);
    for (int64_t i = 1; i <= steps; i++) cr_assert_eq(plain[i], scaled[i]);
}

Test(train_recipes, a_dry_run_of_every_configuration_writes_nothing)
{
    glob_t found;
    char output[600];
    snprintf(output, sizeof output, "%.500s/never", temporary_folder());
    cr_assert_eq(glob("configs/*.yaml", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        command_expect(
            command_run(SECONDS, T2T " train %s --dry-run --set data= --output %s", found.gl_pathv[i], output), 0,
            (const char *[]){"optimizer and schedule", "parameters", "activations", "nothing was written", NULL});
        cr_assert_neq(access(output, F_OK), 0, "%s", found.gl_pathv[i]);
    }
    globfree(&found);
}

Test(train_recipes, a_dry_run_counts_steps_and_refuses_what_a_run_would)
{
    tiny_train_data();
    command_expect(
        tiny_train(0, "dry", "--dry-run --set epochs=3"), 0,
        (const char *[]){"97 training and 37 validation images", "36 = 3 epochs of 12; 1 images are left", NULL});
    command_expect(tiny_train(2, "dry", "--dry-run"), 0, (const char *[]){"ranks       2", "4 images of a step", NULL});
    command_expect(tiny_train(2, "dry", "--dry-run --set reproducible=8"), 0,
                   (const char *[]){"4 images of a step, 1 at a time", NULL});
    command_expect(tiny_train(0, "dry", "--dry-run --set batch_size=98"), 3,
                   (const char *[]){"fewer than batch_size", NULL});
    command_expect(tiny_train(0, "dry", "--dry-run --set num_classes=9"), 2, (const char *[]){"num_classes: 9", NULL});
    char path[600];
    snprintf(path, sizeof path, "%.500s/dry", temporary_folder());
    cr_assert_neq(access(path, F_OK), 0);
}
