#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/model/zoo.h"
#include "tests/support/golden.h"
#include "tests/support/models.h"

Test(zoo, macs_and_parameters_of_every_published_model)
{
    FILE *file = fopen("tests/goldens/models/summary.tsv", "r");
    cr_assert(file);
    char line[512], name[64];
    cr_assert(fgets(line, sizeof line, file));
    int models = 0;
    while (fgets(line, sizeof line, file)) {
        int img, tensors;
        int64_t params, trainable, linear, attention, conv, total;
        cr_assert_eq(sscanf(line, "%63s %d %" SCNd64 " %" SCNd64 " %d %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64,
                            name, &img, &params, &trainable, &tensors, &linear, &attention, &conv, &total),
                     9);
        ModelConfig config = golden_model(name);
        cr_assert_eq(config.img_size, img);
        Macs macs = zoo_macs(&config);
        cr_assert_eq(macs.linear, linear, "%s: %" PRId64 " linear, expected %" PRId64, name, macs.linear, linear);
        cr_assert_eq(macs.attention, attention, "%s: %" PRId64 " attention", name, macs.attention);
        cr_assert_eq(macs.conv, conv, "%s: %" PRId64 " conv", name, macs.conv);
        cr_assert_eq(macs.linear + macs.attention + macs.conv, total);
        Error error = {0};
        ParamTable table;
        cr_assert_eq(params_build(&table, &config, &error), STATUS_OK, "%s", error.message);
        cr_assert_eq(table.numel, params, "%s: %" PRId64 " parameters", name, table.numel);
        cr_assert_eq(table.trainable, trainable, "%s", name);
        cr_assert_eq(table.count, tensors, "%s", name);
        params_free(&table);
        models++;
    }
    fclose(file);
    cr_assert_eq(models, 16);
}

Test(zoo, vit_baselines_have_the_published_sizes)
{
    /* timm 0.3.4: vit_base_patch16_224, vit_large_patch16_224, vit_small_patch16_224 (which the official T2T-ViT code
     * compares with; the only one without a bias of qkv); DeiT-Ti and DeiT-S by Touvron et al., 2021. */
    static const struct {
        const char *name;
        int64_t params;
        bool official_small;
    } VITS[] = {{"vit_tiny_patch16", 5717416, false},
                {"vit_small_patch16", 22050664, false},
                {"vit_base_patch16", 86567656, false},
                {"vit_large_patch16", 304326632, false},
                {"vit_small_patch16_official", 48754408, true}};
    for (int i = 0; i < 5; i++) {
        ModelConfig config;
        ParamTable table;
        Error error = {0};
        cr_assert_eq(zoo_find(VITS[i].name, &config, &error), STATUS_OK);
        cr_assert_eq(zoo_check(&config, &error), STATUS_OK, "%s", error.message);
        cr_assert_eq(config.qkv_bias, !VITS[i].official_small);
        cr_assert_eq(config.norm_eps, VITS[i].official_small ? 1e-5 : 1e-6);
        cr_assert(zoo_note(&config), "%s needs to be told from others of its name", VITS[i].name);
        cr_assert_eq(zoo_tokens(&config), 197);
        cr_assert_eq(params_build(&table, &config, &error), STATUS_OK);
        cr_assert_eq(table.numel, VITS[i].params, "%s: %" PRId64, VITS[i].name, table.numel);
        cr_assert_eq(table.trainable, table.numel);
        const Param *positions = params_find(&table, "pos_embed");
        cr_assert(positions && positions->trainable && !positions->decay);
        cr_assert(params_find(&table, "patch_embed.proj.weight")->decay);
        params_free(&table);
    }
}

/* timm changed what that name means; neither of the two is what a nearest name would give. */
Test(zoo, a_name_of_two_models_is_refused_with_both)
{
    ModelConfig config;
    Error error = {0};
    cr_assert_eq(zoo_find("vit_small_patch16_224", &config, &error), STATUS_USAGE);
    cr_assert(strstr(error.message, "DeiT-S"), "%s", error.message);
    cr_assert(strstr(error.message, "is vit_small_patch16 here"), "%s", error.message);
    cr_assert(strstr(error.message, "is vit_small_patch16_official here"), "%s", error.message);
}

Test(zoo, every_model_passes_its_own_check)
{
    for (int i = 0; zoo_name(i); i++) {
        ModelConfig config;
        Error error = {0};
        cr_assert_eq(zoo_find(zoo_name(i), &config, &error), STATUS_OK);
        cr_assert_str_eq(config.name, zoo_name(i));
        cr_assert_eq(zoo_check(&config, &error), STATUS_OK, "%s: %s", zoo_name(i), error.message);
    }
}

Test(zoo, an_unknown_name_gets_the_nearest)
{
    static const struct {
        const char *wanted, *nearest;
    } CASES[] = {{"T2t_vit_14", "did you mean t2t_vit_14?"},
                 {"t2t_vit14", "did you mean t2t_vit_14?"},
                 {"t2t_vit_14_resnet", "did you mean t2t_vit_14_resnext?"},
                 {"vit_smal_patch16", "did you mean vit_small_patch16?"}};
    for (int i = 0; i < 4; i++) {
        ModelConfig config;
        Error error = {0};
        cr_assert_eq(zoo_find(CASES[i].wanted, &config, &error), STATUS_USAGE);
        cr_assert(strstr(error.message, CASES[i].nearest), "%s", error.message);
    }
    ModelConfig config;
    Error error = {0};
    cr_assert_eq(zoo_find("resnet50", &config, &error), STATUS_USAGE);
    cr_assert(!strstr(error.message, "did you mean"), "%s", error.message);
    cr_assert(strstr(error.message, "t2t_vit_14_se"), "the message lists the models: %s", error.message);
}

static void expect_refused(const ModelConfig *config, const char *part)
{
    Error error = {0};
    cr_assert_eq(zoo_check(config, &error), STATUS_USAGE, "should refuse: %s", part);
    cr_assert(strstr(error.message, part), "'%s' lacks '%s'", error.message, part);
}

Test(zoo, impossible_shapes_are_refused_with_one_that_fits)
{
    const ModelConfig good = golden_model("t2t_vit_14");
    ModelConfig config = good;
    config.img_size = 230;
    expect_refused(&config, "nearest that can is 224");
    config.img_size = 28;
    expect_refused(&config, "nearest that can is 32");
    config = good;
    config.num_heads = 5;
    expect_refused(&config, "nearest that does is 4");
    config = good;
    config.embed_dim = 1 << 30;
    expect_refused(&config, "embed_dim");
    config = good;
    config.splits[1] = (SoftSplit){3, 4, 1};
    expect_refused(&config, "splits: number 2");
    config = good;
    config.splits[0].stride = 0;
    expect_refused(&config, "splits: number 1");
    config = good;
    config.drop_path = 1;
    expect_refused(&config, "drop_path");
    config = good;
    config.mlp_ratio = NAN;
    expect_refused(&config, "mlp_ratio");
    config = golden_model("t2t_vit_16_ghost");
    config.mlp_ratio = 4;
    expect_refused(&config, "must be 3");
    config = golden_model("t2t_vit_dense");
    config.growth_rate = 0;
    expect_refused(&config, "growth_rate");
    config = golden_model("t2t_vit_dense");
    config.block_config[1] = 7; /* the second transition's width is no longer a multiple of 8 */
    config.growth_rate = 60;
    expect_refused(&config, "num_heads");
}

Test(zoo, small_images_choose_their_own_splits)
{
    ModelConfig config = golden_model("t2t_vit_7");
    config.img_size = 28;
    config.splits[0] = (SoftSplit){3, 1, 1};
    Error error = {0};
    cr_assert_eq(zoo_check(&config, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(zoo_split_side(&config, 0), 28);
    cr_assert_eq(zoo_split_side(&config, 1), 14);
    cr_assert_eq(zoo_tokens(&config), 50);
    cr_assert_eq(zoo_split_width(&config, 0), 27);
    cr_assert_eq(zoo_split_width(&config, 2), 576);
}

Test(zoo, drop_path_rates)
{
    Safetensors file = golden_open("ops/drop_path_rates");
    static const int DEPTHS[] = {4, 7, 10, 12, 14, 16, 19, 24};
    for (int i = 0; i < 8; i++) {
        char name[32];
        snprintf(name, sizeof name, "rate0.1_depth%d", DEPTHS[i]);
        int64_t count;
        double *rates = golden_doubles(&file, name, &count);
        ModelConfig config = golden_model("t2t_vit_14");
        config.depth = DEPTHS[i];
        config.drop_path = 0.1;
        cr_assert_eq(count, zoo_blocks(&config));
        for (int block = 0; block < count; block++)
            cr_assert_float_eq(zoo_block(&config, block).drop_path, rates[block], 1e-8, "depth %d, block %d", DEPTHS[i],
                               block);
        free(rates);
    }
    /* The dense model counts groups, not blocks, over a list of 12: the last group gets 3/11 of the rate. */
    ModelConfig dense = golden_model("t2t_vit_dense");
    dense.drop_path = 0.1;
    int64_t count;
    double *rates = golden_doubles(&file, "rate0.1_depth12", &count);
    static const int GROUPS[] = {0, 0, 0, -1, 1, 1, 1, 1, 1, 1, -1, 2, 2, 2, 2, 2, 2, -1, 3, 3, 3, 3};
    cr_assert_eq(zoo_blocks(&dense), 22);
    for (int block = 0; block < 22; block++) {
        BlockShape shape = zoo_block(&dense, block);
        cr_assert_eq(shape.transition, GROUPS[block] < 0);
        if (!shape.transition) cr_assert_float_eq(shape.drop_path, rates[GROUPS[block]], 1e-8);
    }
    free(rates);
    safetensors_close(&file);
}

Test(zoo, published_accuracies_are_of_the_published_setting)
{
    ModelConfig config;
    Error error = {0};
    cr_assert_eq(zoo_find("t2t_vit_14", &config, &error), STATUS_OK);
    cr_expect_float_eq(zoo_published_top1(&config), 81.5, 1e-9);
    config.img_size = 384;
    cr_expect_float_eq(zoo_published_top1(&config), 83.3, 1e-9);
    config.img_size = 192;
    cr_expect(isnan(zoo_published_top1(&config)));
    config.img_size = 224;
    config.num_classes = 10;
    cr_expect(isnan(zoo_published_top1(&config)));
    cr_assert_eq(zoo_find("vit_tiny_patch16", &config, &error), STATUS_OK);
    cr_expect(isnan(zoo_published_top1(&config)));
}
