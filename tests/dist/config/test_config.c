#include <criterion/criterion.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "dist/config/config_keys.h"
#include "tests/support/command.h"

/* Writes `text` to a new file and loads it. */
static Status load_text(Config *config, const char *text, Error *error)
{
    char path[512];
    snprintf(path, sizeof path, "%s/run.yaml", temporary_folder());
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
    return config_load(config, path, NULL, 0, error);
}

static void expect_refused(const char *text, const char *line, const char *word)
{
    Config config;
    Error error = {0};
    Status status = load_text(&config, text, &error);
    cr_assert_eq(status, STATUS_USAGE, "accepted: %s", text);
    cr_assert_not_null(strstr(error.message, line), "'%s' lacks '%s'", error.message, line);
    cr_assert_not_null(strstr(error.message, word), "'%s' lacks '%s'", error.message, word);
}

Test(config, defaults_are_the_published_recipe)
{
    Config config;
    Error error = {0};
    cr_assert_eq(config_load(&config, NULL, NULL, 0, &error), STATUS_OK, "%s", error.message);
    cr_assert_str_eq(config.model.name, "t2t_vit_14");
    cr_assert_eq(config.batch_size, 512);
    cr_assert_eq(config.schedule.lr, 5e-4);
    cr_assert_eq(config.model.drop_path, 0.1);
    cr_assert_eq(config.optim.ema_decay, 0.99996);
    cr_assert_eq(config.pipeline.img_size, 224);
}

Test(config, reads_every_kind_of_value)
{
    Config config;
    Error error = {0};
    Status status = load_text(&config,
                              "embed_dim: 128          # stands before model, and still wins\n"
                              "model: t2t_vit_7\n"
                              "img_size: 32\n"
                              "splits: [[3, 1, 1], [3, 2, 1], [3, 2, 1]]\n"
                              "scale: [0.2, 1.0]\n"
                              "mean:\n  - 0.5\n  - 0.25\n  - 1e-1\n"
                              "aa: null\n"
                              "data: \"a \\\"quoted\\\" folder\"\n"
                              "opt: momentum\n"
                              "opt_betas: [0.8, 0.95]\n"
                              "seed: 18446744073709551615\n"
                              "no_aug: true\n"
                              "checkpoint_every: 30min\n"
                              "grace: 2h\n"
                              "model_ema: false\n",
                              &error);
    cr_assert_eq(status, STATUS_OK, "%s", error.message);
    cr_assert_eq(config.model.embed_dim, 128);
    cr_assert_eq(config.model.depth, 7);
    cr_assert_eq(config.model.splits[0].kernel, 3);
    cr_assert_eq(config.model.splits[0].stride, 1);
    cr_assert_eq(config.pipeline.img_size, 32);
    cr_assert_eq(config.pipeline.scale[0], 0.2);
    cr_assert_eq(config.pipeline.mean[2], 0.1);
    cr_assert_str_empty(config.pipeline.aa);
    cr_assert_str_eq(config.data, "a \"quoted\" folder");
    cr_assert_eq(config.optim.kind, OPT_MOMENTUM);
    cr_assert_eq(config.optim.beta2, 0.95);
    cr_assert_eq(config.seed, UINT64_MAX);
    cr_assert(config.pipeline.no_aug);
    cr_assert_eq(config.checkpoint_unit, CHECKPOINT_SECONDS);
    cr_assert_eq(config.checkpoint_every, 1800);
    cr_assert_eq(config.grace, 7200);
    cr_assert_eq(config.optim.ema_decay, 0);
}

typedef struct WithList { /* a key may lie anywhere behind the Config's address */
    Config config;
    TextList list;
} WithList;

static const Key LIST_KEY = {"test", "list", KEY_TEXTS,  offsetof(WithList, list), 63, {.min = 0},
                             NULL,   false,  "any texts"};

Test(config, a_list_of_texts_is_kept_in_order)
{
    WithList with;
    char text[2 * CONFIG_TEXT], longest[64];
    const ConfigValue value = {
        .depth = 1, .count = 3, .items = {{"blocks.*", false}, {"a \"b\"\\", true}, {"7", false}}};
    Error error = {0};
    config_defaults(&with.config);
    cr_assert_eq(config_assign(&with.config, &LIST_KEY, &value, "here", &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(with.list.count, 3);
    cr_assert_str_eq(with.list.items[0], "blocks.*");
    cr_assert_str_eq(with.list.items[1], "a \"b\"\\");
    config_format(&with.config, &LIST_KEY, text, sizeof text);
    cr_assert_str_eq(text, "[\"blocks.*\", \"a \\\"b\\\"\\\\\", \"7\"]");
    cr_assert_eq(config_assign(&with.config, &LIST_KEY, &(ConfigValue){.depth = 1}, "here", &error), STATUS_OK);
    config_format(&with.config, &LIST_KEY, text, sizeof text);
    cr_assert_str_eq(text, "[]");

    /* The longest list of the longest texts, each byte escaped, still fits the text of a value. */
    ConfigValue most = {.depth = 1, .count = CONFIG_LIST};
    memset(longest, '"', 63);
    longest[63] = '\0';
    for (int i = 0; i < CONFIG_LIST; i++) most.items[i].text = longest;
    cr_assert_eq(config_assign(&with.config, &LIST_KEY, &most, "here", &error), STATUS_OK, "%s", error.message);
    config_format(&with.config, &LIST_KEY, text, sizeof text);
    cr_assert_eq(strlen(text), CONFIG_LIST * (2 * 63 + 2) + 2 * (CONFIG_LIST - 1) + 2);
}

Test(config, a_list_of_texts_refuses_what_it_cannot_hold)
{
    static const char LONG[] = "0123456789012345678901234567890123456789012345678901234567890123";
    static const struct {
        ConfigValue value;
        const char *found;
    } CASES[] = {
        {{.depth = 0, .count = 1, .items = {{"a", false}}},
         "list: expected a list of texts of at most 63 bytes, found a single value"},
        {{.depth = 2, .rows = 1, .count = 1, .items = {{"a", false}}}, "found a list of lists"},
        {{.depth = 1, .count = 2, .items = {{"a", false}, {"", true}}}, "found an empty text"},
        {{.depth = 1, .count = 2, .items = {{"a", false}, {LONG, false}}}, "found '0123"},
        {{.depth = 1, .count = 1, .items = {{"\x1b", true}}}, "found control characters"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        WithList with = {.list = {1, {"kept"}}};
        Error error = {0};
        cr_assert_eq(config_assign(&with.config, &LIST_KEY, &CASES[i].value, "file:3", &error), STATUS_USAGE, "%zu", i);
        cr_assert(strstr(error.message, "file:3: list: "), "%s", error.message);
        cr_assert(strstr(error.message, CASES[i].found), "%s", error.message);
        cr_assert_str_eq(with.list.items[0], "kept");
    }
}

Test(config, refuses_what_is_not_a_key)
{
    expect_refused("epochs: 3\nwarmup_epoch: 1\n", "run.yaml:2", "did you mean 'warmup_epochs'");
    expect_refused("learningrate_of_everything: 1\n", "run.yaml:1", "--help");
    expect_refused("epochs: 3\nlr: 1e-3\nepochs: 4\n", "run.yaml:3", "first on line 1");
    expect_refused("- epochs\n", "run.yaml:1", "key: value");
    expect_refused("? [a, b]\n: 1\n", "run.yaml:1", "key");
    expect_refused("epochs: 3\n---\nepochs: 4\n", "run.yaml:2", "second document");
    expect_refused("epochs: 3\n  lr: [\n", "run.yaml:2", "YAML");
    expect_refused("data: \"\xff\"\n", "run.yaml", "YAML");
    expect_refused("<<: {lr: 1}\n", "run.yaml:1", "unknown key");
}

Test(config, refuses_wrong_types_and_impossible_values)
{
    expect_refused("\nlr: fast\n", "run.yaml:2", "lr: expected a number more than 0, found 'fast'");
    expect_refused("lr: 0\n", "run.yaml:1", "more than 0");
    expect_refused("lr: 1e999\n", "run.yaml:1", "1e999");
    expect_refused("lr: nan\n", "run.yaml:1", "'nan'");
    expect_refused("lr: 0x10\n", "run.yaml:1", "'0x10'");
    expect_refused("lr: \"1e-3\"\n", "run.yaml:1", "found \"1e-3\"");
    expect_refused("lr:\n", "run.yaml:1", "found nothing");
    expect_refused("lr: {peak: 1}\n", "run.yaml:1", "mapping");
    expect_refused("epochs: 0\n", "run.yaml:1", "integer from 1");
    expect_refused("epochs: 3.5\n", "run.yaml:1", "integer");
    expect_refused("epochs: [3]\n", "run.yaml:1", "found a list");
    expect_refused("batch_size: 99999999999999999999\n", "run.yaml:1", "integer");
    expect_refused("depth: 4294967297\n", "run.yaml:1", "integer");
    expect_refused("seed: -1\n", "run.yaml:1", "at least 0");
    expect_refused("smoothing: 1\n", "run.yaml:1", "less than 1");
    expect_refused("mixup: -0.1\n", "run.yaml:1", "from 0");
    expect_refused("no_aug: yes\n", "run.yaml:1", "true or false");
    expect_refused("opt: lion\n", "run.yaml:1", "one of adamw, sgd, momentum, lamb");
    expect_refused("scale: [0.1, 0.2, 0.3]\n", "run.yaml:1", "2 numbers");
    expect_refused("scale: 0.1\n", "run.yaml:1", "found a single value");
    expect_refused("splits: [7, 4, 2]\n", "run.yaml:1", "splits");
    expect_refused("splits: [[7, 4], [2]]\n", "run.yaml:1", "different lengths");
    expect_refused("splits: [[[7]]]\n", "run.yaml:1", "three deep");
    expect_refused("mean: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n", "run.yaml:1", "more than 16");
    expect_refused("checkpoint_every: 30\n", "run.yaml:1", "30min");
    expect_refused("checkpoint_every: 0.5steps\n", "run.yaml:1", "interval");
    expect_refused("grace: 1epoch\n", "run.yaml:1", "a time");
    expect_refused("grace: 1e999s\n", "run.yaml:1", "a time");
    expect_refused("grace: 1e308h\n", "run.yaml:1", "a time");
    expect_refused("grace: 0x10s\n", "run.yaml:1", "a time");
    expect_refused("grace: infs\n", "run.yaml:1", "a time");
    expect_refused("data: \"a\\u0007b\"\n", "run.yaml:1", "control characters");
    expect_refused("data: \"a\\0b\"\n", "run.yaml:1", "zero byte");
    expect_refused("\n\nmodel: t2t_vit_15\n", "run.yaml:3", "t2t_vit_1");
}

/* What libyaml does with these grows with the square of their length. */
Test(config, refuses_what_would_take_long_to_read)
{
    enum { SIZE = 400000 };
    char *text = malloc(SIZE + 1);
    cr_assert(text);
    memset(text, '[', SIZE);
    text[SIZE] = 0;
    expect_refused(text, "run.yaml", "400000 bytes; at most 65536");
    text[60000] = 0;
    expect_refused(text, "run.yaml:1", "nested more than 8 deep");
    for (int i = 0; i < 60000; i += 2) memcpy(text + i, "- ", 2);
    expect_refused(text, "run.yaml:1", "nested more than 8 deep");
    memcpy(text, "data: [", 7);
    for (int i = 7; i + 2 < 60000; i += 2) memcpy(text + i, "a,", 2);
    expect_refused(text, "run.yaml:1", "more than 4096 keys and values");
    free(text);
}

Test(config, a_set_is_no_deeper_than_a_file)
{
    char set[4096] = "splits=";
    const char *sets[] = {set};
    Config config;
    Error error = {0};
    memset(set + 7, '[', sizeof set - 8);
    cr_assert_eq(config_load(&config, NULL, sets, 1, &error), STATUS_USAGE);
    cr_assert(strstr(error.message, "nested more than 8 deep"), "%s", error.message);
}

Test(config, refuses_values_that_do_not_fit_each_other)
{
    expect_refused("epochs: 10\nwarmup_epochs: 10\n", "run.yaml:2", "less than epochs");
    expect_refused("lr: 1e-6\n\nmin_lr: 1e-5\n", "run.yaml:3", "must not be more than lr");
    expect_refused("\nmixup_group: 63\n", "run.yaml:2", "mixup_group: 63 is odd");
    expect_refused("scale: [1, 0.5]\n", "run.yaml:1", "scale");
    expect_refused("batch_size: 2\naccumulate: 4\n", "run.yaml:2", "batch_size");
    expect_refused("model: t2t_vit_7\nimg_size: 225\n", "run.yaml:2", "224");
    expect_refused("lr: 1\naa: rand-m9-q3\n", "run.yaml:2", "rand-m9");
    expect_refused("interpolation: random\n", "run.yaml:1", "bicubic");
}

Test(config, set_overrides_the_file)
{
    const char *sets[] = {"embed_dim=512", "model=t2t_vit_24",    "lr=2e-3",
                          "data=/a b: [c", "block_config=[1, 2]", "lr=1e-3"};
    Config config;
    Error error = {0};
    cr_assert_eq(config_load(&config, NULL, sets, 6, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(config.schedule.lr, 1e-3);
    cr_assert_eq(config.model.embed_dim, 512);
    cr_assert_eq(config.model.depth, 24);
    cr_assert_str_eq(config.data, "/a b: [c");
    cr_assert_eq(config.model.block_groups, 2);

    const char *bad[] = {
        "lr", "lrr=1", "lr=", "lr=[1", "lr=1 2", "data=\x01", "data=\xc3", "data=a\u2028b", "warmup_epochs=400"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        Error problem = {0};
        cr_assert_eq(config_load(&config, NULL, &bad[i], 1, &problem), STATUS_USAGE, "accepted %s", bad[i]);
        cr_assert_not_null(strstr(problem.message, "--set "), "%s", problem.message);
    }
}

/* `--set model=` on a resolved file, in which every key stands, must change the architecture and nothing else. */
Test(config, set_model_replaces_the_architecture_of_a_resolved_file)
{
    char path[512];
    snprintf(path, sizeof path, "%s/resolved.yaml", temporary_folder());
    const char *first[] = {"model=t2t_vit_dense", "num_classes=10", "drop_path=0.3"};
    const char *second[] = {"model=t2t_vit_19"}, *both[] = {"model=t2t_vit_19", "num_classes=10", "drop_path=0.3"};
    Config config, expected;
    char text[1024];
    Error error = {0};
    cr_assert_eq(config_load(&config, NULL, first, 3, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(config_save(&config, path, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(config_load(&config, path, second, 1, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(config_load(&expected, NULL, both, 3, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(config_differences(&config, &expected, true, text, sizeof text), 0, "%s", text);
    cr_assert_eq(config.model.growth_rate, 0);
    cr_assert_eq(config.model.depth, 19);
}

static void expect_round_trip(const Config *config, const char *what)
{
    char path[512], differences[2048];
    Config back;
    Error error = {0};
    snprintf(path, sizeof path, "%s/saved.yaml", temporary_folder());
    cr_assert_eq(config_save(config, path, &error), STATUS_OK, "%s: %s", what, error.message);
    cr_assert_eq(config_load(&back, path, NULL, 0, &error), STATUS_OK, "%s: %s", what, error.message);
    cr_assert_eq(config_differences(&back, config, true, differences, sizeof differences), 0, "%s:\n%s", what,
                 differences);
    cr_assert_eq(back.schedule.lr, config->schedule.lr, "%s", what); /* to the last bit */
    cr_assert_eq(back.model.qk_scale, config->model.qk_scale, "%s", what);
    /* What is in no row of the table follows from what is. */
    cr_assert_eq(back.pipeline.img_size, config->model.img_size, "%s", what);
    cr_assert_eq(back.optim.ema_decay, config->optim.ema_decay, "%s", what);
    cr_assert_eq(back.model.in_chans, config->model.in_chans, "%s", what);
}

Test(config, what_is_saved_loads_back_equal)
{
    const char *sets[] = {"lr=0.1234567890123456789",
                          "min_lr=3e-300",
                          "warmup_lr=0",
                          "watchdog=0s",
                          "grace=90.5s",
                          "checkpoint_every=1.5epochs",
                          "data=C:\\a\"b' #x: \xc3\xa4",
                          "seed=9223372036854775809",
                          "qk_scale=0.051031036307982884",
                          "splits=[[16, 16, 0]]",
                          "tokens_type=patch",
                          "bucket_mb=0.0001"};
    Config config;
    Error error = {0};
    cr_assert_eq(config_load(&config, NULL, sets, 12, &error), STATUS_OK, "%s", error.message);
    expect_round_trip(&config, "sets");
    static const char *const TIMES[] = {"grace=1211111111111111111111111111111111111110s",
                                        "grace=1e200h",
                                        "grace=2e9h",
                                        "grace=90min",
                                        "grace=1e-9s",
                                        "checkpoint_every=0.00000001epoch"};
    for (size_t i = 0; i < sizeof TIMES / sizeof TIMES[0]; i++) {
        cr_assert_eq(config_load(&config, NULL, &TIMES[i], 1, &error), STATUS_OK, "%s", error.message);
        expect_round_trip(&config, TIMES[i]);
    }
}

Test(config, choices_agree_with_the_zoo)
{
    const Key *types = config_key(config_key_find("tokens_type")), *variants = config_key(config_key_find("variant"));
    for (int i = 0; types->choices[i]; i++) cr_assert_str_eq(types->choices[i], zoo_tokens_type_name((TokensType)i));
    for (int i = 0; variants->choices[i]; i++) cr_assert_str_eq(variants->choices[i], zoo_variant_name((Variant)i));
}

Test(config, published_recipes_load_and_survive_saving)
{
    glob_t found;
    cr_assert_eq(glob("configs/*.yaml", 0, NULL, &found), 0, "run from the repository root");
    for (size_t i = 0; i < found.gl_pathc; i++) {
        Config config;
        Error error = {0};
        char text[256];
        cr_assert_eq(config_load(&config, found.gl_pathv[i], NULL, 0, &error), STATUS_OK, "%s", error.message);
        expect_round_trip(&config, found.gl_pathv[i]);
        cr_assert(!config_lr_unscaled(&config, text, sizeof text), "%s: %s", found.gl_pathv[i], text);
    }
    globfree(&found);
}

/* The files of the baselines are those models and no others that bear their names. */
Test(config, baselines_have_their_parameters)
{
    static const struct {
        const char *path;
        int64_t params;
    } FILES[] = {{"configs/vit_tiny_patch16.yaml", 5717416},
                 {"configs/vit_small_patch16.yaml", 22050664},
                 {"configs/vit_base_patch16.yaml", 86567656},
                 {"configs/vit_large_patch16.yaml", 304326632},
                 {"configs/vit_small_patch16_official.yaml", 48754408}};
    for (int i = 0; i < 5; i++) {
        Config config;
        ParamTable table;
        Error error = {0};
        cr_assert_eq(config_load(&config, FILES[i].path, NULL, 0, &error), STATUS_OK, "%s", error.message);
        cr_assert_eq(params_build(&table, &config.model, &error), STATUS_OK, "%s", error.message);
        cr_expect_eq(table.numel, FILES[i].params, "%s", FILES[i].path);
        params_free(&table);
    }
}

Test(config, differences_name_what_matters)
{
    Config a, b;
    char text[1024];
    config_defaults(&a);
    b = a;
    b.threads = 7;
    cr_assert_eq(config_differences(&b, &a, false, text, sizeof text), 0);
    cr_assert_eq(config_differences(&b, &a, true, text, sizeof text), 1);
    cr_assert_str_eq(text, "  threads: 7, was 0");
    b.lr = 1e-3;
    b.seed = 1;
    cr_assert_eq(config_differences(&b, &a, false, text, sizeof text), 2);
    cr_assert_str_eq(text, "  lr: 0.001, was 0.0005\n  seed: 1, was 42");
}

Test(config, an_unscaled_rate_is_noticed)
{
    Config config;
    char text[256];
    config_defaults(&config);
    cr_assert(!config_lr_unscaled(&config, text, sizeof text));
    config.batch_size = 8192;
    cr_assert(config_lr_unscaled(&config, text, sizeof text));
    cr_assert_not_null(strstr(text, "0.008"), "%s", text);
    config.lr = 2e-3; /* somebody thought about it */
    cr_assert(!config_lr_unscaled(&config, text, sizeof text));
    config.lr = 1e-3;
    config.batch_size = 32;
    cr_assert(config_lr_unscaled(&config, text, sizeof text));
    cr_assert_not_null(strstr(text, "6.25e-05"), "%s", text);
}

Test(config, a_scaled_rate_is_told_and_saved_as_typed)
{
    static const char *const LINEAR[] = {"lr=5e-4", "lr_scale=linear", "batch_size=4096"};
    static const char *const ROOT[] = {"lr_base_batch=1024", "batch_size=4096", "lr_scale=sqrt", "lr=2e-3"};
    Config config;
    char text[256];
    Error error = {0};
    cr_assert_eq(config_load(&config, NULL, LINEAR, 3, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(config.schedule.lr, 4e-3);
    cr_assert(!config_lr_unscaled(&config, text, sizeof text));
    config_describe_lr(&config, text, sizeof text);
    cr_assert_str_eq(text, "lr 0.004 = 0.0005 x 8 (lr_scale linear: batch_size 4096 over lr_base_batch 512)");
    expect_round_trip(&config, "linear");
    cr_assert_eq(config_load(&config, NULL, ROOT, 4, &error), STATUS_OK, "%s", error.message);
    config_describe_lr(&config, text, sizeof text);
    cr_assert_str_eq(text, "lr 0.004 = 0.002 x 2 (lr_scale sqrt: batch_size 4096 over lr_base_batch 1024)");
    config_defaults(&config);
    config_describe_lr(&config, text, sizeof text);
    cr_assert_str_eq(text, "lr 0.0005");
}

Test(config, parameters_are_frozen_and_decay_as_told)
{
    static const char *const SETS[] = {"freeze=[cls_token, \"norm.*\"]", "weight_decay_all=true"};
    Config config;
    ParamTable table;
    Error error = {0};
    int frozen = 0;
    cr_assert_eq(config_load(&config, NULL, SETS, 2, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(config_params(&config, &table, &error), STATUS_OK);
    for (int i = 0; i < table.count; i++) {
        frozen += table.items[i].frozen;
        cr_assert_eq(table.items[i].decay, table.items[i].trainable, "%s", table.items[i].name);
    }
    cr_assert_eq(frozen, 3); /* cls_token, norm.weight, norm.bias: not the blocks' norms */
    params_free(&table);
    expect_refused("lr: 1\nfreeze: [cls_token, \"block.*\"]\n", "run.yaml:2", "\"block.*\" matches no trained tensor");
    expect_refused("freeze: [pos_embed]\n", "run.yaml:1", "\"pos_embed\" matches no trained tensor");
    expect_refused("\nfreeze: [\"*\"]\n", "run.yaml:2", "nothing is left to train");
}

Test(config, a_changed_architecture_is_told)
{
    Config config;
    char text[128];
    config_defaults(&config);
    config.model.num_classes = 10;
    config.model.drop_path = 0.3;
    config_describe_model(&config, text, sizeof text);
    cr_assert_str_eq(text, "t2t_vit_14");
    config.model.depth = 3;
    config_describe_model(&config, text, sizeof text);
    cr_assert_str_eq(text, "t2t_vit_14 with another architecture");
}

/* ---- base */

/* Writes temporary_folder()/name and gives its path. */
static const char *put_file(const char *name, const char *text)
{
    static char path[1000];
    Error error = {0};
    snprintf(path, sizeof path, "%.500s/%s", temporary_folder(), name);
    cr_assert_eq(file_write(path, text, strlen(text), &error), STATUS_OK, "%s", error.message);
    return path;
}

static void expect_base_refused(const char *name, const char *text, const char *place, const char *what)
{
    Config config;
    Error error = {0};
    cr_assert_eq(config_load(&config, put_file(name, text), NULL, 0, &error), STATUS_USAGE, "%s", text);
    cr_assert(strstr(error.message, place), "%s: no \"%s\"", error.message, place);
    cr_assert(strstr(error.message, what), "%s: no \"%s\"", error.message, what);
}

Test(config, a_base_sets_what_the_file_does_not)
{
    static const char *const SETS[] = {"epochs=7"};
    Config config;
    Error error = {0};
    char folder[700];
    snprintf(folder, sizeof folder, "%.500s/deep", temporary_folder());
    cr_assert_eq(file_make_folders(folder, &error), STATUS_OK);
    put_file("deep/root.yaml", "model: t2t_vit_7\ndepth: 3\nepochs: 9\nwarmup_epochs: 2\nlr: 1e-2\n");
    put_file("middle.yaml", "base: deep/root.yaml\nlr: 2e-2\nseed: 5\n");
    const char *path = put_file("leaf.yaml", "seed: 6\nbase: middle.yaml\n");
    cr_assert_eq(config_load(&config, path, SETS, 1, &error), STATUS_OK, "%s", error.message);
    cr_assert_str_eq(config.model.name, "t2t_vit_7");
    cr_assert_eq(config.model.depth, 3);
    cr_assert_eq(config.schedule.epochs, 7);
    cr_assert_eq(config.schedule.warmup_epochs, 2);
    cr_assert_eq(config.lr, 2e-2);
    cr_assert_eq(config.seed, 6);
    expect_round_trip(&config, "leaf.yaml");
    /* Another model is another architecture: what the base changed of its own does not carry over. */
    cr_assert_eq(config_load(&config, put_file("leaf.yaml", "base: middle.yaml\nmodel: t2t_vit_14\n"), NULL, 0, &error),
                 STATUS_OK, "%s", error.message);
    cr_assert_eq(config.model.depth, 14);
    cr_assert_eq(config.lr, 2e-2);
}

Test(config, a_base_that_cannot_be_is_told_with_its_place)
{
    put_file("root.yaml", "epochs: 9\n\nwarmup_epochs: 2\n");
    expect_base_refused("a.yaml", "seed: 1\nbase: none.yaml\n", "a.yaml:2: base: ", "none.yaml");
    expect_base_refused("a.yaml", "seed: 1\nbase: none.yaml\n", "a.yaml:2: base: ", "expected a configuration");
    expect_base_refused("a.yaml", "base: a.yaml\n", "a.yaml:1: base: ", "is what this file is for");
    put_file("b.yaml", "\nbase: ./a.yaml\n");
    expect_base_refused("a.yaml", "base: b.yaml\n", "b.yaml:2: base: ", "is what this file is for");
    expect_base_refused("a.yaml", "base: root.yaml\nbase: b.yaml\n", "a.yaml:2", "stands twice");
    expect_base_refused("a.yaml", "base: [root.yaml]\n", "a.yaml:1: base: ", "the path of one configuration");
    expect_base_refused("a.yaml", "base: ''\n", "a.yaml:1: base: ", "the path of one configuration");
    /* What is wrong in the base, or only beside what the file adds, has the place where it stands. */
    put_file("wrong.yaml", "seed: 1\nsede: 2\n");
    expect_base_refused("a.yaml", "base: wrong.yaml\n", "wrong.yaml:2", "seed");
    expect_base_refused("a.yaml", "base: root.yaml\nepochs: 2\n", "root.yaml:3", "less than epochs");
    expect_base_refused("a.yaml", "base: root.yaml\nwarmup_epochs: 9\n", "a.yaml:2", "less than epochs");
    for (int i = 0; i < 12; i++) {
        char name[32], text[64];
        snprintf(name, sizeof name, "chain%d.yaml", i);
        snprintf(text, sizeof text, "base: chain%d.yaml\n", i + 1);
        put_file(name, text);
    }
    expect_base_refused("a.yaml", "base: chain0.yaml\n", "chain7.yaml:1", "a chain of more than 9 files");
    Config config;
    Error error = {0};
    cr_assert_eq(config_parse(&config, "base: root.yaml\n", "weights", NULL, 0, &error), STATUS_USAGE);
    cr_assert(strstr(error.message, "weights:1: base: only a file"), "%s", error.message);
}
