/* Every key: that it is described, that it reaches its field, and that editors know it. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist/config/config_keys.h"

Test(config_keys, help_describes_every_key)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_describe(out);
    fclose(out);
    for (int i = 0; i < config_key_count(); i++) {
        const Key *key = config_key(i);
        char line[512], expected[256];
        config_expected(key, expected, sizeof expected);
        snprintf(line, sizeof line, "\n  %-18s %s\n  %-18s %s; default ", key->name, key->meaning, "", expected);
        cr_assert_not_null(strstr(text, line), "%s", line);
    }
    free(text);
}

static void set(Config *config, const char *assignment)
{
    Error error = {0};
    cr_assert_eq(config_set(config, assignment, &error), STATUS_OK, "%s", error.message);
}

/* Row by row: the key reaches its field, and no other key's value changes with it. */
#define EXPECT(key, text, field, value)                                                                                \
    do {                                                                                                               \
        char differences[1024];                                                                                        \
        Config before = config;                                                                                        \
        set(&config, key "=" text);                                                                                    \
        cr_assert(config.field == (value), key);                                                                       \
        cr_assert_eq(config_differences(&config, &before, true, differences, sizeof differences), 1, "%s",             \
                     differences);                                                                                     \
        seen++;                                                                                                        \
    } while (0)

Test(config_keys, every_key_reaches_its_field)
{
    Config config;
    int seen = 0;
    config_defaults(&config);
    EXPECT("img_size", "96", model.img_size, 96);
    EXPECT("num_classes", "11", model.num_classes, 11);
    EXPECT("init_weights", "w", init_weights[0], 'w');
    EXPECT("drop", "0.11", model.drop, 0.11);
    EXPECT("attn_drop", "0.12", model.attn_drop, 0.12);
    EXPECT("drop_path", "0.13", model.drop_path, 0.13);
    EXPECT("token_dropout", "0.14", model.token_dropout, 0.14);
    EXPECT("tokens_type", "transformer", model.tokens_type, TOKENS_TRANSFORMER);
    EXPECT("token_dim", "48", model.token_dim, 48);
    EXPECT("splits", "[[7, 4, 2], [3, 2, 1], [5, 3, 2]]", model.splits[2].stride, 3);
    EXPECT("embed_dim", "96", model.embed_dim, 96);
    EXPECT("depth", "5", model.depth, 5);
    EXPECT("num_heads", "8", model.num_heads, 8);
    EXPECT("mlp_ratio", "3.5", model.mlp_ratio, 3.5);
    EXPECT("qkv_bias", "true", model.qkv_bias, true);
    EXPECT("qk_scale", "0.15", model.qk_scale, 0.15);
    EXPECT("norm_eps", "1e-7", model.norm_eps, 1e-7);
    EXPECT("variant", "ghost", model.variant, VARIANT_GHOST);
    EXPECT("growth_rate", "7", model.growth_rate, 7);
    EXPECT("block_config", "[1, 9]", model.block_config[1], 9);
    EXPECT("data", "d", data[0], 'd');
    EXPECT("batch_size", "77", batch_size, 77);
    EXPECT("shuffle", "false", shuffle, false);
    EXPECT("workers", "9", workers, 9);
    EXPECT("crop_pct", "0.8", pipeline.crop_pct, 0.8);
    EXPECT("interpolation", "bilinear", pipeline.interpolation, INTERPOLATION_BILINEAR);
    EXPECT("mean", "[0.1, 0.2, 0.3]", pipeline.mean[2], 0.3);
    EXPECT("std", "[0.4, 0.5, 0.6]", pipeline.std[1], 0.5);
    EXPECT("no_aug", "true", pipeline.no_aug, true);
    EXPECT("scale", "[0.3, 0.9]", pipeline.scale[1], 0.9);
    EXPECT("ratio", "[0.7, 1.2]", pipeline.ratio[0], 0.7);
    EXPECT("crop_padding", "4", pipeline.crop_padding, 4);
    EXPECT("hflip", "0.21", pipeline.hflip, 0.21);
    EXPECT("vflip", "0.22", pipeline.vflip, 0.22);
    EXPECT("color_jitter", "0.23", pipeline.color_jitter, 0.23);
    EXPECT("aa", "rand-m7", pipeline.aa[6], '7');
    EXPECT("train_interpolation", "bicubic", pipeline.train_interpolation, INTERPOLATION_BICUBIC);
    EXPECT("reprob", "0.24", pipeline.reprob, 0.24);
    EXPECT("remode", "rand", pipeline.remode, ERASE_RAND);
    EXPECT("recount", "3", pipeline.recount, 3);
    EXPECT("mixup", "0.26", pipeline.mixup, 0.26);
    EXPECT("cutmix", "0.27", pipeline.cutmix, 0.27);
    EXPECT("mixup_prob", "0.28", pipeline.mixup_prob, 0.28);
    EXPECT("mixup_switch_prob", "0.29", pipeline.mixup_switch_prob, 0.29);
    EXPECT("mixup_mode", "elem", pipeline.mixup_mode, MIX_ELEM);
    EXPECT("mixup_group", "128", pipeline.mixup_group, 128);
    EXPECT("mixup_off_epoch", "12", pipeline.mixup_off_epoch, 12);
    EXPECT("smoothing", "0.31", pipeline.smoothing, 0.31);
    EXPECT("aug_repeats", "2", pipeline.aug_repeats, 2);
    EXPECT("opt", "sgd", optim.kind, OPT_SGD);
    EXPECT("opt_eps", "1e-6", optim.eps, 1e-6);
    EXPECT("opt_betas", "[0.8, 0.95]", optim.beta2, 0.95);
    EXPECT("momentum", "0.7", optim.momentum, 0.7);
    EXPECT("weight_decay", "0.32", optim.weight_decay, 0.32);
    EXPECT("clip_grad", "1.5", clip_grad, 1.5);
    EXPECT("sched", "constant", schedule.kind, SCHED_CONSTANT);
    EXPECT("sched_on_updates", "true", schedule.per_step, true);
    EXPECT("weight_decay_all", "true", weight_decay_all, true);
    EXPECT("lr", "0.33", schedule.lr, 0.33);
    EXPECT("lr_base_batch", "616", lr_base_batch, 616);
    EXPECT("lr_scale", "linear", schedule.lr, 0.33 * 77 / 616);
    EXPECT("transfer_ratio", "0.01", transfer_ratio, 0.01);
    EXPECT("freeze", "[cls_token, norm.*]", freeze.items[1][0], 'n');
    EXPECT("min_lr", "0.034", schedule.min_lr, 0.034);
    EXPECT("warmup_lr", "0.035", schedule.warmup_lr, 0.035);
    EXPECT("epochs", "31", schedule.epochs, 31);
    EXPECT("warmup_epochs", "3", schedule.warmup_epochs, 3);
    EXPECT("cooldown_epochs", "4", schedule.cooldown_epochs, 4);
    EXPECT("model_ema_decay", "0.99", optim.ema_decay, 0.99);
    EXPECT("model_ema_warmup", "true", model_ema_warmup, true);
    EXPECT("model_ema", "false", optim.ema_decay, 0);
    EXPECT("seed", "5", seed, 5);
    EXPECT("threads", "6", threads, 6);
    EXPECT("accumulate", "3", accumulate, 3);
    EXPECT("recompute", "mlp", model.recompute, RECOMPUTE_MLP);
    EXPECT("precision", "bf16", model.precision, PRECISION_BF16);
    EXPECT("allreduce", "tree", allreduce, ALLREDUCE_TREE);
    EXPECT("ranks_per_node", "3", ranks_per_node, 3);
    EXPECT("bucket_mb", "7.5", bucket_mb, 7.5);
    EXPECT("wire", "bf16", wire, WIRE_BF16);
    EXPECT("zero", "1", zero, 1);
    EXPECT("reproducible", "8", reproducible, 8);
    EXPECT("watchdog", "9min", watchdog, 540);
    EXPECT("coordinator", "dedicated", coordinator, COORDINATOR_DEDICATED);
    EXPECT("checkpoint_every", "70steps", checkpoint_every, 70);
    EXPECT("keep", "8", keep, 8);
    EXPECT("checkpoint_failures", "0", checkpoint_failures, 0);
    EXPECT("grace", "45s", grace, 45);
    EXPECT("eval_every", "2", eval_every, 2);
    EXPECT("log_interval", "13", log_interval, 13);
    cr_assert_eq(seen + 1, config_key_count(), "a key is missing here (besides model)");
}

/* The schema is what editors check a file by; the table of keys is what it says. */
Test(config_keys, the_schema_tells_every_key)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_schema(out);
    fclose(out);
    json_t *schema = json_loads(text, 0, NULL), *keys = json_object_get(schema, "properties");
    cr_assert(schema && json_is_false(json_object_get(schema, "additionalProperties")));
    cr_assert_eq((int)json_object_size(keys), config_key_count() + 1);
    cr_assert(json_object_get(keys, "base"));
    for (int i = 0; i < config_key_count(); i++) {
        json_t *key = json_object_get(keys, config_key(i)->name);
        cr_assert(json_object_get(key, "type") || json_object_get(key, "enum"), "%s", config_key(i)->name);
        cr_assert_str_eq(json_string_value(json_object_get(key, "description")), config_key(i)->meaning);
        cr_assert(json_object_get(key, "default"), "%s", config_key(i)->name);
    }
    json_t *lr = json_object_get(keys, "lr"), *mean = json_object_get(keys, "mean"),
           *opt = json_object_get(keys, "opt");
    cr_assert_eq(json_number_value(json_object_get(lr, "exclusiveMinimum")), 0);
    cr_assert_null(json_object_get(lr, "maximum"));
    cr_assert_eq(json_integer_value(json_object_get(mean, "minItems")), 3);
    cr_assert_eq(json_array_size(json_object_get(mean, "default")), 3);
    cr_assert_str_eq(json_string_value(json_array_get(json_object_get(opt, "enum"), 1)), "sgd");
    json_decref(schema);
    free(text);
}
