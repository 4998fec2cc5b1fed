/* config_kinds.c: the kinds of keys: what each takes, from a YAML value to the field, and back to text. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dist/config/config_value.h"

typedef struct Kind {
    int depth;         /* of the value: 0 scalar, 1 list, 2 list of lists */
    const char *takes; /* in words; %zu: the key's size */
    bool ranged;       /* whether the words name the key's range */
    Status (*parse)(const Target *target, void *field);
    void (*print)(TextOut *out, const Key *key, const Config *config);
} Kind;

static const void *field_of(const Config *config, const Key *key)
{
    return (const char *)config + key->offset;
}

/* ---- truth values, names, texts */

static Status parse_bool(const Target *target, void *field)
{
    const char *text = target->value->items[0].text;
    bool yes = strcmp(text, "true") == 0, no = strcmp(text, "false") == 0;
    if (target->value->items[0].quoted || (!yes && !no)) return value_refuse_item(target, 0);
    *(bool *)field = yes;
    return STATUS_OK;
}

static void print_bool(TextOut *out, const Key *key, const Config *config)
{
    out_put(out, *(const bool *)field_of(config, key) ? "true" : "false");
}

static Status parse_choice(const Target *target, void *field)
{
    for (int i = 0; target->key->choices[i]; i++) {
        if (strcmp(target->key->choices[i], target->value->items[0].text) != 0) continue;
        *(int *)field = i;
        return STATUS_OK;
    }
    return value_refuse_item(target, 0);
}

static void print_choice(TextOut *out, const Key *key, const Config *config)
{
    out_put(out, "%s", key->choices[*(const int *)field_of(config, key)]);
}

static Status parse_text(const Target *target, void *field)
{
    const char *text = target->value->items[0].text;
    bool null = !target->value->items[0].quoted && (strcmp(text, "null") == 0 || strcmp(text, "~") == 0);
    return value_text(target, 0, null ? "" : text, target->key->size, field);
}

static void print_text(TextOut *out, const Key *key, const Config *config)
{
    out_quoted(out, field_of(config, key));
}

static Status parse_texts(const Target *target, void *field)
{
    TextList list = {.count = target->value->count};
    for (int i = 0; i < list.count; i++) {
        const char *text = target->value->items[i].text;
        if (text[0] == '\0') return value_refuse(target, "an empty text");
        Status status = value_text(target, i, text, sizeof list.items[i] - 1, list.items[i]);
        if (status) return status;
    }
    *(TextList *)field = list;
    return STATUS_OK;
}

static void print_texts(TextOut *out, const Key *key, const Config *config)
{
    const TextList *list = field_of(config, key);
    out_put(out, "[");
    for (int i = 0; i < list->count; i++) {
        out_put(out, i ? ", " : "");
        out_quoted(out, list->items[i]);
    }
    out_put(out, "]");
}

/* The architecture comes from the zoo; what else a ModelConfig holds are keys of their own. */
static Status parse_model(const Target *target, void *field)
{
    (void)field; /* the name is one of many */
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
    found.precision = model->precision;
    *model = found;
    return STATUS_OK;
}

static void print_model(TextOut *out, const Key *key, const Config *config)
{
    out_put(out, "%s", (const char *)field_of(config, key));
}

/* ---- numbers */

static Status parse_int(const Target *target, void *field)
{
    int64_t number;
    Status status = value_integer(target, 0, INT_MAX, &number);
    if (!status) *(int *)field = (int)number;
    return status;
}

static void print_int(TextOut *out, const Key *key, const Config *config)
{
    out_put(out, "%d", *(const int *)field_of(config, key));
}

static Status parse_int64(const Target *target, void *field)
{
    return value_integer(target, 0, INT64_MAX, field);
}

static void print_int64(TextOut *out, const Key *key, const Config *config)
{
    out_put(out, "%" PRId64, *(const int64_t *)field_of(config, key));
}

static Status parse_uint64(const Target *target, void *field)
{
    const char *text = target->value->items[0].text;
    errno = 0;
    unsigned long long number = strtoull(text, NULL, 10);
    if (target->value->items[0].quoted || !value_is_digits(text) || errno) return value_refuse_item(target, 0);
    *(uint64_t *)field = number;
    return STATUS_OK;
}

static void print_uint64(TextOut *out, const Key *key, const Config *config)
{
    out_put(out, "%" PRIu64, *(const uint64_t *)field_of(config, key));
}

static Status parse_real(const Target *target, void *field)
{
    return value_real(target, 0, field);
}

static void print_real(TextOut *out, const Key *key, const Config *config)
{
    out_real(out, *(const double *)field_of(config, key));
}

/* ---- lists of numbers */

static Status parse_reals(const Target *target, void *field)
{
    Status status = STATUS_OK;
    if (target->value->count != (int)target->key->size) {
        char found[32];
        snprintf(found, sizeof found, "%d values", target->value->count);
        return value_refuse(target, found);
    }
    for (int i = 0; i < target->value->count && !status; i++) status = value_real(target, i, (double *)field + i);
    return status;
}

static void print_reals(TextOut *out, const Key *key, const Config *config)
{
    const double *values = field_of(config, key);
    for (size_t i = 0; i < key->size; i++) {
        out_put(out, i ? ", " : "[");
        out_real(out, values[i]);
    }
    out_put(out, "]");
}

/* All integers of the value to out[CONFIG_VALUE_ITEMS]; the rest of it is 0. */
static Status read_integers(const Target *target, int *out)
{
    Status status = STATUS_OK;
    memset(out, 0, CONFIG_VALUE_ITEMS * sizeof *out);
    for (int i = 0; i < target->value->count && !status; i++) {
        int64_t number = 0;
        status = value_integer(target, i, INT_MAX, &number);
        out[i] = (int)number;
    }
    return status;
}

_Static_assert(sizeof(SoftSplit) == 3 * sizeof(int) && 3 * MAX_SPLITS <= CONFIG_VALUE_ITEMS,
               "parse_splits copies ints");

static Status parse_splits(const Target *target, void *field)
{
    int numbers[CONFIG_VALUE_ITEMS];
    const ConfigValue *value = target->value;
    if (value->rows < 1 || value->rows > MAX_SPLITS || value->count != 3 * value->rows)
        return value_refuse(target, "a list of another shape");
    Status status = read_integers(target, numbers);
    if (!status) memcpy(field, numbers, MAX_SPLITS * sizeof(SoftSplit));
    return status;
}

static void print_splits(TextOut *out, const Key *key, const Config *config)
{
    const SoftSplit *splits = field_of(config, key);
    for (int i = 0; i < MAX_SPLITS; i++)
        out_put(out, "%s[%d, %d, %d]", i ? ", " : "[", splits[i].kernel, splits[i].stride, splits[i].padding);
    out_put(out, "]");
}

static Status parse_blocks(const Target *target, void *field)
{
    int blocks[CONFIG_VALUE_ITEMS];
    if (target->value->count > MAX_DENSE_GROUPS) return value_refuse(target, "more groups than that");
    Status status = read_integers(target, blocks);
    if (status) return status;
    memcpy(field, blocks, MAX_DENSE_GROUPS * sizeof(int));
    target->config->model.block_groups = target->value->count;
    return STATUS_OK;
}

static void print_blocks(TextOut *out, const Key *key, const Config *config)
{
    const int *blocks = field_of(config, key);
    out_put(out, "[");
    for (int i = 0; i < config->model.block_groups; i++) out_put(out, "%s%d", i ? ", " : "", blocks[i]);
    out_put(out, "]");
}

/* ---- times and intervals */

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

/* "30min": a number, as out_real writes them, then a unit; NULL when it is not that. */
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
        return value_in_range(*out, &target->key->range) ? &UNITS[i] : NULL;
    }
    return NULL;
}

static Status parse_duration(const Target *target, void *field)
{
    double seconds;
    const Unit *unit = read_quantity(target, &seconds);
    if (!unit || unit->checkpoint != CHECKPOINT_SECONDS) return value_refuse_item(target, 0);
    *(double *)field = seconds;
    return STATUS_OK;
}

/* In hours or minutes when they are a whole number of few digits. */
static void print_duration(TextOut *out, const Key *key, const Config *config)
{
    const double seconds = *(const double *)field_of(config, key);
    for (const Unit *unit = &UNITS[2]; unit > UNITS; unit--) {
        double count = seconds / unit->value;
        if (count <= 0 || count >= 1e9 || count != floor(count) || count * unit->value != seconds) continue;
        out_put(out, "%.0f%s", count, unit->name);
        return;
    }
    out_real(out, seconds);
    out_put(out, "s");
}

static Status parse_checkpoint(const Target *target, void *field)
{
    double amount;
    const Unit *unit = read_quantity(target, &amount);
    if (!unit || (unit->checkpoint == CHECKPOINT_STEPS && amount != floor(amount))) return value_refuse_item(target, 0);
    *(double *)field = amount;
    target->config->checkpoint_unit = unit->checkpoint;
    return STATUS_OK;
}

static void print_checkpoint(TextOut *out, const Key *key, const Config *config)
{
    if (config->checkpoint_unit == CHECKPOINT_SECONDS) {
        print_duration(out, key, config);
        return;
    }
    out_real(out, config->checkpoint_every);
    out_put(out, config->checkpoint_unit == CHECKPOINT_STEPS ? "steps" : "epochs");
}

/* ---- the table */

static const Kind KINDS[] = {
    [KEY_BOOL] = {0, "true or false", false, parse_bool, print_bool},
    [KEY_INT] = {0, "an integer", true, parse_int, print_int},
    [KEY_INT64] = {0, "an integer", true, parse_int64, print_int64},
    [KEY_UINT64] = {0, "an integer of at least 0", false, parse_uint64, print_uint64},
    [KEY_REAL] = {0, "a number", true, parse_real, print_real},
    [KEY_REALS] = {1, "a list of %zu numbers, each", true, parse_reals, print_reals},
    [KEY_TEXT] = {0, "text of at most %zu bytes", false, parse_text, print_text},
    [KEY_TEXTS] = {1, "a list of texts of at most %zu bytes", false, parse_texts, print_texts},
    [KEY_CHOICE] = {0, "one of ", false, parse_choice, print_choice}, /* the names follow */
    [KEY_DURATION] = {0, "a time such as 90s, 30min or 2h", false, parse_duration, print_duration},
    [KEY_CHECKPOINT] = {0, "an interval such as 30min, 1000steps or 1epoch", false, parse_checkpoint, print_checkpoint},
    [KEY_MODEL] = {0, "the name of a model", false, parse_model, print_model},
    [KEY_SPLITS] = {2, "kernel, stride and padding of 1 to %zu splits, as [[7, 4, 2], [3, 2, 1], [3, 2, 1]]", false,
                    parse_splits, print_splits},
    [KEY_BLOCKS] = {1, "a list of at most %zu block counts, as [3, 6, 6, 4]", false, parse_blocks, print_blocks},
};

Status config_assign(Config *config, const Key *key, const ConfigValue *value, const char *where, Error *error)
{
    static const char *const FOUND[] = {"a single value", "a list", "a list of lists"};
    Target target = {.config = config, .key = key, .value = value, .where = where, .error = error};
    config_expected(key, target.expected, sizeof target.expected);
    if (value->depth != KINDS[key->kind].depth) return value_refuse(&target, FOUND[value->depth]);
    Status status = KINDS[key->kind].parse(&target, (char *)config + key->offset);
    if (!status) config_resolve(config);
    return status;
}

void config_format(const Config *config, const Key *key, char *text, size_t size)
{
    TextOut out = {text, size, 0};
    text[0] = '\0';
    KINDS[key->kind].print(&out, key, config);
}

static void put_range(TextOut *out, const KeyRange *range)
{
    static const char *const UP_TO[2][2] = {{" to", " to less than"}, {" and at most", " and less than"}};
    bool bounded = range->max < KEY_UNBOUNDED;
    if (range->above_min)
        out_put(out, " more than %g", range->min);
    else
        out_put(out, bounded ? " from %g" : " of at least %g", range->min);
    if (bounded) out_put(out, "%s %.10g", UP_TO[range->above_min][range->below_max], range->max);
}

void config_expected(const Key *key, char *text, size_t size)
{
    TextOut out = {text, size, 0};
    const Kind *kind = &KINDS[key->kind];
    out_put(&out, kind->takes, key->size);
    if (kind->ranged) put_range(&out, &key->range);
    for (int i = 0; key->choices && key->choices[i]; i++) out_put(&out, i ? ", %s" : "%s", key->choices[i]);
}
