/* t2t visualize and trace --activations from outside: the pictures that the help promises, and what is refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/model/weights.h"
#include "data/image/image.h"
#include "tests/support/command.h"
#include "tests/support/golden.h"
#include "tests/support/models.h"
#include "tests/support/tiny.h"
#include "tests/support/trial.h"

#define IMAGES "tests/goldens/data/images/"
#define SETTINGS                                                                                                       \
    "--model t2t_vit_7 --set img_size=32 --set num_classes=10 --set embed_dim=32 --set num_heads=2 "                   \
    "--set depth=2 --set token_dim=32"

static void write_weights_of(const char *model)
{
    char path[4096];
    ModelConfig config = golden_model(model);
    Error error = {0};
    Trial trial = trial_start(&config, 1, MODEL_EVAL, 1);
    snprintf(path, sizeof path, "%s/weights.safetensors", temporary_folder());
    cr_assert_eq(weights_save(path, trial.table, trial.weights, NULL, &error), STATUS_OK, "%s", error.message);
    trial_end(&trial);
}

static void write_weights(void)
{
    write_weights_of("tiny_performer");
}

static Command visualize(const char *output, const char *rest)
{
    return command_run(60,
                       BUILD_FOLDER "/t2t visualize " SETTINGS " --weights %s/weights.safetensors --output %s/%s %s",
                       temporary_folder(), temporary_folder(), output, rest);
}

/* A picture of columns x rows tiles of `side` pixels, 4 pixels apart, that is not of one colour. */
static void expect_tiles(const char *name, int side, int columns, int rows)
{
    char path[4096], *bytes;
    size_t size;
    Error error = {0};
    Image image = {0};
    snprintf(path, sizeof path, "%s/out/%s", temporary_folder(), name);
    cr_assert_eq(file_read(path, 1 << 24, &bytes, &size, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(image_decode(bytes, size, &image, &error), STATUS_OK, "%s", error.message);
    cr_expect_eq(image.width, columns * (side + 4) + 4, "%s is %d wide", name, image.width);
    cr_expect_eq(image.height, rows * (side + 4) + 4, "%s is %d high", name, image.height);
    bool dark = false, bright = false;
    for (int i = 0; i < image.width * image.height; i++) {
        int sum = image.pixels[3 * i] + image.pixels[3 * i + 1] + image.pixels[3 * i + 2];
        dark |= sum < 200;
        bright |= sum > 400;
    }
    cr_expect(dark && bright, "%s is of one colour", name);
    image_free(&image);
    free(bytes);
}

Test(visualize, writes_every_picture_that_the_help_lists, .init = write_weights)
{
    SUCCEEDS(visualize("out", "--layer 'blocks.*' " IMAGES "gray_q80_480x360.JPEG " IMAGES "png_inside_200x150.JPEG"));
    expect_tiles("gray_q80_480x360.attention.png", 32, 2, 2);
    expect_tiles("gray_q80_480x360.rollout.png", 32, 2, 1);
    expect_tiles("gray_q80_480x360.tokens.png", 112, 8, 3);
    expect_tiles("gray_q80_480x360.features.blocks.1.png", 112, 8, 4);
    expect_tiles("png_inside_200x150.features.blocks.0.attn.qkv.png", 112, 8, 8);
    expect_tiles("png_inside_200x150.attention.png", 32, 2, 2);
    expect_tiles("positions.png", 8, 2, 2);
}

/* The third convolution is the projection: there are two soft splits to draw. */
Test(visualize, draws_what_the_convolutions_put_out)
{
    write_weights_of("tiny_convolution");
    SUCCEEDS(visualize("out", "--set tokens_type=convolution --set token_dim=16 --set depth=1 " IMAGES
                              "gray_q80_480x360.JPEG"));
    expect_tiles("gray_q80_480x360.tokens.png", 112, 8, 2);
}

Test(visualize, images_of_one_name_do_not_overwrite_each_other, .init = write_weights)
{
    SUCCEEDS(visualize("out", IMAGES "gray_q80_480x360.JPEG " IMAGES "../images/gray_q80_480x360.JPEG"));
    expect_tiles("gray_q80_480x360.rollout.png", 32, 2, 1);
    expect_tiles("gray_q80_480x360-2.rollout.png", 32, 2, 1);
}

Test(visualize, a_layer_that_is_not_there_lists_those_that_are, .init = write_weights)
{
    EXPECT(visualize("out", "--layer 'block.*' " IMAGES "gray_q80_480x360.JPEG"), 2, "no layer of", "'block.*'",
           "tokens_to_token.attention1.kqv", "blocks.0.mlp.fc1", "blocks.1");
}

Test(visualize, an_unreadable_image_is_named_and_the_rest_is_done, .init = write_weights)
{
    EXPECT(visualize("out", "README.md " IMAGES "gray_q80_480x360.JPEG"), 3, "README.md", "1 of 2 images");
    expect_tiles("gray_q80_480x360.rollout.png", 32, 2, 1);
}

Test(visualize, needs_a_folder_and_images, .init = write_weights)
{
    EXPECT(command_run(20, BUILD_FOLDER "/t2t visualize --weights x"), 2, "--output");
    EXPECT(command_run(20, BUILD_FOLDER "/t2t visualize --weights x --output y"), 2, "which images?");
}

Test(visualize, trace_writes_the_activations_that_match, .init = write_weights)
{
    char path[4096];
    int64_t count;
    Error error = {0};
    Safetensors file;
    const char *folder = temporary_folder();
    const char *trace = BUILD_FOLDER "/t2t trace " SETTINGS " --weights %s/weights.safetensors --output "
                                     "%s/out.safetensors --activations '%s' --images " IMAGES
                                     "gray_q80_480x360.JPEG " IMAGES "png_inside_200x150.JPEG";
    SUCCEEDS(command_run(60, trace, folder, folder, "blocks.?"));
    snprintf(path, sizeof path, "%s/out.safetensors", folder);
    cr_assert_eq(safetensors_open(&file, path, &error), STATUS_OK, "%s", error.message);
    cr_expect_eq(file.count, 4, "%d tensors: logits, pixels, two blocks", file.count);
    float *block = golden_floats(&file, "activation.blocks.1", &count);
    const SafetensorsEntry *entry = safetensors_find(&file, "activation.blocks.1");
    cr_expect(entry->ndim == 3 && entry->shape[0] == 2 && entry->shape[1] == 5 && entry->shape[2] == 32);
    cr_expect_gt(max_abs(block + count / 2, count / 2), 0.0, "the second image's");
    free(block);
    safetensors_close(&file);
    EXPECT(command_run(60, trace, folder, folder, "nothing"), 2, "no layer of", "tokens_to_token.soft_split2");
}
