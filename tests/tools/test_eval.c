/* t2t eval and t2t predict, on what t2t train leaves. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/safetensors.h"
#include "core/model/weights.h"
#include "dist/config/config.h"
#include "core/base/file.h"
#include "core/base/status.h"
#include "dist/monitor/metrics.h"
#include "core/base/path.h"
#include "tests/support/tiny.h"

enum { SECONDS = 60 };

static const char IMAGES[] = "tests/goldens/data/images";

/* A data set of 37 validation images and a run on it, in the temporary folder. */
static void make_run(void)
{
    char data[600];
    const char *folder = temporary_folder();
    snprintf(data, sizeof data, "%.500s/data", folder);
    tiny_dataset(data, 97, 37);
    SUCCEEDS(command_run(SECONDS,
                         T2T " train %s --set epochs=5 --set lr=0.005 --set no_aug=true --set mixup=0 --set cutmix=0 "
                             "--set reprob=0 --set data=%s --output %s/run",
                         TINY_SETTINGS, data, folder));
}

Test(eval, counts_every_image_once_on_any_ranks)
{
    make_run();
    const char *folder = temporary_folder();
    MetricsHistory history;
    Error error = {0};
    char run[600];
    snprintf(run, sizeof run, "%.500s/run", folder);
    cr_assert_eq(metrics_read(&history, run, &error), STATUS_OK, "%s", error.message);
    const ValidationRecord *last = &history.validation[history.validations - 1];
    cr_assert_eq(last->count, 37);
    for (int ranks = 1; ranks <= 4; ranks++) {
        Command command = command_run(SECONDS,
                                      MPIRUN "%d " T2T " eval --data %s/data --json --batch %d --threads 1 --weights "
                                             "%s/run/checkpoints/step-00000060/ema.safetensors 2>%s/errors",
                                      ranks, folder, 3 * ranks - 2, folder, folder);
        json_t *line = json_loads(command.output, 0, NULL);
        cr_assert(command.exit_status == 0 && line, "%s", command.output);
        cr_expect_eq(json_integer_value(json_object_get(line, "count")), 37);
        cr_expect_float_eq(json_number_value(json_object_get(line, "top1")), last->top1_ema, 1e-3);
        cr_expect_float_eq(json_number_value(json_object_get(line, "top5")), last->top5_ema, 1e-3);
        /* sums in another order differ in the last digits */
        cr_expect_float_eq(json_number_value(json_object_get(line, "loss")), last->loss_ema, 1e-4);
        json_decref(line);
        command_free(&command);
    }
    metrics_history_free(&history);
}

/* The same weights as another program would leave them: without metadata. */
static void strip_metadata(const char *from, const char *to)
{
    Safetensors file;
    Error error = {0};
    cr_assert_eq(safetensors_open(&file, from, &error), STATUS_OK, "%s", error.message);
    SafetensorsTensor *tensors = calloc((size_t)file.count, sizeof *tensors);
    float **data = calloc((size_t)file.count, sizeof *data);
    for (int i = 0; i < file.count; i++) {
        const SafetensorsEntry *entry = &file.entries[i];
        data[i] = malloc((size_t)entry->numel * sizeof(float));
        cr_assert_eq(safetensors_read(&file, entry, data[i], &error), STATUS_OK);
        tensors[i] = (SafetensorsTensor){entry->name, entry->dtype, entry->ndim, {0}, data[i]};
        memcpy(tensors[i].shape, entry->shape, sizeof entry->shape);
    }
    cr_assert_eq(safetensors_write(to, tensors, file.count, NULL, &error), STATUS_OK, "%s", error.message);
    for (int i = 0; i < file.count; i++) free(data[i]);
    free(data);
    free(tensors);
    safetensors_close(&file);
}

Test(eval, weights_from_elsewhere_need_a_model)
{
    make_run();
    const char *folder = temporary_folder();
    char best[600], bare[600];
    snprintf(best, sizeof best, "%.500s/run/best.safetensors", folder);
    snprintf(bare, sizeof bare, "%.500s/bare.safetensors", folder);
    strip_metadata(best, bare);
    Command own = command_run(SECONDS, T2T " eval --data %s/data --weights %s", folder, best);
    cr_assert_eq(own.exit_status, 0, "%s", own.output);
    EXPECT(command_run(SECONDS, T2T " eval --data %s/data --weights %s", folder, bare), 2, "--model", "--config");
    EXPECT(
        command_run(SECONDS, T2T " eval --data %s/data --weights %s --config %s/run/config.yaml", folder, bare, folder),
        0, own.output);
    /* A published model has other shapes: refused by name, not evaluated to nonsense. */
    EXPECT(command_run(SECONDS, T2T " eval --data %s/data --weights %s --model t2t_vit_7", folder, bare), 3,
           "bare.safetensors");
    command_free(&own);
}

Test(eval, weights_of_other_classes_are_not_judged)
{
    make_run();
    const char *folder = temporary_folder();
    char best[600], bare[600], few[600];
    snprintf(best, sizeof best, "%.500s/run/best.safetensors", folder);
    snprintf(bare, sizeof bare, "%.500s/bare.safetensors", folder);
    snprintf(few, sizeof few, "%.500s/few", folder);
    strip_metadata(best, bare);
    tiny_dataset(few, 8, 5);
    EXPECT(command_run(SECONDS, T2T " eval --data %s --weights %s --config %s/run/config.yaml", few, bare, folder), 2,
           "know 10 classes and the data set has 8");
    /* These know that their first eight classes are the ones of the data set. */
    EXPECT(command_run(SECONDS, T2T " eval --data %s --weights %s", few, best), 0, "images 5");
}

Test(eval, pixels_are_those_of_the_weights_and_told)
{
    make_run();
    const char *folder = temporary_folder();
    EXPECT(
        command_run(SECONDS, T2T " eval --data %s/data --weights %s/run/best.safetensors", folder, folder), 0,
        "pixels 32 x 32, the middle 0.9 of the shorter side (bicubic), mean 0.485 0.456 0.406, std 0.229 0.224 0.225");
    EXPECT(command_run(SECONDS,
                       T2T " eval --data %s/data --weights %s/run/best.safetensors --set crop_pct=1 --set "
                           "'mean=[0.5, 0.5, 0.5]'",
                       folder, folder),
           0, "the middle 1 of the shorter side (bicubic), mean 0.5 0.5 0.5");
}

/* The matrix' rows are the classes' images, its diagonal is what top-1 counts; on any ranks. */
Test(eval, the_confusion_matrix_adds_up)
{
    make_run();
    const char *folder = temporary_folder();
    char path[600], *text[2];
    for (int i = 0; i < 2; i++) {
        size_t size;
        Error error = {0};
        snprintf(path, sizeof path, "%.500s/confusion%d.csv", folder, i);
        EXPECT(command_run(SECONDS,
                           MPIRUN "%d " T2T " eval --data %s/data --per-class --threads 1 --weights "
                                  "%s/run/best.safetensors --confusion %s",
                           1 + 2 * i, folder, folder, path),
               0, "images 37", " %  of      4  ", " %  of      3  ");
        cr_assert_eq(file_read(path, 1 << 20, &text[i], &size, &error), STATUS_OK, "%s", error.message);
    }
    cr_assert_str_eq(text[0], text[1]);
    int images = 0, right = 0, row = 0;
    for (char *line = strchr(text[0], '\n') + 1; *line; line = strchr(line, '\n') + 1, row++) {
        char *at = line;
        for (int column = 0; column < 10; column++) {
            at = strchr(at, ',') + 1;
            images += atoi(at);
            if (column == row) right += atoi(at);
        }
    }
    cr_assert_eq(row, 10);
    cr_assert_eq(images, 37);
    char want[64];
    snprintf(want, sizeof want, "top-1  %.3f", 100.0 * right / 37);
    EXPECT(command_run(SECONDS, T2T " eval --data %s/data --weights %s/run/best.safetensors", folder, folder), 0, want);
    free(text[0]), free(text[1]);
}

/* One line of JSON per file of weights, with the classes' accuracies, which make up the whole. */
static void check_classes(json_t *line)
{
    json_t *classes = json_object_get(line, "classes"), *class;
    double right = 0;
    json_int_t images = 0;
    size_t i;
    cr_assert_eq(json_array_size(classes), 10);
    json_array_foreach(classes, i, class)
    {
        json_int_t count = json_integer_value(json_object_get(class, "images"));
        images += count;
        right += 0.01 * json_number_value(json_object_get(class, "top1")) * (double)count;
    }
    cr_expect_eq(images, 37);
    cr_expect_float_eq(100 * right / 37, json_number_value(json_object_get(line, "top1")), 1e-6);
    cr_expect_eq(json_integer_value(json_object_get(json_object_get(line, "pixels"), "img_size")), 32);
}

Test(eval, several_weights_are_a_table)
{
    make_run();
    const char *folder = temporary_folder();
    char weights[1800];
    snprintf(weights, sizeof weights,
             "--weights %.500s/run/checkpoints/step-00000060/ema.safetensors "
             "%.500s/run/checkpoints/step-00000060/weights.safetensors",
             folder, folder);
    EXPECT(command_run(SECONDS, T2T " eval --data %s/data %s", folder, weights), 0, "pixels 32 x 32",
           "  top-1 %   top-5 %      loss    images  weights\n", "       37  ", "ema.safetensors\n",
           "weights.safetensors\n");
    Command lines = command_run(SECONDS, MPIRUN "2 " T2T " eval --data %s/data %s --json --per-class", folder, weights);
    cr_assert_eq(lines.exit_status, 0, "%s", lines.output);
    int count = 0;
    for (char *line = lines.output, *end; (end = strchr(line, '\n')); line = end + 1, count++) {
        json_t *object = json_loadb(line, (size_t)(end - line), 0, NULL);
        cr_assert_not_null(object, "%s", line);
        const char *path = json_string_value(json_object_get(object, "weights"));
        cr_expect(strstr(path, count ? "weights.safetensors" : "ema.safetensors"), "%s", path);
        check_classes(object);
        json_decref(object);
    }
    cr_expect_eq(count, 2);
    command_free(&lines);
    /* The last file is looked at before the first is judged, and a file of one model has one pair of files. */
    EXPECT(command_run(SECONDS, T2T " eval --data %s/data %s /nowhere.safetensors", folder, weights), 3, "/nowhere");
    EXPECT(command_run(SECONDS, T2T " eval --data %s/data %s --predictions %s/p.csv", folder, weights, folder), 2,
           "--predictions is written of one file of weights, and 2 are given");
}

/* The lines of a JSON lines file, as an array. */
static json_t *read_lines(const char *path)
{
    char *text, *end;
    size_t size;
    Error error = {0};
    json_t *lines = json_array();
    cr_assert_eq(file_read(path, 1 << 20, &text, &size, &error), STATUS_OK, "%s", error.message);
    for (char *line = text; (end = strchr(line, '\n')); line = end + 1) {
        json_t *object = json_loadb(line, (size_t)(end - line), 0, NULL);
        cr_assert_not_null(object, "%s", line);
        json_array_append_new(lines, object);
    }
    free(text);
    return lines;
}

static double guess(json_t *lines, size_t line, size_t place, const char *key)
{
    json_t *top = json_object_get(json_array_get(lines, line), "top");
    return json_number_value(json_object_get(json_array_get(top, place), key));
}

/* In the order of the images, the same on any ranks; top-1 and top-5 can be counted from them. */
Test(eval, predictions_are_of_every_image_in_order)
{
    make_run();
    const char *folder = temporary_folder();
    json_t *lines[2];
    char want[2][64], path[700];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%.500s/p%d.jsonl", folder, i);
        SUCCEEDS(command_run(SECONDS,
                             MPIRUN "%d " T2T " eval --data %s/data --threads 1 --weights %s/run/best.safetensors "
                                    "--predictions %s",
                             1 + 2 * i, folder, folder, path));
        lines[i] = read_lines(path);
        cr_assert_eq(json_array_size(lines[i]), 37);
    }
    int hits[2] = {0};
    for (size_t i = 0; i < 37; i++) {
        json_t *line = json_array_get(lines[0], i);
        double label = json_number_value(json_object_get(line, "label")), sum = 0;
        cr_expect_eq(json_integer_value(json_object_get(line, "image")), (json_int_t)i);
        cr_expect_eq(json_integer_value(json_object_get(line, "key")), (json_int_t)i);
        cr_expect_str_eq(json_string_value(json_object_get(line, "shard")), "val-000.mdb");
        for (size_t k = 0; k < 5; k++) {
            sum += guess(lines[0], i, k, "probability");
            hits[k > 0] += guess(lines[0], i, k, "class") == label;
            cr_expect(k == 0 || guess(lines[0], i, k, "probability") <= guess(lines[0], i, k - 1, "probability"));
            cr_expect_float_eq(guess(lines[1], i, k, "probability"), guess(lines[0], i, k, "probability"), 1e-4);
        }
        cr_expect(sum > 0.5 && sum < 1 + 1e-9, "five of ten classes hold %g", sum);
    }
    snprintf(want[0], sizeof want[0], "top-1  %.3f", 100.0 * hits[0] / 37);
    snprintf(want[1], sizeof want[1], "top-5  %.3f", 100.0 * (hits[0] + hits[1]) / 37);
    EXPECT(command_run(SECONDS, T2T " eval --data %s/data --weights %s/run/best.safetensors", folder, folder), 0,
           want[0], want[1]);
    for (int i = 0; i < 2; i++) json_decref(lines[i]);
}

/* Classes whose names are CSV and a command to a terminal. What is no UTF-8, convert refuses. */
Test(eval, predictions_escape_names)
{
    make_run();
    const char *folder = temporary_folder();
    char path[700], *text;
    size_t size;
    Error error = {0};
    EXPECT(command_run(SECONDS,
                       "cd %s && printf 'a,\"b\"\nc\033[31m\n=cmd()\n-n\n+\n@a\n6\n7\n8\n9\n' >names && %s/t2t convert "
                       "data.idx named --class-names names",
                       folder, realpath(BUILD_FOLDER, (char[PATH_SIZE]){0})),
           0, "");
    SUCCEEDS(command_run(SECONDS,
                         T2T " eval --data %s/named --weights %s/run/best.safetensors --predictions %s/p.csv "
                             "--confusion %s/c.csv 2>/dev/null",
                         folder, folder, folder, folder));
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%.500s/%c.csv", folder, i ? 'c' : 'p');
        cr_assert_eq(file_read(path, 1 << 20, &text, &size, &error), STATUS_OK, "%s", error.message);
        cr_expect(strstr(text, "\"a,\"\"b\"\"\"") && strstr(text, "\"c\\x1B[31m\""), "%s", text);
        cr_expect(strstr(text, "\"'=cmd()\"") && !strstr(text, "\"=") && !strstr(text, "\"-"), "%s", text);
        cr_expect_null(strchr(text, '\x1b'), "%s", text);
        int lines = 0;
        for (const char *at = text; (at = strchr(at, '\n')); at++) lines++;
        cr_expect_eq(lines, i ? 11 : 38);
        free(text);
    }
}

Test(eval, a_file_that_cannot_be_written_is_told_before_the_work)
{
    make_run();
    const char *folder = temporary_folder();
    static const struct {
        const char *path, *text;
        int status;
    } CASES[] = {{"/nowhere/p.csv", "/nowhere/p.csv: cannot write", 1},
                 {"p.txt", "has to end with .csv or .jsonl", 2},
                 {".csv", "has to end with .csv or .jsonl", 2}};
    for (int i = 0; i < 3; i++)
        EXPECT(command_run(SECONDS,
                           MPIRUN "2 " T2T " eval --data %s/data --weights %s/run/best.safetensors --predictions %s",
                           folder, folder, CASES[i].path),
               CASES[i].status, CASES[i].text);
}

Test(eval, bad_input_is_refused)
{
    make_run();
    const char *folder = temporary_folder();
    EXPECT(command_run(SECONDS, T2T " eval --data %s/data --weights /nowhere.safetensors", folder), 3, "/nowhere");
    EXPECT(command_run(SECONDS, T2T " eval --data /nowhere --weights %s/run/best.safetensors", folder), 3, "/nowhere");
    EXPECT(
        command_run(SECONDS, T2T " eval --data %s/data --split test --weights %s/run/best.safetensors", folder, folder),
        3, "test");
    EXPECT(command_run(SECONDS, T2T " eval --weights %s/run/best.safetensors", folder), 2, "--data");
    EXPECT(command_run(SECONDS, T2T " eval --data %s/data", folder), 2, "--weights");
    EXPECT(command_run(SECONDS, T2T " eval --data %s/data --batch 0 --weights x", folder), 2, "--batch");
    EXPECT(command_run(SECONDS, T2T " eval --help"), 0, "usage");
}

Test(predict, names_the_classes)
{
    make_run();
    const char *folder = temporary_folder();
    Command command = command_run(SECONDS,
                                  T2T " predict --weights %s/run/best.safetensors %s/gray_q80_480x360.JPEG "
                                      "%s/png_inside_200x150.JPEG",
                                  folder, IMAGES, IMAGES);
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    cr_expect(strstr(command.output, "gray_q80_480x360.JPEG\n"));
    cr_expect(strstr(command.output, "png_inside_200x150.JPEG\n"));
    int lines = 0, percents = 0;
    double sum = 0;
    for (const char *at = command.output; *at; at++) {
        lines += *at == '\n';
        if (*at != '%') continue;
        percents++;
        sum += atof(at - 8);
    }
    cr_expect_eq(lines, 12);
    cr_expect_eq(percents, 10);
    cr_expect(sum > 100 && sum <= 200.1, "two times five classes hold %g %%", sum);
    command_free(&command);
    /* All ten: the probabilities are whole. */
    command = command_run(SECONDS, T2T " predict --top 10 --weights %s/run/best.safetensors %s/gray_q80_480x360.JPEG",
                          folder, IMAGES);
    sum = 0;
    for (const char *at = command.output; (at = strchr(at, '%')); at++) sum += atof(at - 8);
    cr_expect_float_eq(sum, 100, 0.06);
    command_free(&command);
}

Test(predict, one_bad_image_does_not_hide_the_others)
{
    make_run();
    const char *folder = temporary_folder();
    EXPECT(command_run(SECONDS,
                       T2T " predict --weights %s/run/best.safetensors README.md %s/gray_q80_480x360.JPEG none", folder,
                       IMAGES),
           3, "README.md", "gray_q80_480x360.JPEG\n", "none", "2 of 3 images");
    EXPECT(command_run(SECONDS, T2T " predict --weights %s/run/best.safetensors", folder), 2, "which images");
}

/* Folders, lists, batches and threads change nothing in what is said of an image, and a name in what is said of it. */
Test(predict, folders_lists_and_batches)
{
    make_run();
    const char *folder = temporary_folder();
    EXPECT(command_run(
               SECONDS,
               "cd %s && mkdir -p in/deep && n=$(printf 'a\\033[31m\"<b>') && cp %s/gray_q80_480x360.JPEG in/$n.jpg && "
               "cp %s/png_inside_200x150.JPEG in/deep/x.PNG && echo no >in/broken.jpeg && touch in/notes.txt",
               folder, realpath(IMAGES, (char[PATH_SIZE]){0}), realpath(IMAGES, (char[PATH_SIZE]){0})),
           0, "");
    Command all = command_run(SECONDS, T2T " predict --weights %s/run/best.safetensors %s/in 2>%s/errors", folder,
                              folder, folder);
    cr_assert_eq(all.exit_status, 3, "%s", all.output);
    cr_expect(strstr(all.output, "in/a\\x1B[31m\"<b>.jpg\n") && strstr(all.output, "in/deep/x.PNG\n"), "%s",
              all.output);
    cr_expect_null(strchr(all.output, '\x1b'));
    EXPECT(command_run(SECONDS,
                       "find %s/in -type f ! -name '*.txt' | LC_ALL=C sort | " T2T
                       " predict --weights %s/run/best.safetensors --list - --batch 1 --threads 1 2>%s/errors1; "
                       "cmp %s/errors %s/errors1",
                       folder, folder, folder, folder, folder),
           0, all.output);
    Command lines =
        command_run(SECONDS, T2T " predict --weights %s/run/best.safetensors --json %s/in 2>/dev/null", folder, folder);
    char *line = lines.output, *end;
    int read = 0, failed = 0;
    for (; (end = strchr(line, '\n')); line = end + 1) {
        json_t *object = json_loadb(line, (size_t)(end - line), 0, NULL);
        cr_assert_not_null(object, "%s", line);
        failed += json_is_string(json_object_get(object, "error"));
        read += json_array_size(json_object_get(object, "top")) == 5;
        json_decref(object);
    }
    cr_expect_eq(read, 2);
    cr_expect_eq(failed, 1);
    cr_expect_null(strchr(lines.output, '\x1b'));
    command_free(&lines);
    command_free(&all);
    EXPECT(command_run(SECONDS, T2T " predict --weights %s/run/best.safetensors %s/in/deep/../..", folder, folder), 3,
           "in/deep/x.PNG");
    EXPECT(command_run(SECONDS, "mkdir %s/none; " T2T " predict --weights %s/run/best.safetensors %s/none", folder,
                       folder, folder),
           3, "no file in it ends with .jpg");
}

/* Data sets call ImageNet's classes by their WordNet ids; people do not. */
Test(predict, imagenet_classes_have_words)
{
    const char *sets[] = {"model=t2t_vit_7", "depth=2", "img_size=32", "embed_dim=32", "num_heads=2", "num_classes=3"};
    Config own;
    ParamTable table;
    Error error = {0};
    char *text, path[600];
    cr_assert_eq(config_load(&own, NULL, sets, 6, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(config_text(&own, &text, &error), STATUS_OK);
    const char *const metadata[] = {"config", text, "class_names", "[\"n01440764\",\"n15075141\",\"my own\"]", NULL};
    cr_assert_eq(params_build(&table, &own.model, &error), STATUS_OK);
    float *weights = calloc((size_t)table.size, sizeof *weights);
    params_init(&table, 1, weights);
    snprintf(path, sizeof path, "%s/w.safetensors", temporary_folder());
    cr_assert_eq(weights_save(path, &table, weights, metadata, &error), STATUS_OK, "%s", error.message);
    EXPECT(command_run(SECONDS, T2T " predict --weights %s %s/gray_q80_480x360.JPEG", path, IMAGES), 0,
           " %  tench, Tinca tinca (n01440764)\n", "toilet paper", "(n15075141)\n", " %  my own\n");
    free(text);
    free(weights);
    params_free(&table);
}
