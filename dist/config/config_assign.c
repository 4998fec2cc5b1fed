/* config_assign.c: one value into one field of a Config, with its type and range checked. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist/config/config_keys.h"

typedef struct Target { /* the key that is being set; for messages */
    Config *config;
    const Key *key;
    const ConfigValue *value;
    const char *where;
    Error *error;
} Target;

static Status refuse(const Target *target, const char *found)
{
    char expected[256];
    config_expected(target->key, expected, sizeof expected);
    return error_set(target->error, STATUS_USAGE, "%s: %s: expected %s, found %s", target->where, target->key->name,
                     expected, found);
}

static Status refuse_item(const Target *target, int item)
{
    char found[128];
    const char *text = target->value->items[item].text;
    const char *quote = target->value->items[item].quoted ? "\"" : "'";
    if (text[0] == '\0') return refuse(target, "nothing");
    snprintf(found, sizeof found, "%s%.100s%s", quote, text, quote);
    return refuse(target, found);
}

static Status expect_shape(const Target *target, int depth)
{
    static const char *const FOUND[] = {"a single value", "a list", "a list of lists"};
    if (target->value->depth == depth) return STATUS_OK;
    return refuse(target, FOUND[target->value->depth]);
}

static bool in_range(double number, const KeyRange *range)
{
    if (range->above_min ? number <= range->min : number < range->min) return false;
    return range->below_max ? number < range->max : number <= range->max;
}

static Status read_real(const Target *target, int item, double *out)
{
    const char *text = target->value->items[item].text;
    char *end;
    double number = strtod(text, &end);
    /* strtod also takes "nan", "inf", hexadecimal and leading blanks. */
    bool plain = !target->value->items[item].quoted && text[0] && *end == '\0' &&
                 strspn(text, "+-.0123456789eE") == strlen(text);
    if (!plain || !in_range(number, &target->key->range)) return refuse_item(target, item);
    *out = number;
    return STATUS_OK;
}

static bool is_digits(const char *text)
{
    return text[0] && strspn(text, "0123456789") == strlen(text);
}

static Status read_integer(const Target *target, int item, int64_t max, int64_t *out)
{
    const char *text = target->value->items[item].text;
    errno = 0;
    long long number = strtoll(text, NULL, 10);
    bool plain = !target->value->items[item].quoted && is_digits(text + (text[0] == '-'));
    if (!plain || errno || number > max || !in_range((double)number, &target->key->range))
        return refuse_item(target, item);
    *out = number;
    return STATUS_OK;
}

static Status assign_integer(const Target *target, void *field)
{
    int64_t number;
    Status status = read_integer(target, 0, target->key->kind == KEY_INT ? INT_MAX : INT64_MAX, &number);
    if (status) return status;
    if (target->key->kind == KEY_INT)
        *(int *)field = (int)number;
    else
        *(int64_t *)field = number;
    return STATUS_OK;
}

static Status assign_unsigned(const Target *target, uint64_t *field)
{
    const char *text = target->value->items[0].text;
    errno = 0;
    unsigned long long number = strtoull(text, NULL, 10);
    if (target->value->items[0].quoted || !is_digits(text) || errno) return refuse_item(target, 0);
    *field = number;
    return STATUS_OK;
}

static Status assign_reals(const Target *target, double *field)
{
    if (target->value->count != (int)target->key->size) {
        char found[32];
        snprintf(found, sizeof found, "%d values", target->value->count);
        return refuse(target, found);
    }
    for (int i = 0; i < target->value->count; i++) {
        Status status = read_real(target, i, &field[i]);
        if (status) return status;
    }
    return STATUS_OK;
}

static Status assign_bool(const Target *target, bool *field)
{
    const char *text = target->value->items[0].text;
    bool yes = strcmp(text, "true") == 0, no = strcmp(text, "false") == 0;
    if (target->value->items[0].quoted || (!yes && !no)) return refuse_item(target, 0);
    *field = yes;
    return STATUS_OK;
}

static Status assign_choice(const Target *target, int *field)
{
    for (int i = 0; target->key->choices[i]; i++) {
        if (strcmp(target->key->choices[i], target->value->items[0].text) != 0) continue;
        *field = i;
        return STATUS_OK;
    }
    return refuse_item(target, 0);
}

/* UTF-8 without what a YAML file cannot hold or would change: control characters, line and paragraph separators. */
static bool is_printable(const char *text)
{
    const unsigned char *byte = (const unsigned char *)text;
    while (*byte) {
        if (*byte < 0x20 || *byte == 0x7f) return false;
        if (*byte < 0x80) {
            byte++;
            continue;
        }
        if (*byte < 0xc2 || *byte > 0xf4) return false;
        int more = *byte >= 0xf0 ? 3 : *byte >= 0xe0 ? 2 : 1;
        uint32_t point = *byte++ & (0x3fu >> more);
        for (int i = 0; i < more; i++, byte++) {
            if ((*byte & 0xc0) != 0x80) return false;
            point = point << 6 | (*byte & 0x3fu);
        }
        static const uint32_t LEAST[] = {0, 0xa0, 0x800, 0x10000};
        if (point < LEAST[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return false;
        if (point == 0x2028 || point == 0x2029 || point == 0xfeff || point == 0xfffe || point == 0xffff) return false;
    }
    return true;
}

static Status assign_text(const Target *target, char *field)
{
    const char *text = target->value->items[0].text;
    bool null = !target->value->items[0].quoted && (strcmp(text, "null") == 0 || strcmp(text, "~") == 0);
    if (null) text = "";
    if (!is_printable(text)) return refuse(target, "control characters, or bytes that are not UTF-8");
    if (strlen(text) >= target->key->size) return refuse_item(target, 0);
    memcpy(field, text, strlen(text) + 1);
    return STATUS_OK;
}

typedef struct Unit {
    const char *name;
    double value;
    CheckpointUnit checkpoint;
} Unit;

static const Unit UNITS[] = {
    {"s", 1, CHECKPOINT_SECONDS},     {"min", 60, CHECKPOINT_SECONDS}, {"h", 3600, CHECKPOINT_SECONDS},
    {"step", 1, CHECKPOINT_STEPS},    {"steps", 1, CHECKPOINT_STEPS},  {"epoch", 1, CHECKPOINT_EPOCHS},
    {"epochs", 1, CHECKPOINT_EPOCHS},
};

/* "30min": a number, as config_save writes them, then a unit; NULL when it is not that. */
static const Unit *read_quantity(const Target *target, double *out)
{
    const char *text = target->value->items[0].text;
    char *end;
    double number = strtod(text, &end);
    bool begins = strspn(text, "0123456789.") > 0; /* no sign, no "inf" */
    if (!begins || strspn(text, "0123456789.e+-") < (size_t)(end - text)) return NULL;
    for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++) {
        if (strcmp(UNITS[i].name, end + strspn(end, " ")) != 0) continue;
        *out = number * UNITS[i].value;
        return in_range(*out, &target->key->range) ? &UNITS[i] : NULL;
    }
    return NULL;
}

static Status assign_duration(const Target *target, double *field)
{
    double seconds;
    const Unit *unit = read_quantity(target, &seconds);
    if (!unit || unit->checkpoint != CHECKPOINT_SECONDS) return refuse_item(target, 0);
    *field = seconds;
    return STATUS_OK;
}

static Status assign_checkpoint(const Target *target)
{
    double amount;
    const Unit *unit = read_quantity(target, &amount);
    if (!unit || (unit->checkpoint == CHECKPOINT_STEPS && amount != floor(amount))) return refuse_item(target, 0);
    target->config->checkpoint_every = amount;
    target->config->checkpoint_unit = unit->checkpoint;
    return STATUS_OK;
}

/* The architecture comes from the zoo; what else a ModelConfig holds are keys of their own. */
static Status assign_model(const Target *target)
{
    ModelConfig *model = &target->config->model, found;
    Error problem = {0};
    if (zoo_find(target->value->items[0].text, &found, &problem))
        return error_set(target->error, STATUS_USAGE, "%s: model: %s", target->where, problem.message);
    found.img_size = model->img_size;
    found.num_classes = model->num_classes;
    found.drop = model->drop;
    found.attn_drop = model->attn_drop;
    found.drop_path = model->drop_path;
    found.token_dropout = model->token_dropout;
    found.recompute = model->recompute;
    *model = found;
    return STATUS_OK;
}

static Status assign_splits(const Target *target)
{
    SoftSplit splits[MAX_SPLITS] = {0};
    const ConfigValue *value = target->value;
    if (value->rows < 1 || value->rows > MAX_SPLITS || value->count != 3 * value->rows)
        return refuse(target, "a list of another shape");
    for (int i = 0; i < value->count; i++) {
        int64_t number;
        Status status = read_integer(target, i, INT_MAX, &number);
        if (status) return status;
        SoftSplit *split = &splits[i / 3];
        *(i % 3 == 0 ? &split->kernel : i % 3 == 1 ? &split->stride : &split->padding) = (int)number;
    }
    memcpy(target->config->model.splits, splits, sizeof splits);
    return STATUS_OK;
}

static Status assign_blocks(const Target *target)
{
    int blocks[MAX_DENSE_GROUPS] = {0};
    if (target->value->count > MAX_DENSE_GROUPS) return refuse(target, "more groups than that");
    for (int i = 0; i < target->value->count; i++) {
        int64_t number;
        Status status = read_integer(target, i, INT_MAX, &number);
        if (status) return status;
        blocks[i] = (int)number;
    }
    memcpy(target->config->model.block_config, blocks, sizeof blocks);
    target->config->model.block_groups = target->value->count;
    return STATUS_OK;
}

static int depth_of(KeyKind kind)
{
    return kind == KEY_SPLITS ? 2 : kind == KEY_REALS || kind == KEY_BLOCKS ? 1 : 0;
}

Status config_assign(Config *config, const Key *key, const ConfigValue *value, const char *where, Error *error)
{
    Target target = {config, key, value, where, error};
    void *field = (char *)config + key->offset;
    Status status = expect_shape(&target, depth_of(key->kind));
    if (status) return status;
    switch (key->kind) {
    case KEY_BOOL:
        status = assign_bool(&target, field);
        break;
    case KEY_INT:
    case KEY_INT64:
        status = assign_integer(&target, field);
        break;
    case KEY_UINT64:
        status = assign_unsigned(&target, field);
        break;
    case KEY_REAL:
        status = read_real(&target, 0, field);
        break;
    case KEY_REALS:
        status = assign_reals(&target, field);
        break;
    case KEY_TEXT:
        status = assign_text(&target, field);
        break;
    case KEY_CHOICE:
        status = assign_choice(&target, field);
        break;
    case KEY_DURATION:
        status = assign_duration(&target, field);
        break;
    case KEY_CHECKPOINT:
        status = assign_checkpoint(&target);
        break;
    case KEY_MODEL:
        status = assign_model(&target);
        break;
    case KEY_SPLITS:
        status = assign_splits(&target);
        break;
    case KEY_BLOCKS:
        status = assign_blocks(&target);
        break;
    }
    if (!status) config_resolve(config);
    return status;
}
