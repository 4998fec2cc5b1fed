#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/model/weights.h"
#include "tests/support/command.h"
#include "tests/support/golden.h"
#include "tests/support/models.h"

static char path[4096];

static const char *in_folder(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", temporary_folder(), name);
    return path;
}

typedef struct Case {
    ModelConfig config;
    ParamTable table;
    float *weights;
    size_t bytes;
} Case;

static Case make(ModelConfig config, uint64_t seed)
{
    Case c = {.config = config};
    Error error = {0};
    cr_assert_eq(zoo_check(&config, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(params_build(&c.table, &config, &error), STATUS_OK, "%s", error.message);
    c.bytes = (size_t)c.table.size * sizeof(float);
    c.weights = malloc(c.bytes);
    params_init(&c.table, seed, c.weights);
    return c;
}

static void release(Case *c)
{
    free(c->weights);
    params_free(&c->table);
}

static void save(const Case *c)
{
    Error error = {0};
    cr_assert_eq(weights_save(in_folder("w.safetensors"), &c->table, c->weights, NULL, &error), STATUS_OK, "%s",
                 error.message);
}

static void read_whole(const char *name, char **bytes, size_t *size)
{
    Error error = {0};
    cr_assert_eq(file_read(name, 1 << 30, bytes, size, &error), STATUS_OK, "%s", error.message);
}

Test(weights, round_trip_gives_the_same_bytes)
{
    for (int i = 0; TINY_MODELS[i]; i++) {
        Case saved = make(golden_model(TINY_MODELS[i]), 1), loaded = make(saved.config, 2);
        WeightsReport report;
        Error error = {0};
        char *first, *second;
        size_t first_size, second_size;
        save(&saved);
        read_whole(path, &first, &first_size);
        cr_assert_eq(weights_load(path, &loaded.table, loaded.weights, &report, &error), STATUS_OK, "%s",
                     error.message);
        cr_assert(!report.head_dropped && !report.positions_resized);
        cr_assert_eq(memcmp(saved.weights, loaded.weights, saved.bytes), 0, "%s", TINY_MODELS[i]);
        save(&loaded);
        read_whole(path, &second, &second_size);
        cr_assert_eq(first_size, second_size);
        cr_assert_eq(memcmp(first, second, first_size), 0, "%s", TINY_MODELS[i]);
        free(first), free(second);
        release(&saved), release(&loaded);
    }
}

Test(weights, the_file_holds_the_state_dict_frozen_tensors_included)
{
    Case c = make(golden_model("tiny_performer"), 1);
    save(&c);
    Safetensors file;
    Error error = {0};
    cr_assert_eq(safetensors_open(&file, path, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(file.count, c.table.count);
    for (int i = 0; i < file.count; i++) cr_assert_str_eq(file.entries[i].name, c.table.items[i].name);
    cr_assert(safetensors_find(&file, "pos_embed"));
    cr_assert(safetensors_find(&file, "tokens_to_token.attention2.w"));
    safetensors_close(&file);
    release(&c);
}

Test(weights, another_class_count_drops_the_head)
{
    Case saved = make(golden_model("tiny_performer"), 1);
    ModelConfig config = saved.config;
    config.num_classes = 7;
    Case loaded = make(config, 2), untouched = make(config, 2);
    WeightsReport report;
    Error error = {0};
    save(&saved);
    cr_assert_eq(weights_load(path, &loaded.table, loaded.weights, &report, &error), STATUS_OK, "%s", error.message);
    cr_assert(report.head_dropped && report.file_classes == 10 && !report.positions_resized);
    const Param *head = params_find(&loaded.table, "head.weight");
    cr_assert_eq(memcmp(loaded.weights, saved.weights, (size_t)head->offset * 4), 0, "all before the head is loaded");
    cr_assert_eq(memcmp(loaded.weights + head->offset, untouched.weights + head->offset,
                        loaded.bytes - (size_t)head->offset * 4),
                 0, "the head stays");
    release(&saved), release(&loaded), release(&untouched);
}

Test(weights, another_image_size_resizes_the_positions)
{
    static const char *const NAMES[] = {"tiny_performer", "tiny_vit"}; /* a fixed table and a learned one */
    for (int i = 0; i < 2; i++) {
        Case saved = make(golden_model(NAMES[i]), 1);
        ModelConfig config = saved.config;
        config.img_size = 64;
        Case loaded = make(config, 2);
        WeightsReport report;
        Error error = {0};
        save(&saved);
        cr_assert_eq(weights_load(path, &loaded.table, loaded.weights, &report, &error), STATUS_OK, "%s",
                     error.message);
        int from = zoo_tokens(&saved.config), to = zoo_tokens(&config), dim = config.embed_dim;
        cr_assert(report.positions_resized && report.file_positions == from && !report.head_dropped);
        float *expected = malloc((size_t)(to * dim) * sizeof *expected);
        const Param *old = params_find(&saved.table, "pos_embed"), *new = params_find(&loaded.table, "pos_embed");
        weights_resize_positions(saved.weights + old->offset, (int)sqrt(from - 1), expected, (int)sqrt(to - 1), dim);
        cr_assert_eq(max_abs_difference(loaded.weights + new->offset, expected, to * dim), 0);
        free(expected);
        release(&saved), release(&loaded);
    }
}

Test(weights, positions_resize_as_torch_s_bicubic)
{
    static const struct {
        const char *name;
        int from, to, dim;
    } CASES[] = {{"ops/pos_resize_14_to_24", 14, 24, 16},
                 {"ops/pos_resize_2_to_4", 2, 4, 8},
                 {"ops/pos_resize_7_to_5", 7, 5, 8}};
    for (int i = 0; i < 3; i++) {
        Safetensors file = golden_open(CASES[i].name);
        int64_t in_count, count;
        float *in = golden_floats(&file, "in.x", &in_count), *want = golden_floats(&file, "out.y", &count);
        float *out = malloc((size_t)count * sizeof *out);
        cr_assert_eq(in_count, (1 + CASES[i].from * CASES[i].from) * CASES[i].dim);
        cr_assert_eq(count, (1 + CASES[i].to * CASES[i].to) * CASES[i].dim);
        weights_resize_positions(in, CASES[i].from, out, CASES[i].to, CASES[i].dim);
        double error = max_abs_difference(out, want, count) / max_abs(want, count);
        /* torch computes source coordinates in float: at 13 of 14 that alone is 1e-6. */
        cr_assert_leq(error, 2e-6, "%s: %g off", CASES[i].name, error);
        free(in), free(want), free(out);
        safetensors_close(&file);
    }
}

Test(weights, half_precision_files_are_widened)
{
    Case c = make(golden_model("tiny_se"), 1);
    SafetensorsTensor *tensors = calloc((size_t)c.table.count, sizeof *tensors);
    uint16_t *halves = malloc(c.bytes / 2);
    for (int64_t i = 0; i < c.table.size; i++) halves[i] = (uint16_t)(0x3000 + i % 512);
    for (int i = 0; i < c.table.count; i++) {
        const Param *param = &c.table.items[i];
        tensors[i] = (SafetensorsTensor){param->name, DTYPE_F16, param->ndim, {0}, halves + param->offset};
        memcpy(tensors[i].shape, param->shape, sizeof param->shape);
    }
    Error error = {0};
    WeightsReport report;
    cr_assert_eq(safetensors_write(in_folder("half"), tensors, c.table.count, NULL, &error), STATUS_OK);
    cr_assert_eq(weights_load(path, &c.table, c.weights, &report, &error), STATUS_OK, "%s", error.message);
    for (int i = 0; i < c.table.count; i++)
        for (int64_t j = c.table.items[i].offset; j < c.table.items[i].offset + c.table.items[i].numel; j++)
            cr_assert_eq(c.weights[j], 0.125f * (1 + (float)(j % 512) / 1024));
    free(halves), free(tensors);
    release(&c);
}

/* ---- files that do not fit */

static void refuse(const Case *model, const char *part)
{
    WeightsReport report;
    Error error = {0};
    float *before = malloc(model->bytes);
    memcpy(before, model->weights, model->bytes);
    cr_assert_eq(weights_load(path, &model->table, model->weights, &report, &error), STATUS_DATA, "%s", part);
    cr_assert(strstr(error.message, part), "'%s' lacks '%s'", error.message, part);
    cr_assert(strstr(error.message, path), "'%s' does not name the file", error.message);
    cr_assert_eq(memcmp(before, model->weights, model->bytes), 0, "a refused file must not touch the weights");
    free(before);
}

Test(weights, a_tensor_that_does_not_fit_is_named_with_both_shapes)
{
    Case model = make(golden_model("tiny_performer"), 1);
    ModelConfig other = model.config;
    other.mlp_ratio = 3;
    Case saved = make(other, 1);
    save(&saved);
    refuse(&model, "tensor blocks.0.mlp.fc1.weight: expected (64, 32), found (96, 32)");
    refuse(&model, "and 5 more tensors differ");
    refuse(&model, "hint: `t2t info");
    release(&saved);
    other = model.config;
    other.qkv_bias = true;
    saved = make(other, 1);
    save(&saved);
    refuse(&model, "which has no tensor blocks.0.attn.qkv.bias (96)");
    float *before = saved.weights;
    save(&model);
    refuse(&saved, "tensor blocks.0.attn.qkv.bias (96) is missing");
    saved.weights = before;
    release(&saved);
    release(&model);
}

Test(weights, a_head_of_another_width_is_an_error)
{
    Case model = make(golden_model("tiny_performer"), 1);
    ModelConfig other = model.config;
    other.num_classes = 12;
    Case saved = make(other, 1);
    Param *bias = (Param *)params_find(&saved.table, "head.bias");
    bias->shape[0] = bias->numel = 11; /* weight and bias disagree: no head of any class count */
    save(&saved);
    refuse(&model, "tensor head.weight: expected (10, 32), found (12, 32)");
    bias->shape[0] = bias->numel = 12;
    Param *positions = (Param *)params_find(&saved.table, "pos_embed");
    positions->shape[1] = 4; /* 3 positions besides the class token are no square */
    positions->numel = 4 * 32;
    save(&saved);
    refuse(&model, "tensor pos_embed: expected (1, 5, 32), found (1, 4, 32)");
    release(&saved), release(&model);
}

Test(weights, values_that_are_not_finite_are_refused_by_name)
{
    Case model = make(golden_model("tiny_performer"), 1), saved = make(model.config, 2);
    const Param *param = params_find(&saved.table, "blocks.1.mlp.fc2.weight");
    saved.weights[param->offset + 70] = NAN;
    save(&saved);
    refuse(&model, "element 70 of blocks.1.mlp.fc2.weight is nan");
    saved.weights[param->offset + 70] = -INFINITY;
    save(&saved);
    refuse(&model, "is -inf");
    release(&saved), release(&model);
}

Test(weights, a_file_cut_anywhere_is_refused)
{
    Case model = make(golden_model("tiny_se"), 1);
    save(&model);
    char *bytes;
    size_t size;
    read_whole(path, &bytes, &size);
    for (int i = 0; i < 64; i++) {
        Error error = {0};
        cr_assert_eq(file_write(path, bytes, size * (size_t)i / 64, &error), STATUS_OK);
        refuse(&model, "");
    }
    free(bytes);
    release(&model);
}
