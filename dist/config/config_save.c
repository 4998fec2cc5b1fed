/* Writing: the resolved file of a run, the list of keys, and what differs between two configurations. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "dist/config/config_keys.h"

/* ---- one value */

typedef struct Out { /* text that grows to the end of its buffer and no further */
    char *text;
    size_t size, used;
} Out;

__attribute__((format(printf, 2, 3))) static void put(Out *out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = out->size - out->used;
    int wanted = vsnprintf(out->text + out->used, room, format, arguments);
    va_end(arguments);
    if (wanted > 0) out->used += (size_t)wanted < room ? (size_t)wanted : room - 1;
}

/* The shortest decimal that reads back as the same double. */
static void put_real(Out *out, double value)
{
    char text[32];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    put(out, "%s", text);
}

static void put_text(Out *out, const char *value)
{
    put(out, "\"");
    for (; *value; value++) put(out, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
    put(out, "\"");
}

/* Whether seconds are exactly that many units, a whole number above 0 with few digits. */
static bool is_plain(double count, double unit, double seconds)
{
    return count > 0 && count < 1e9 && count == floor(count) && count * unit == seconds;
}

static void put_seconds(Out *out, double seconds)
{
    double hours = seconds / 3600, minutes = seconds / 60;
    if (is_plain(hours, 3600, seconds))
        put(out, "%.0fh", hours);
    else if (is_plain(minutes, 60, seconds))
        put(out, "%.0fmin", minutes);
    else {
        put_real(out, seconds);
        put(out, "s");
    }
}

static void put_checkpoint(Out *out, const Config *config)
{
    if (config->checkpoint_unit == CHECKPOINT_SECONDS) {
        put_seconds(out, config->checkpoint_every);
        return;
    }
    put_real(out, config->checkpoint_every);
    put(out, config->checkpoint_unit == CHECKPOINT_STEPS ? "steps" : "epochs");
}

static void put_splits(Out *out, const SoftSplit *splits)
{
    for (int i = 0; i < MAX_SPLITS; i++)
        put(out, "%s[%d, %d, %d]", i ? ", " : "[", splits[i].kernel, splits[i].stride, splits[i].padding);
    put(out, "]");
}

void config_format(const Config *config, const Key *key, char *text, size_t size)
{
    Out out = {text, size, 0};
    const void *field = (const char *)config + key->offset;
    text[0] = '\0';
    switch (key->kind) {
    case KEY_BOOL:
        put(&out, *(const bool *)field ? "true" : "false");
        break;
    case KEY_INT:
        put(&out, "%d", *(const int *)field);
        break;
    case KEY_INT64:
        put(&out, "%lld", (long long)*(const int64_t *)field);
        break;
    case KEY_UINT64:
        put(&out, "%llu", (unsigned long long)*(const uint64_t *)field);
        break;
    case KEY_REAL:
        put_real(&out, *(const double *)field);
        break;
    case KEY_TEXT:
        put_text(&out, field);
        break;
    case KEY_CHOICE:
        put(&out, "%s", key->choices[*(const int *)field]);
        break;
    case KEY_DURATION:
        put_seconds(&out, *(const double *)field);
        break;
    case KEY_CHECKPOINT:
        put_checkpoint(&out, config);
        break;
    case KEY_MODEL:
        put(&out, "%s", (const char *)field);
        break;
    case KEY_SPLITS:
        put_splits(&out, field);
        break;
    case KEY_REALS:
        for (size_t i = 0; i < key->size; i++) {
            put(&out, i ? ", " : "[");
            put_real(&out, ((const double *)field)[i]);
        }
        put(&out, "]");
        break;
    case KEY_BLOCKS:
        put(&out, "[");
        for (int i = 0; i < config->model.block_groups; i++) put(&out, "%s%d", i ? ", " : "", ((const int *)field)[i]);
        put(&out, "]");
        break;
    }
}

/* ---- what a key takes */

static void put_range(Out *out, const KeyRange *range)
{
    bool bounded = range->max < KEY_UNBOUNDED;
    if (range->above_min)
        put(out, " more than %g", range->min);
    else if (bounded)
        put(out, " from %g", range->min);
    else
        put(out, " of at least %g", range->min);
    if (!bounded) return;
    if (range->below_max)
        put(out, range->above_min ? " and less than %.9g" : " to less than %.9g", range->max);
    else
        put(out, range->above_min ? " and at most %.9g" : " to %.9g", range->max);
}

void config_expected(const Key *key, char *text, size_t size)
{
    Out out = {text, size, 0};
    text[0] = '\0';
    switch (key->kind) {
    case KEY_BOOL:
        put(&out, "true or false");
        break;
    case KEY_UINT64:
        put(&out, "an integer of at least 0");
        break;
    case KEY_INT:
    case KEY_INT64:
        put(&out, "an integer");
        put_range(&out, &key->range);
        break;
    case KEY_REAL:
        put(&out, "a number");
        put_range(&out, &key->range);
        break;
    case KEY_REALS:
        put(&out, "a list of %zu numbers, each", key->size);
        put_range(&out, &key->range);
        break;
    case KEY_TEXT:
        put(&out, "text of at most %zu bytes", key->size - 1);
        break;
    case KEY_CHOICE:
        for (int i = 0; key->choices[i]; i++) put(&out, "%s%s", i ? ", " : "one of ", key->choices[i]);
        break;
    case KEY_DURATION:
        put(&out, "a time such as 90s, 30min or 2h");
        break;
    case KEY_CHECKPOINT:
        put(&out, "an interval such as 30min, 1000steps or 1epoch");
        break;
    case KEY_MODEL:
        put(&out, "the name of a model");
        break;
    case KEY_SPLITS:
        put(&out, "kernel, stride and padding of 1 to %d splits, as [[7, 4, 2], [3, 2, 1], [3, 2, 1]]", MAX_SPLITS);
        break;
    case KEY_BLOCKS:
        put(&out, "a list of at most %d block counts, as [3, 6, 6, 4]", MAX_DENSE_GROUPS);
        break;
    }
}

/* ---- all keys */

Status config_text(const Config *config, char **text, Error *error)
{
    size_t size;
    FILE *out = open_memstream(text, &size);
    if (!out) return error_set(error, STATUS_FAILED, "out of memory");
    const char *group = NULL;
    for (int i = 0; i < config_key_count(); i++) {
        const Key *key = config_key(i);
        char value[2 * CONFIG_TEXT];
        config_format(config, key, value, sizeof value);
        if (key->group != group) fprintf(out, "%s# ---- %s\n", group ? "\n" : "", key->group);
        group = key->group;
        int used = fprintf(out, "%s: %s", key->name, value);
        fprintf(out, "%*s # %s\n", used < 40 ? 40 - used : 0, "", key->meaning);
    }
    if (fclose(out) == 0) return STATUS_OK;
    free(*text);
    return error_set(error, STATUS_FAILED, "out of memory");
}

Status config_save(const Config *config, const char *path, Error *error)
{
    char *text;
    Status status = config_text(config, &text, error);
    if (status) return status;
    status = file_write(path, text, strlen(text), error);
    free(text);
    return status;
}

void config_describe(FILE *out)
{
    Config defaults;
    const char *group = NULL;
    config_defaults(&defaults);
    for (int i = 0; i < config_key_count(); i++) {
        const Key *key = config_key(i);
        char value[2 * CONFIG_TEXT], expected[256];
        config_format(&defaults, key, value, sizeof value);
        config_expected(key, expected, sizeof expected);
        if (key->group != group) fprintf(out, "\n%s\n", key->group);
        group = key->group;
        fprintf(out, "  %-18s %s\n  %-18s %s; default %s\n", key->name, key->meaning, "", expected, value);
    }
}

int config_differences(const Config *config, const Config *was, bool every, char *text, size_t size)
{
    Out out = {text, size, 0};
    int count = 0;
    text[0] = '\0';
    for (int i = 0; i < config_key_count(); i++) {
        const Key *key = config_key(i);
        if (key->may_change && !every) continue;
        char now[2 * CONFIG_TEXT], before[2 * CONFIG_TEXT];
        config_format(config, key, now, sizeof now);
        config_format(was, key, before, sizeof before);
        if (strcmp(now, before) == 0) continue;
        put(&out, "%s  %s: %s, was %s", count ? "\n" : "", key->name, now, before);
        count++;
    }
    return count;
}

void config_describe_model(const Config *config, char *text, size_t size)
{
    Config published = *config;
    char now[2 * CONFIG_TEXT], before[2 * CONFIG_TEXT];
    Error none = {0};
    int changed = 0;
    zoo_find(config->model.name, &published.model, &none);
    for (int i = 0; i < config_key_count(); i++) {
        const Key *key = config_key(i);
        if (!config_key_is_architecture(key)) continue;
        config_format(config, key, now, sizeof now);
        config_format(&published, key, before, sizeof before);
        changed += strcmp(now, before) != 0;
    }
    snprintf(text, size, "%s%s", config->model.name, changed ? " with another architecture" : "");
}
