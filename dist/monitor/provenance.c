#include "dist/monitor/provenance.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "core/base/printable.h"

/* ---- the texts, by the names that they have everywhere */

typedef struct Text {
    const char *name;
    size_t offset, size;
} Text;

#define TEXT(field)                                                                                                    \
    {                                                                                                                  \
#field, offsetof(Provenance, field), sizeof((Provenance *)0)->field                                            \
    }
static const Text TEXTS[] = {TEXT(version), TEXT(command), TEXT(hosts), TEXT(processors), TEXT(mpi), TEXT(libraries)};
enum { TEXT_COUNT = sizeof TEXTS / sizeof TEXTS[0] };

typedef struct Number {
    const char *name;
    size_t offset;
} Number;

#define NUMBER(field)                                                                                                  \
    {                                                                                                                  \
#field, offsetof(Provenance, field)                                                                            \
    }
static const Number NUMBERS[] = {NUMBER(ranks), NUMBER(nodes), NUMBER(threads)};
enum { NUMBER_COUNT = sizeof NUMBERS / sizeof NUMBERS[0] };

void provenance_each(const Provenance *provenance, void (*each)(void *context, const char *name, const char *value),
                     void *context)
{
    char layout[96];
    for (int i = 0; i < TEXT_COUNT; i++) {
        const char *value = (const char *)provenance + TEXTS[i].offset;
        if (value[0]) each(context, TEXTS[i].name, value);
    }
    if (!provenance->ranks) return;
    snprintf(layout, sizeof layout, "%d rank%s on %d node%s, %d thread%s in all", provenance->ranks,
             provenance->ranks == 1 ? "" : "s", provenance->nodes, provenance->nodes == 1 ? "" : "s",
             provenance->threads, provenance->threads == 1 ? "" : "s");
    each(context, "layout", layout);
}

/* ---- JSON */

char *provenance_json(const Provenance *provenance)
{
    json_t *object = json_object();
    for (int i = 0; i < TEXT_COUNT; i++) {
        char shown[4 * sizeof provenance->command];
        const char *value = (const char *)provenance + TEXTS[i].offset;
        json_object_set_new(object, TEXTS[i].name,
                            json_string(is_utf8(value) ? value : printable(shown, sizeof shown, value)));
    }
    for (int i = 0; i < NUMBER_COUNT; i++) {
        int value;
        memcpy(&value, (const char *)provenance + NUMBERS[i].offset, sizeof value);
        json_object_set_new(object, NUMBERS[i].name, json_integer(value));
    }
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

void provenance_parse(const char *json, size_t size, Provenance *provenance)
{
    *provenance = (Provenance){.ranks = 0};
    json_t *object = json_loadb(json, size, 0, NULL);
    for (int i = 0; i < TEXT_COUNT; i++) {
        const char *value = json_string_value(json_object_get(object, TEXTS[i].name));
        char *target = (char *)provenance + TEXTS[i].offset;
        if (value) snprintf(target, TEXTS[i].size, "%s", value);
    }
    for (int i = 0; i < NUMBER_COUNT; i++) {
        json_int_t value = json_integer_value(json_object_get(object, NUMBERS[i].name));
        int number = value > 0 && value < 1 << 30 ? (int)value : 0;
        memcpy((char *)provenance + NUMBERS[i].offset, &number, sizeof number);
    }
    json_decref(object);
}
