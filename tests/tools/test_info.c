#include <criterion/criterion.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/model/weights.h"
#include "dist/config/config.h"
#include "tests/support/command.h"
#include "tests/support/models.h"

#define T2T BUILD_FOLDER "/t2t"

static void expect(const char *arguments, int exit_status, const char *part)
{
    Command command = command_run(20, T2T " info %s", arguments);
    cr_assert_eq(command.exit_status, exit_status, "t2t info %s: exit %d:\n%s", arguments, command.exit_status,
                 command.output);
    cr_assert(strstr(command.output, part), "t2t info %s lacks '%s':\n%s", arguments, part, command.output);
    command_free(&command);
}

/* The table of the goldens, as a person sees it. */
Test(info, prints_parameters_and_macs_of_every_published_model)
{
    FILE *file = fopen("tests/goldens/models/summary.tsv", "r");
    cr_assert(file);
    char line[512], name[64];
    cr_assert(fgets(line, sizeof line, file));
    while (fgets(line, sizeof line, file)) {
        int img, tensors;
        int64_t params, trained, linear, attention, conv, total;
        cr_assert_eq(sscanf(line, "%63s %d %" SCNd64 " %" SCNd64 " %d %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64,
                            name, &img, &params, &trained, &tensors, &linear, &attention, &conv, &total),
                     9);
        char arguments[128], part[256];
        name[strcmp(name, "t2t_vit_14_384") == 0 ? 10 : (int)strlen(name)] = 0;
        snprintf(arguments, sizeof arguments, "%s --set img_size=%d", name, img);
        snprintf(part, sizeof part, "%s: %.1f M parameters, %.3f G MACs\n", name, (double)params * 1e-6,
                 (double)total * 1e-9);
        expect(arguments, 0, part);
        snprintf(part, sizeof part, "parameters  %" PRId64 ", of which %" PRId64 " are trained, in %d tensors\n",
                 params, trained, tensors);
        expect(arguments, 0, part);
        snprintf(part, sizeof part,
                 "MACs        %" PRId64 " = linear %" PRId64 " + attention %" PRId64 " + conv %" PRId64 "\n", total,
                 linear, attention, conv);
        expect(arguments, 0, part);
    }
    fclose(file);
}

/* The numbers of the published table, written out. */
Test(info, headlines)
{
    expect("t2t_vit_7", 0, "t2t_vit_7: 4.3 M parameters, 1.147 G MACs\n");
    expect("t2t_vit_14", 0, "t2t_vit_14: 21.5 M parameters, 4.783 G MACs\n");
    expect("t2t_vit_19", 0, "t2t_vit_19: 39.2 M parameters, 8.480 G MACs\n");
    expect("t2t_vit_24", 0, "t2t_vit_24: 64.1 M parameters, 13.662 G MACs\n");
    expect("t2t_vit_t_14", 0, "t2t_vit_t_14: 21.5 M parameters, 6.089 G MACs\n");
    expect("vit_small_patch16", 0, "vit_small_patch16: 22.1 M parameters, 4.599 G MACs\n  known as  DeiT-S\n");
}

Test(info, the_rows_add_up_to_the_totals)
{
    for (int i = 0; zoo_name(i); i++) {
        Command command = command_run(20, T2T " info %s", zoo_name(i));
        cr_assert_eq(command.exit_status, 0, "%s", command.output);
        int64_t params = 0, macs = 0, row_params, row_macs, all_params, all_macs;
        char *totals = strstr(command.output, "\n  parameters  ");
        for (char *line = strstr(command.output, "  layer"); line && line < totals; line = strchr(line + 1, '\n'))
            if (sscanf(line, " %*s %*d x %*d %" SCNd64 " %" SCNd64, &row_params, &row_macs) == 2) {
                params += row_params;
                macs += row_macs;
            }
        cr_assert_eq(sscanf(totals, " parameters  %" SCNd64, &all_params), 1);
        cr_assert_eq(sscanf(strstr(totals, "MACs"), "MACs %" SCNd64, &all_macs), 1);
        cr_assert(params == all_params && macs == all_macs, "%s:\n%s", zoo_name(i), command.output);
        command_free(&command);
    }
}

static char path[4096];

static void save(const ModelConfig *config, const char *name)
{
    ParamTable table;
    Error error = {0};
    const char *const metadata[] = {"note", "from\x1b[2J a test", NULL};
    cr_assert_eq(params_build(&table, config, &error), STATUS_OK);
    float *weights = malloc((size_t)table.size * sizeof *weights);
    params_init(&table, 1, weights);
    snprintf(path, sizeof path, "%s/%s", temporary_folder(), name);
    cr_assert_eq(weights_save(path, &table, weights, metadata, &error), STATUS_OK, "%s", error.message);
    free(weights);
    params_free(&table);
}

Test(info, a_weights_file_tells_its_model)
{
    ModelConfig config = golden_model("t2t_vit_7");
    save(&config, "seven.safetensors");
    expect(path, 0, "111 tensors, 4310222 values, 17.2 MB, F32\n");
    expect(path, 0, "  note: from\\x1B[2J a test\n");
    expect(path, 0, "  fits t2t_vit_7\n");
    config.num_classes = 10;
    config.img_size = 96;
    save(&config, "ten.safetensors");
    expect(path, 0, "  fits t2t_vit_7, with 10 classes, at 96 x 96 pixels\n");
}

Test(info, models_that_differ_in_heads_alone_are_both_named)
{
    ModelConfig config = golden_model("t2t_vit_14");
    save(&config, "w");
    expect(path, 0, "  fits t2t_vit_14\n  fits t2t_vit_14_resnext\n");
}

Test(info, what_keeps_a_file_from_fitting_is_listed)
{
    ModelConfig config = golden_model("t2t_vit_7");
    config.depth = 6;
    config.qkv_bias = true;
    save(&config, "w");
    expect(path, 0, "  fits no published model; t2t_vit_7 differs in 17 tensors:\n");
    expect(path, 0, "    missing  blocks.6.attn.proj.weight (256, 256)\n");
    expect(path, 0, "    extra    blocks.5.attn.qkv.bias (768)\n");
    char arguments[4200];
    snprintf(arguments, sizeof arguments, "%s --set model=t2t_vit_7 --set depth=6 --set qkv_bias=true", path);
    expect(arguments, 0, "  fits t2t_vit_7\n");
    snprintf(arguments, sizeof arguments, "%s --set model=t2t_vit_7 --set embed_dim=128", path);
    expect(arguments, 0, "  fits no such model; ");
    expect(arguments, 0, "    shape    cls_token: expected (1, 1, 128), found (1, 1, 256)\n");
    expect(arguments, 0, "more: --tensors lists them\n");
}

/* What trace writes, say: a comparison with a model would list every tensor of the model. */
Test(info, a_file_without_a_model_is_not_compared_with_one)
{
    static const char HEADER[] = "{\"__metadata__\":{\"epoch\":\"9\"},\"logits\":{\"dtype\":\"F32\",\"shape\":[1,2],"
                                 "\"data_offsets\":[0,8]}}";
    char file[8 + sizeof HEADER - 1 + 8] = {(char)(sizeof HEADER - 1)};
    Error error = {0};
    memcpy(file + 8, HEADER, sizeof HEADER - 1);
    snprintf(path, sizeof path, "%s/logits.safetensors", temporary_folder());
    cr_assert_eq(file_write(path, file, sizeof file, &error), STATUS_OK, "%s", error.message);
    expect(path, 0, "  epoch: 10 (9 in the file, which counts from 0)\n");
    expect(path, 0, "  weights of no model: not one tensor is called as one of a model's\n");
    expect(path, 0, "  logits ");
}

Test(info, all_models_at_once)
{
    expect("--models", 0, "t2t_vit_14                      21.55     4.783     197    384      14      6   81.5\n");
    Command command = command_run(20, T2T " info --models --json");
    json_t *list = json_loads(command.output, 0, NULL);
    cr_assert_not_null(list, "%s", command.output);
    size_t count = 0;
    while (zoo_name((int)count)) count++;
    cr_expect_eq(json_array_size(list), count);
    json_t *last = json_array_get(list, count - 1);
    cr_expect_str_eq(json_string_value(json_object_get(last, "name")), zoo_name((int)count - 1));
    cr_expect(json_is_null(json_object_get(last, "published_top1")));
    cr_expect(strstr(json_string_value(json_object_get(last, "note")), "not DeiT-S"));
    json_decref(list);
    command_free(&command);
}

Test(info, a_weights_file_is_compared_with_the_configuration_in_it)
{
    Config own;
    ParamTable table;
    Error error = {0};
    char *text, arguments[4200];
    const char *sets[] = {"model=t2t_vit_7", "depth=2", "img_size=32", "embed_dim=32", "num_classes=10"};
    cr_assert_eq(config_load(&own, NULL, sets, 5, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(config_text(&own, &text, &error), STATUS_OK);
    const char *const metadata[] = {"config", text, "a\x1b[31m<b>", "c\x1b[0m\"d", NULL};
    cr_assert_eq(params_build(&table, &own.model, &error), STATUS_OK);
    float *weights = calloc((size_t)table.size, sizeof *weights);
    snprintf(path, sizeof path, "%s/own.safetensors", temporary_folder());
    cr_assert_eq(weights_save(path, &table, weights, metadata, &error), STATUS_OK, "%s", error.message);
    expect(path, 0, "  fits the configuration in it: t2t_vit_7\n");
    expect(path, 0, "  a\\x1B[31m<b>: c\\x1B[0m\"d\n");
    snprintf(arguments, sizeof arguments, "%s --json", path);
    Command command = command_run(20, T2T " info %s", arguments);
    json_t *object = json_loads(command.output, 0, NULL);
    cr_assert_not_null(object, "%s", command.output);
    cr_expect_str_eq(json_string_value(json_object_get(json_object_get(object, "metadata"), "config")), text);
    cr_expect_eq(json_integer_value(json_object_get(object, "mismatches")), 0);
    cr_expect_eq(json_array_size(json_object_get(object, "tensors")), (size_t)table.count);
    cr_expect_null(strchr(command.output, '\x1b'));
    json_decref(object);
    command_free(&command);
    free(text);
    free(weights);
    params_free(&table);
}

Test(info, wrong_usage_and_bad_files_have_their_exit_statuses)
{
    expect("", 2, "t2t info --help");
    expect("--help", 0, "t2t_vit_14_resnext");
    expect("--nonsense", 2, "t2t info --help");
    expect("t2t_vit_8", 2, "there is no model 't2t_vit_8'; did you mean t2t_vit_7?");
    expect("t2t_vit_7 t2t_vit_10", 2, "one thing at a time");
    expect("t2t_vit_7 --set img_size=230", 2, "img_size");
    expect(temporary_folder(), 3, temporary_folder());
    Error error = {0};
    snprintf(path, sizeof path, "%s/x.safetensors", temporary_folder());
    cr_assert_eq(file_write(path, "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10, &error), STATUS_OK);
    expect(path, 3, "claims 9223372036854775807 bytes");
}
