/* t2t trace: the same numbers as the library gives, through files. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/weights.h"
#include "dist/config/config.h"
#include "tests/support/command.h"
#include "tests/support/golden.h"
#include "tests/support/models.h"
#include "tests/support/trial.h"

#define SETTINGS                                                                                                       \
    "--model t2t_vit_7 --set img_size=32 --set num_classes=10 --set embed_dim=32 --set num_heads=2 "                   \
    "--set depth=2 --set token_dim=32"

static Trial start(const char *folder)
{
    ModelConfig config = golden_model("tiny_performer");
    char path[4096];
    Error error = {0};
    Trial trial = trial_start(&config, 2, MODEL_TRAIN, 1);
    snprintf(path, sizeof path, "%s/weights.safetensors", folder);
    cr_assert_eq(weights_save(path, trial.table, trial.weights, NULL, &error), STATUS_OK, "%s", error.message);
    trial_forward(&trial);
    trial_backward(&trial);
    return trial;
}

static void write_input(const char *folder, const Trial *trial, const char *target, const void *targets)
{
    int64_t size = trial->config.img_size;
    bool soft = strcmp(target, "soft_target") == 0;
    SafetensorsTensor tensors[] = {
        {"input", DTYPE_F32, 4, {trial->batch, 3, size, size}, trial->images},
        {target, soft ? DTYPE_F32 : DTYPE_I64, soft ? 2 : 1, {trial->batch, 10}, targets},
    };
    char path[4096];
    Error error = {0};
    snprintf(path, sizeof path, "%s/input.safetensors", folder);
    cr_assert_eq(safetensors_write(path, tensors, targets ? 2 : 1, NULL, &error), STATUS_OK, "%s", error.message);
}

static void run(const char *folder, int exit_status, const char *part)
{
    Command command =
        command_run(60,
                    BUILD_FOLDER "/t2t trace " SETTINGS " --weights %s/weights.safetensors --input %s/input.safetensors"
                                 " --output %s/output.safetensors --threads 2",
                    folder, folder, folder);
    cr_assert_eq(command.exit_status, exit_status, "exit %d:\n%s", command.exit_status, command.output);
    cr_assert(strstr(command.output, part), "lacks '%s':\n%s", part, command.output);
    command_free(&command);
}

static Safetensors open_output(const char *folder)
{
    Safetensors file = {0};
    char path[4096];
    Error error = {0};
    snprintf(path, sizeof path, "%s/output.safetensors", folder);
    cr_assert_eq(safetensors_open(&file, path, &error), STATUS_OK, "%s", error.message);
    return file;
}

static void expect_equal(const Safetensors *file, const char *name, const float *want, int64_t numel)
{
    int64_t count;
    float *got = golden_floats(file, name, &count);
    cr_assert_eq(count, numel, "%s has %lld elements", name, (long long)count);
    cr_assert_eq(max_abs_difference(got, want, count), 0.0, "%s differs", name);
    free(got);
}

static void expect_output(const char *folder, const Trial *trial)
{
    Safetensors file = open_output(folder);
    float loss = (float)trial->loss;
    int tensors = 2;
    expect_equal(&file, "logits", trial->logits, 20);
    expect_equal(&file, "loss", &loss, 1);
    for (int i = 0; i < trial->table->count; i++) {
        const Param *param = &trial->table->items[i];
        char name[128];
        snprintf(name, sizeof name, "grad.%s", param->name);
        if (param->trainable) expect_equal(&file, name, trial->grads + param->offset, param->numel);
        tensors += param->trainable;
    }
    cr_assert_eq(file.count, tensors);
    safetensors_close(&file);
}

Test(trace, labels_and_soft_targets_give_what_the_library_gives)
{
    const char *folder = temporary_folder();
    Trial trial = start(folder);
    int64_t labels[2];
    for (int i = 0; i < 2; i++) labels[i] = (int64_t)(fill_hash("target", (uint64_t)i) % 10);
    write_input(folder, &trial, "target", labels);
    run(folder, 0, "");
    expect_output(folder, &trial);
    write_input(folder, &trial, "soft_target", trial.targets);
    run(folder, 0, "");
    expect_output(folder, &trial);
    trial_end(&trial);
}

Test(trace, without_targets_only_logits)
{
    const char *folder = temporary_folder();
    Trial trial = start(folder);
    write_input(folder, &trial, "target", NULL);
    run(folder, 0, "");
    Safetensors file = open_output(folder);
    cr_assert_eq(file.count, 1);
    expect_equal(&file, "logits", trial.logits, 20);
    safetensors_close(&file);
    trial_end(&trial);
}

/* Neither --model nor --set: the file has it all. */
Test(trace, weights_that_carry_their_configuration)
{
    const char *folder = temporary_folder();
    const char *sets[] = {"model=t2t_vit_7", "img_size=32", "num_classes=10", "embed_dim=32",
                          "num_heads=2",     "depth=2",     "token_dim=32"};
    Trial trial = start(folder);
    Config config;
    char path[4096], *text;
    Error error = {0};
    cr_assert_eq(config_load(&config, NULL, sets, 7, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(config_text(&config, &text, &error), STATUS_OK);
    const char *const metadata[] = {"config", text, NULL};
    snprintf(path, sizeof path, "%s/own.safetensors", folder);
    cr_assert_eq(weights_save(path, trial.table, trial.weights, metadata, &error), STATUS_OK, "%s", error.message);
    write_input(folder, &trial, "target", NULL);
    Command command = command_run(60,
                                  BUILD_FOLDER "/t2t trace --weights %s --input %s/input.safetensors"
                                               " --output %s/output.safetensors",
                                  path, folder, folder);
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    command_free(&command);
    Safetensors file = open_output(folder);
    expect_equal(&file, "logits", trial.logits, 20);
    safetensors_close(&file);
    command = command_run(60, BUILD_FOLDER "/t2t trace --weights %s/weights.safetensors --input x --output y", folder);
    cr_expect_eq(command.exit_status, 2);
    cr_expect_not_null(strstr(command.output, "does not say what model it belongs to"), "%s", command.output);
    command_free(&command);
    free(text);
    trial_end(&trial);
}

Test(trace, refuses_what_does_not_fit)
{
    const char *folder = temporary_folder();
    Trial trial = start(folder);
    int64_t labels[2] = {3, 10};
    write_input(folder, &trial, "target", labels);
    run(folder, 3, "target 1 is 10; the model has classes 0 .. 9");
    trial.config.img_size = 16;
    write_input(folder, &trial, "target", NULL);
    run(folder, 3, "'input' is F32 (2, 3, 16, 16), expected F32 (2, 3, 32, 32)");
    Command command = command_run(20, BUILD_FOLDER "/t2t trace --model t2t_vit_7");
    cr_assert_eq(command.exit_status, 2);
    command_free(&command);
    trial_end(&trial);
}

/* Images go through the evaluation pipeline: Pillow's pixels, and the logits of those pixels, normalised. */
Test(trace, images_give_pillows_pixels_and_their_logits)
{
    enum { SIDE = 224, PLANE = SIDE * SIDE };
    static const float MEAN[] = {0.485f, 0.456f, 0.406f}, STD[] = {0.229f, 0.224f, 0.225f};
    const char *folder = temporary_folder();
    ModelConfig config = golden_model("tiny_performer");
    char path[4096];
    Error error = {0};
    config.img_size = SIDE;
    Trial trial = trial_start(&config, 2, MODEL_EVAL, 2);
    snprintf(path, sizeof path, "%s/weights.safetensors", folder);
    cr_assert_eq(weights_save(path, trial.table, trial.weights, NULL, &error), STATUS_OK, "%s", error.message);
    Command command = command_run(60,
                                  BUILD_FOLDER "/t2t trace " SETTINGS " --set img_size=224 --weights %s --images "
                                               "tests/goldens/data/images/baseline420_q75_500x375.JPEG "
                                               "tests/goldens/data/images/gray_q80_480x360.JPEG "
                                               "--output %s/output.safetensors",
                                  path, folder);
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    command_free(&command);

    Safetensors file = open_output(folder), golden = golden_open("data/eval");
    const char *name = "eval224.baseline420_q75_500x375.JPEG";
    const SafetensorsEntry *entry = safetensors_find(&file, "pixels");
    unsigned char *pixels = malloc(2 * 3 * PLANE), *want = malloc(3 * PLANE);
    cr_assert(entry && entry->dtype == DTYPE_U8 && entry->shape[0] == 2 && entry->shape[3] == 3);
    cr_assert_eq(safetensors_read(&file, entry, pixels, &error), STATUS_OK);
    cr_assert_eq(safetensors_read(&golden, safetensors_find(&golden, name), want, &error), STATUS_OK);
    cr_expect_arr_eq(pixels, want, 3 * PLANE);
    for (int b = 0; b < 2; b++)
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < PLANE; i++)
                trial.images[(b * 3 + c) * PLANE + i] =
                    ((float)pixels[(b * PLANE + i) * 3 + c] / 255 - MEAN[c]) / STD[c];
    trial_forward(&trial);
    int64_t count;
    float *logits = golden_floats(&file, "logits", &count);
    cr_assert_eq(count, 20);
    cr_expect_lt(max_abs_difference(logits, trial.logits, count), 1e-4 * max_abs(trial.logits, count));
    free(logits);
    free(want);
    free(pixels);
    safetensors_close(&golden);
    safetensors_close(&file);
    trial_end(&trial);
}
