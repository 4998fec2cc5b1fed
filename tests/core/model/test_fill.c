#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/golden.h"
#include "tests/support/models.h"

/* The goldens stand on the deterministic fill: these are the reference's own first values. */
Test(fill, first_values_of_each_stream)
{
    static const char *const STREAMS[] = {"input", "cls_token", "blocks.0.attn.qkv.weight",
                                          "tokens_to_token.attention1.w", "head.bias"};
    Safetensors file = golden_open("ops/fill_examples");
    for (int i = 0; i < 5; i++) {
        char name[64];
        int64_t count;
        snprintf(name, sizeof name, "h.%s", STREAMS[i]);
        int64_t *hashes = golden_ints(&file, name, &count);
        snprintf(name, sizeof name, "u.%s", STREAMS[i]);
        float *units = golden_floats(&file, name, &count);
        cr_assert_eq(count, 16);
        for (int j = 0; j < 16; j++) {
            cr_assert_eq(fill_hash(STREAMS[i], (uint64_t)j), (uint64_t)hashes[j]);
            cr_assert_eq((float)fill_unit(STREAMS[i], (uint64_t)j), units[j]);
        }
        free(hashes);
        free(units);
    }
    int64_t count;
    int64_t *labels = golden_ints(&file, "label10.target", &count);
    for (int64_t j = 0; j < count; j++) cr_assert_eq((int64_t)(fill_hash("target", (uint64_t)j) % 10), labels[j]);
    free(labels);
    safetensors_close(&file);
}

Test(fill, scales_follow_the_rule_of_each_kind)
{
    ModelConfig config = golden_model("tiny_ghost");
    Error error = {0};
    ParamTable table;
    cr_assert_eq(params_build(&table, &config, &error), STATUS_OK);
    float *weights = malloc((size_t)table.size * sizeof *weights);
    fill_weights(&table, weights);
    static const struct {
        const char *name;
        double shift, scale;
    } CASES[] = {{"cls_token", 0, 0.1},
                 {"tokens_to_token.attention1.w", 0, 1.2247448713915889},
                 {"tokens_to_token.attention1.kqv.weight", 0, 0.035714285714285712},
                 {"blocks.0.attn.cheap_operation_q.weight", 0, 1.7320508075688772},
                 {"blocks.0.mlp.fc2.weight", 0, 0.17677669529663689},
                 {"norm.weight", 1, 0.1},
                 {"head.bias", 0, 0.1}};
    for (int i = 0; i < 7; i++) {
        const Param *param = params_find(&table, CASES[i].name);
        cr_assert(param, "%s", CASES[i].name);
        for (uint64_t j = 0; j < (uint64_t)param->numel; j++)
            cr_assert_eq(weights[param->offset + (int64_t)j],
                         (float)(CASES[i].shift + CASES[i].scale * fill_unit(CASES[i].name, j)), "%s", CASES[i].name);
    }
    free(weights);
    params_free(&table);
}
