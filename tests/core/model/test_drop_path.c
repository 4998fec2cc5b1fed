/* Branches that drop path dropped are not computed; the result must be that of computing and multiplying them by 0. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/model_internal.h"
#include "tests/support/golden.h"
#include "tests/support/models.h"
#include "tests/support/trial.h"

enum { IMAGES = 11, CLASSES = 10 };

static const uint64_t SAMPLES[] = {11, 7, 100000, 3, 5, 13, 17, 19, 23, 29, 31};

static Trial start(const ModelConfig *config, int batch, const uint64_t *samples)
{
    Trial trial = trial_start(config, batch, MODEL_TRAIN, 2);
    trial.input.seed = 3;
    trial.input.training = samples != NULL;
    trial.input.samples = samples;
    return trial;
}

static void scale_tensor(const ParamTable *table, const char *name, float factor, float *vector)
{
    const Param *param = params_find(table, name);
    for (int64_t i = 0; param && i < param->numel; i++) vector[param->offset + i] *= factor;
}

static float factor_of(const ModelConfig *config, int block, int branch, uint64_t sample)
{
    int memory[3];
    StepContext step = {.training = true, .seed = 3, .samples = &sample, .batch = 1};
    DropPathMask kept =
        drop_path_sample(&step, 1 + TOKEN_LAYERS + block, branch, zoo_block(config, block).drop_path, 1, memory);
    return kept.count ? kept.factor : 0.0f;
}

/* Multiplies the last layer of each branch in a vector by what drop path makes of it for this sample. */
static void scale_branches(const ModelConfig *config, const ParamTable *table, uint64_t sample, float *vector)
{
    static const char *const LAST[] = {"attn.proj", "mlp.fc2"};
    char name[64];
    for (int i = 0; i < zoo_blocks(config); i++)
        for (int branch = 0; branch < BRANCHES; branch++) {
            float factor = factor_of(config, i, branch, sample);
            snprintf(name, sizeof name, "blocks.%d.%s.weight", i, LAST[branch]);
            scale_tensor(table, name, factor, vector);
            snprintf(name, sizeof name, "blocks.%d.%s.bias", i, LAST[branch]);
            scale_tensor(table, name, factor, vector);
        }
}

static void check(const char *name, int depth, double rate)
{
    ModelConfig config = golden_model(name);
    if (config.variant != VARIANT_DENSE) config.depth = depth;
    config.drop_path = rate;
    config.token_dropout = 0;
    Trial all = start(&config, IMAGES, SAMPLES), one = start(&config, 1, NULL);
    trial_forward(&all);
    trial_backward(&all);
    size_t pixels = (size_t)(3 * config.img_size * config.img_size), size = (size_t)all.table->size * sizeof(float);
    float *images = all.images, *total = calloc(1, size), *weights = malloc(size);
    memcpy(weights, one.weights, size);
    for (int b = 0; b < IMAGES; b++) {
        memcpy(one.weights, weights, size);
        scale_branches(&config, one.table, SAMPLES[b], one.weights);
        memcpy(one.images, images + (size_t)b * pixels, pixels * sizeof(float));
        trial_forward(&one);
        cr_assert_lt(max_abs_difference(one.logits, all.logits + b * CLASSES, CLASSES),
                     1e-5 * max_abs(one.logits, CLASSES), "%s, image %d", name, b);
        memcpy(one.dlogits, all.dlogits + b * CLASSES, CLASSES * sizeof(float));
        trial_backward(&one);
        scale_branches(&config, one.table, SAMPLES[b], one.grads);
        for (int64_t i = 0; i < one.table->size; i++) total[i] += one.grads[i];
    }
    for (int i = 0; i < all.table->count; i++) {
        const Param *param = &all.table->items[i];
        const float *got = all.grads + param->offset, *expected = total + param->offset;
        if (max_abs(expected, param->numel) < 1e-12)
            cr_assert_lt(max_abs(got, param->numel), 1e-12, "%s %s", name, param->name);
        else
            cr_assert_lt(relative_l2(got, expected, param->numel), 1e-5, "%s %s", name, param->name);
    }
    free(total);
    free(weights);
    trial_end(&all);
    trial_end(&one);
}

/* Not SE, whose gate sees the projection before the factor: finite differences cover it (test_model_rules.c). */
Test(drop_path, what_is_dropped_counts_as_nothing)
{
    check("tiny_performer", 4, 0.5);
    check("tiny_transformer_qkvbias", 3, 0.7);
    check("tiny_ghost", 4, 0.5);
    check("tiny_dense", 0, 0.5);
    check("tiny_vit", 4, 0.5);
}

Test(drop_path, a_block_that_nobody_keeps)
{
    check("tiny_performer", 4, 0.9999);
    check("tiny_ghost", 2, 0.9999);
    check("tiny_dense", 0, 0.9999);
}

Test(drop_path, a_batch_whose_every_image_drops_the_last_block_has_no_gradient_there)
{
    ModelConfig config = golden_model("tiny_se");
    config.drop_path = 0.9999;
    Trial trial = start(&config, 3, SAMPLES);
    trial_forward(&trial);
    trial_backward(&trial);
    char prefix[32];
    snprintf(prefix, sizeof prefix, "blocks.%d.", config.depth - 1);
    for (int i = 0; i < trial.table->count; i++) {
        const Param *param = &trial.table->items[i];
        if (strncmp(param->name, prefix, strlen(prefix)) == 0)
            cr_assert_eq(max_abs(trial.grads + param->offset, param->numel), 0, "%s", param->name);
    }
    trial_end(&trial);
}

/* ---- spans */

Test(drop_path, spans_of_tiles_cover_the_kept_rows_once)
{
    int memory[2 * IMAGES + 1];
    StepContext step = {.training = true, .seed = 5, .samples = SAMPLES, .batch = IMAGES};
    for (int tokens = 1; tokens < 300; tokens += 1 + tokens / 3)
        for (int tile = 1; tile < 400; tile += 1 + tile / 2) {
            DropPathMask kept = drop_path_sample(&step, 1, 0, 0.5, tokens, memory);
            int64_t next = 0, rows = (int64_t)IMAGES * tokens;
            for (int64_t first = 0; first < rows; first += tile) {
                Span span = kept_rows(&kept, first, (int)(rows - first < tile ? rows - first : tile));
                cr_assert_eq(span.first, next);
                cr_assert(span.rows >= 0 && span.rows <= tile);
                next += span.rows;
            }
            cr_assert_eq(next, (int64_t)kept.count * tokens);
            for (int i = 0; i < kept.count; i++) cr_assert_eq(kept.before[kept.images[i]], i);
        }
}
