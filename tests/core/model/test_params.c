#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/params.h"
#include "tests/support/golden.h"
#include "tests/support/models.h"

static ParamTable build(const ModelConfig *config)
{
    ParamTable table;
    Error error = {0};
    cr_assert_eq(zoo_check(config, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(params_build(&table, config, &error), STATUS_OK, "%s", error.message);
    return table;
}

/* One line of <model>.params.tsv: index name shape numel trainable fill scale decay. */
static void check_line(const Param *param, const char *model, const char *line)
{
    char name[128], shape[64], fill[32], ours[128] = "";
    int index, trainable, decay;
    int64_t numel;
    double scale;
    cr_assert_eq(sscanf(line, "%d %127s %63s %" SCNd64 " %d %31s %lf %d", &index, name, shape, &numel, &trainable, fill,
                        &scale, &decay),
                 8);
    for (int i = 0; i < param->ndim; i++)
        snprintf(ours + strlen(ours), sizeof ours - strlen(ours), "%s%" PRId64, i ? "x" : "", param->shape[i]);
    cr_assert_str_eq(param->name, name, "%s, tensor %d", model, index);
    cr_assert_str_eq(ours, shape, "%s %s", model, name);
    cr_assert_eq(param->numel, numel, "%s %s", model, name);
    cr_assert_eq(param->trainable, trainable, "%s %s", model, name);
    cr_assert_eq(param->decay, decay, "%s %s", model, name);
}

static void check_model(const char *model)
{
    char path[256], line[512];
    snprintf(path, sizeof path, "tests/goldens/models/%s.params.tsv", model);
    FILE *file = fopen(path, "r");
    cr_assert(file, "%s", path);
    ModelConfig config = golden_model(model);
    ParamTable table = build(&config);
    cr_assert(fgets(line, sizeof line, file));
    int lines = 0;
    for (; fgets(line, sizeof line, file); lines++) {
        cr_assert_lt(lines, table.count, "%s", model);
        check_line(&table.items[lines], model, line);
    }
    cr_assert_eq(lines, table.count, "%s", model);
    fclose(file);
    params_free(&table);
}

Test(params, names_shapes_and_decay_of_every_golden_model)
{
    for (int i = 0; zoo_name(i); i++)
        if (strncmp(zoo_name(i), "vit_", 4) != 0) check_model(zoo_name(i));
    check_model("t2t_vit_14_384");
    for (int i = 0; TINY_MODELS[i]; i++) check_model(TINY_MODELS[i]);
}

Test(params, ghost_attention_with_bias_keeps_the_official_order)
{
    ModelConfig config = golden_model("tiny_ghost");
    config.qkv_bias = true;
    ParamTable table = build(&config);
    static const char *const ORDER[] = {
        "blocks.0.attn.q.weight",
        "blocks.0.attn.q.bias",
        "blocks.0.attn.k.weight",
        "blocks.0.attn.k.bias",
        "blocks.0.attn.v.weight",
        "blocks.0.attn.v.bias",
        "blocks.0.attn.cheap_operation_q.weight",
    };
    const Param *first = params_find(&table, ORDER[0]);
    cr_assert(first);
    for (int i = 0; i < 7; i++) cr_assert_str_eq(first[i].name, ORDER[i]);
    params_free(&table);
}

Test(params, tensors_are_aligned_and_groups_are_slices_in_order)
{
    for (int i = 0; zoo_name(i); i++) {
        ModelConfig config = golden_model(zoo_name(i));
        ParamTable table = build(&config);
        cr_assert_eq(table.groups, zoo_blocks(&config) + 2);
        int64_t end = 0;
        int group = 0;
        for (int j = 0; j < table.count; j++) {
            const Param *param = &table.items[j];
            cr_assert_eq(param->offset % 16, 0);
            cr_assert(param->offset >= end && param->offset < end + 16);
            cr_assert(param->group == group || param->group == group + 1);
            group = param->group;
            end = param->offset + param->numel;
            cr_assert_eq(params_find(&table, param->name), param);
        }
        cr_assert_eq(group, table.groups - 1);
        cr_assert(table.size >= end && table.size < end + 16 && table.size % 16 == 0);
        params_free(&table);
    }
}

Test(params, sinusoid_table)
{
    static const struct {
        const char *name;
        int64_t positions, width;
    } CASES[] = {{"n5_d32", 5, 32}, {"n17_d48", 17, 48}, {"n197_d64", 197, 64}};
    Safetensors file = golden_open("ops/pos_embed");
    float *ours = malloc(197 * 384 * sizeof *ours);
    int64_t count;
    for (int i = 0; i < 3; i++) {
        float *golden = golden_floats(&file, CASES[i].name, &count);
        cr_assert_eq(count, CASES[i].positions * CASES[i].width);
        params_sinusoid(CASES[i].positions, CASES[i].width, ours);
        cr_assert_leq(max_abs_difference(ours, golden, count), 6e-8);
        free(golden);
    }
    static const int ROWS[] = {0, 1, 98, 196};
    float *golden = golden_floats(&file, "n197_d384_rows_0_1_98_196", &count);
    params_sinusoid(197, 384, ours);
    for (int i = 0; i < 4; i++) cr_assert_leq(max_abs_difference(ours + ROWS[i] * 384, golden + i * 384, 384), 6e-8);
    free(golden);
    free(ours);
    safetensors_close(&file);
}

static double mean_square(const float *x, int64_t count, double *mean)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += x[i];
        squares += (double)x[i] * x[i];
    }
    *mean = sum / (double)count;
    return squares / (double)count;
}

Test(params, init_draws_what_the_reference_draws)
{
    ModelConfig config = golden_model("t2t_vit_16_ghost");
    config.depth = 2;
    ParamTable table = build(&config);
    float *weights = malloc((size_t)table.size * sizeof *weights);
    params_init(&table, 1, weights);
    for (int i = 0; i < table.count; i++) {
        const Param *param = &table.items[i];
        const float *x = weights + param->offset;
        double mean, square = mean_square(x, param->numel, &mean), error = 5 / sqrt((double)param->numel);
        switch (param->init) {
        case INIT_ZERO:
            cr_assert_eq(square, 0, "%s", param->name);
            break;
        case INIT_ONE:
            cr_assert(mean == 1 && square == 1, "%s", param->name);
            break;
        case INIT_NORMAL:
            cr_assert_float_eq(mean / 0.02, 0, error, "%s", param->name);
            cr_assert_float_eq(square / 0.0004, 1, 2 * error, "%s", param->name);
            cr_assert_lt(max_abs(x, param->numel), 0.13, "%s", param->name);
            break;
        case INIT_UNIFORM: /* ghost's Conv1d: fan_in 1 */
            cr_assert_float_eq(square, 1.0 / 3, error, "%s", param->name);
            cr_assert_leq(max_abs(x, param->numel), 1, "%s", param->name);
            break;
        case INIT_SINUSOID:
            cr_assert_eq(x[1], 1);
            break;
        case INIT_ORTHOGONAL: /* rows x rows' = m I */
            for (int64_t a = 0; a < 32; a++)
                for (int64_t b = 0; b < 32; b++) {
                    double dot = 0;
                    for (int64_t j = 0; j < 64; j++) dot += (double)x[a * 64 + j] * x[b * 64 + j];
                    cr_assert_float_eq(dot, a == b ? 32 : 0, 2e-5, "%s %d %d", param->name, (int)a, (int)b);
                }
            break;
        }
    }
    free(weights);
    params_free(&table);
}

Test(params, init_is_a_function_of_the_seed)
{
    ModelConfig config = golden_model("tiny_performer");
    ParamTable table = build(&config);
    size_t bytes = (size_t)table.size * sizeof(float);
    float *a = malloc(bytes), *b = malloc(bytes);
    memset(b, 0xff, bytes);
    params_init(&table, 5, a);
    params_init(&table, 5, b);
    cr_assert_eq(memcmp(a, b, bytes), 0, "the gaps between tensors are zero, too");
    params_init(&table, 6, b);
    const Param *first = params_find(&table, "tokens_to_token.attention1.w"), *second = first + 13;
    cr_assert_str_eq(second->name, "tokens_to_token.attention2.w");
    cr_assert_neq(memcmp(a + first->offset, b + first->offset, 64), 0, "another seed");
    cr_assert_neq(memcmp(a + first->offset, a + second->offset, 64), 0, "another tensor");
    free(a);
    free(b);
    params_free(&table);
}

/* A convolution's weight and bias start within 1/sqrt(fan_in), and come near it. */
static void check_convolution(const ParamTable *table, const float *weights, const char *name, int fan_in)
{
    double bound = 1 / sqrt(fan_in);
    for (int i = 0; i < 2; i++) {
        char full[64];
        snprintf(full, sizeof full, "%s.%s", name, i ? "bias" : "weight");
        const Param *param = params_find(table, full);
        double most = max_abs(weights + param->offset, param->numel);
        cr_assert(most <= bound && most > 0.9 * bound, "%s: %g of %g", full, most, bound);
    }
}

Test(params, init_of_convolutions_follows_their_fan_in)
{
    ModelConfig config = golden_model("vit_tiny_patch16");
    ParamTable table = build(&config);
    float *weights = malloc((size_t)table.size * sizeof *weights);
    params_init(&table, 1, weights);
    check_convolution(&table, weights, "patch_embed.proj", 768);
    free(weights);
    params_free(&table);
    config = golden_model("t2t_vit_c_14");
    table = build(&config);
    weights = malloc((size_t)table.size * sizeof *weights);
    params_init(&table, 1, weights);
    check_convolution(&table, weights, "tokens_to_token.soft_split0", 147);
    check_convolution(&table, weights, "tokens_to_token.soft_split1", 576);
    check_convolution(&table, weights, "tokens_to_token.project", 576);
    free(weights);
    params_free(&table);
}

Test(params, nonfinite_values_are_found_and_named)
{
    ModelConfig config = golden_model("tiny_se");
    ParamTable table = build(&config);
    float *weights = calloc((size_t)table.size, sizeof *weights);
    const Param *where = NULL, *head = params_find(&table, "head.bias");
    cr_assert_eq(params_find_nonfinite(&table, weights, &where), -1);
    weights[head->offset + 9] = INFINITY;
    cr_assert_eq(params_find_nonfinite(&table, weights, &where), head->offset + 9);
    cr_assert_eq(where, head);
    weights[3] = NAN;
    cr_assert_eq(params_find_nonfinite(&table, weights, &where), 3);
    cr_assert_str_eq(where->name, "cls_token");
    free(weights);
    params_free(&table);
}
