/* Writing: the resolved file of a run, the list of keys, and what differs between two configurations. */
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "dist/config/config_keys.h"

Status config_text(const Config *config, char **text, Error *error)
{
    size_t size;
    FILE *out = open_memstream(text, &size);
    if (!out) return memory_failed("a configuration's text", error);
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
    return memory_failed("a configuration's text", error);
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

static bool differs(const Config *config, const Config *was, const Key *key, char now[2 * CONFIG_TEXT],
                    char before[2 * CONFIG_TEXT])
{
    config_format(config, key, now, 2 * CONFIG_TEXT);
    config_format(was, key, before, 2 * CONFIG_TEXT);
    return strcmp(now, before) != 0;
}

int config_differences(const Config *config, const Config *was, bool every, char *text, size_t size)
{
    char now[2 * CONFIG_TEXT], before[2 * CONFIG_TEXT];
    size_t used = 0;
    int count = 0;
    text[0] = '\0';
    for (int i = 0; i < config_key_count(); i++) {
        const Key *key = config_key(i);
        if ((key->may_change && !every) || !differs(config, was, key, now, before)) continue;
        if (used < size)
            used += (size_t)snprintf(text + used, size - used, "%s  %s: %s, was %s", count ? "\n" : "", key->name, now,
                                     before);
        count++;
    }
    return count;
}

void config_describe_model(const Config *config, char *text, size_t size)
{
    Config published = *config;
    char now[2 * CONFIG_TEXT], before[2 * CONFIG_TEXT];
    Error none = {0};
    bool changed = false;
    zoo_find(config->model.name, &published.model, &none);
    for (int i = 0; i < config_key_count() && !changed; i++)
        changed = config_key_is_architecture(config_key(i)) && differs(config, &published, config_key(i), now, before);
    snprintf(text, size, "%s%s", config->model.name, changed ? " with another architecture" : "");
}
