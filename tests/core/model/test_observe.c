/* What a model tells on its way, against the numbers that tests/peer/gen_activations.py took from PyTorch modules. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/attention_maps.h"
#include "core/model/observe.h"
#include "core/model/t2t_layer.h"
#include "tests/support/golden.h"
#include "tests/support/models.h"
#include "tests/support/trial.h"

enum { TOKENS = 5, HEADS = 2, DEPTH = 2, WIDTH = 16 };

typedef struct Seen {
    const char *model;
    int count;
    float qkv[DEPTH][TOKENS * 3 * HEADS * WIDTH];
} Seen;

/* The golden's line that begins with "MODEL\tKEY\t": what follows; the test fails without it. */
static const char *golden_line(const char *model, const char *key)
{
    static char line[1024];
    char begin[160];
    snprintf(begin, sizeof begin, "%s\t%s\t", model, key);
    FILE *file = fopen("tests/goldens/activations/tiny.tsv", "r");
    cr_assert(file);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, begin, strlen(begin)) == 0) {
            fclose(file);
            return line + strlen(begin);
        }
    cr_assert_fail("no golden of %s of %s", key, model);
    return NULL;
}

static void compare(void *context, const Activation *activation)
{
    Seen *seen = context;
    char stream[160];
    int rows, cols;
    double sum, norm, dot, got[3] = {0};
    const char *golden = golden_line(seen->model, activation->name);
    cr_assert_eq(sscanf(golden, "%d %d %lf %lf %lf", &rows, &cols, &sum, &norm, &dot), 5);
    cr_assert(activation->rows == rows && activation->cols == cols && activation->images == 1, "%s", activation->name);
    snprintf(stream, sizeof stream, "activation.%s", activation->name);
    for (int i = 0; i < rows * cols; i++) {
        double value = activation->values[i];
        got[0] += value;
        got[1] += value * value;
        got[2] += value * fill_unit(stream, (uint64_t)i);
    }
    cr_expect_lt(fabs(got[0] - sum), 1e-5 * norm, "%s: sum %g, not %g", activation->name, got[0], sum);
    cr_expect_lt(fabs(sqrt(got[1]) - norm), 1e-5 * norm, "%s: norm %g, not %g", activation->name, sqrt(got[1]), norm);
    cr_expect_lt(fabs(got[2] - dot), 1e-5 * norm, "%s: dot product %g, not %g", activation->name, got[2], dot);
    if (strcmp(activation->name, "blocks.0.attn.qkv") == 0)
        memcpy(seen->qkv[0], activation->values, sizeof seen->qkv[0]);
    if (strcmp(activation->name, "blocks.1.attn.qkv") == 0)
        memcpy(seen->qkv[1], activation->values, sizeof seen->qkv[1]);
    seen->count++;
}

static void check_row(const char *model, const char *key, const float *row)
{
    char *at = (char *)golden_line(model, key);
    for (int i = 0; i < TOKENS; i++) {
        double want = strtod(at, &at);
        cr_expect_lt(fabs(row[i] - want), 1e-5, "%s of %s: %g, not %g at %d", key, model, row[i], want, i);
    }
}

static void check_maps(const Seen *seen)
{
    float weights[HEADS * TOKENS * TOKENS], rollout[TOKENS * TOKENS] = {0}, scratch[TOKENS * TOKENS];
    for (int i = 0; i < TOKENS; i++) rollout[i * TOKENS + i] = 1;
    for (int block = 0; block < DEPTH; block++) {
        attention_weights(seen->qkv[block], TOKENS, HEADS, WIDTH, 1 / sqrt(WIDTH), weights);
        for (int head = 0; head < HEADS; head++) {
            char key[32];
            snprintf(key, sizeof key, "attention.%d.%d", block, head);
            check_row(seen->model, key, weights + head * TOKENS * TOKENS);
        }
        attention_rollout(weights, TOKENS, HEADS, rollout, scratch);
    }
    check_row(seen->model, "rollout", rollout);
}

Test(observe, tells_what_the_official_modules_put_out)
{
    static const char *const models[] = {"tiny_transformer", "tiny_performer"};
    for (int i = 0; i < 2; i++) {
        ModelConfig config = golden_model(models[i]);
        Trial trial = trial_start(&config, 1, MODEL_OBSERVE, 2);
        static Seen seen;
        seen = (Seen){.model = models[i]};
        model_observe(trial.model, compare, &seen);
        trial_forward(&trial);
        cr_expect_eq(seen.count, 14, "%d activations of %s", seen.count, models[i]);
        check_maps(&seen);
        trial_end(&trial);
    }
}

typedef struct Order {
    int next[3]; /* the next image of a soft split, of the chunks of the layers, of the blocks */
} Order;

static void check_order(void *context, const Activation *activation)
{
    Order *order = context;
    int kind = strstr(activation->name, "soft_split0") ? 0 : strcmp(activation->name, "pos_drop") == 0 ? 1 : 2;
    if (kind == 2 && strcmp(activation->name, "blocks.1") != 0) return;
    cr_expect_eq(activation->first, order->next[kind], "%s", activation->name);
    order->next[kind] += activation->images;
}

/* Every model, and batches that are more than a chunk: the same logits as without observing, each image told once. */
Test(observe, changes_nothing_and_tells_every_image_once)
{
    enum { BATCH = CHUNK_MOST + 3 };
    for (const char *const *name = TINY_MODELS; *name; name++) {
        ModelConfig config = golden_model(*name);
        Trial plain = trial_start(&config, BATCH, MODEL_EVAL, 2),
              observed = trial_start(&config, BATCH, MODEL_OBSERVE, 2);
        Order order = {0};
        trial_forward(&plain);
        model_observe(observed.model, check_order, &order);
        trial_forward(&observed);
        int64_t count = (int64_t)BATCH * config.num_classes;
        double error = max_abs_difference(plain.logits, observed.logits, count) / max_abs(plain.logits, count);
        cr_expect_lt(error, 1e-5, "%s: logits differ by %g of the largest", *name, error);
        cr_expect(order.next[1] == BATCH && (order.next[2] == BATCH || config.depth == 1), "%s", *name);
        cr_expect(order.next[0] == BATCH || config.tokens_type == TOKENS_PATCH, "%s", *name);
        trial_end(&plain);
        trial_end(&observed);
    }
}
