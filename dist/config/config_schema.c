/* config_schema.c: the table of keys as a JSON schema (draft 7), by which editors check and complete a YAML file. */
#include <jansson.h>
#include <stdlib.h>

#include "dist/config/config_keys.h"

static void add_range(json_t *type, const KeyRange *range, bool is_whole)
{
    if (range->min == 0 && range->max == 0) return; /* NO_RANGE */
    json_object_set_new(type, range->above_min ? "exclusiveMinimum" : "minimum",
                        is_whole ? json_integer((json_int_t)range->min) : json_real(range->min));
    if (range->max >= KEY_UNBOUNDED) return;
    json_object_set_new(type, range->below_max ? "exclusiveMaximum" : "maximum",
                        is_whole ? json_integer((json_int_t)range->max) : json_real(range->max));
}

static json_t *number_type(const Key *key, const char *name)
{
    json_t *type = json_pack("{s:s}", "type", name);
    add_range(type, &key->range, name[0] == 'i');
    return type;
}

static json_t *list_type(json_t *item, size_t least, size_t most)
{
    return json_pack("{s:s, s:o, s:I, s:I}", "type", "array", "items", item, "minItems", (json_int_t)least, "maxItems",
                     (json_int_t)most);
}

static json_t *names_type(const Key *key)
{
    json_t *names = json_array();
    if (key->kind == KEY_MODEL)
        for (int i = 0; zoo_name(i); i++) json_array_append_new(names, json_string(zoo_name(i)));
    else
        for (int i = 0; key->choices[i]; i++) json_array_append_new(names, json_string(key->choices[i]));
    return json_pack("{s:o}", "enum", names);
}

static json_t *quantity_type(const char *units)
{
    char pattern[96];
    snprintf(pattern, sizeof pattern, "^[0-9.][0-9.e+-]* *(%s)$", units);
    return json_pack("{s:s, s:s}", "type", "string", "pattern", pattern);
}

static json_t *type_of(const Key *key)
{
    switch (key->kind) {
    case KEY_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    case KEY_INT:
    case KEY_INT64:
        return number_type(key, "integer");
    case KEY_UINT64:
        return json_pack("{s:s, s:i}", "type", "integer", "minimum", 0);
    case KEY_REAL:
        return number_type(key, "number");
    case KEY_REALS:
        return list_type(number_type(key, "number"), key->size, key->size);
    case KEY_TEXT:
        return json_pack("{s:[s, s]}", "type", "string", "null");
    case KEY_TEXTS:
        return list_type(json_pack("{s:s}", "type", "string"), 0, CONFIG_LIST);
    case KEY_CHOICE:
    case KEY_MODEL:
        return names_type(key);
    case KEY_DURATION:
        return quantity_type("s|min|h");
    case KEY_CHECKPOINT:
        return quantity_type("s|min|h|steps?|epochs?");
    case KEY_SPLITS:
        return list_type(list_type(number_type(key, "integer"), 3, 3), 1, MAX_SPLITS);
    case KEY_BLOCKS:
        return list_type(number_type(key, "integer"), 0, MAX_DENSE_GROUPS);
    }
    return NULL;
}

void config_schema(FILE *out)
{
    Config defaults;
    json_t *keys = json_object();
    config_defaults(&defaults);
    for (int i = 0; i < config_key_count(); i++) {
        const Key *key = config_key(i);
        char value[2 * CONFIG_TEXT];
        config_format(&defaults, key, value, sizeof value);
        json_t *type = type_of(key), *usual = json_loads(value, JSON_DECODE_ANY, NULL);
        json_object_set_new(type, "description", json_string(key->meaning));
        json_object_set_new(type, "default", usual ? usual : json_string(value)); /* a word is no JSON */
        json_object_set_new(keys, key->name, type);
    }
    json_object_set_new(
        keys, "base",
        json_pack("{s:s, s:s}", "type", "string", "description",
                  "a file with the settings that this one does not set, as seen from this one's folder"));
    json_t *schema =
        json_pack("{s:s, s:s, s:s, s:o, s:b}", "$schema", "http://json-schema.org/draft-07/schema#", "title",
                  "t2t: settings of a run", "type", "object", "properties", keys, "additionalProperties", 0);
    json_dumpf(schema, out, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    fputc('\n', out);
    json_decref(schema);
}
