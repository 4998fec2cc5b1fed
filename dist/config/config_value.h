/* config_value.h: one text or number of a configuration, between what stands in YAML and the field. For config_kinds.c.
 *
 * The value_ functions read item `item` of the value that is being set; what the key does not take they refuse with a
 * message: where, which key, expected, found. The out_ functions write it as a YAML file would hold it.
 */
#ifndef DIST_CONFIG_CONFIG_VALUE_H
#define DIST_CONFIG_CONFIG_VALUE_H

#include "dist/config/config_keys.h"

typedef struct Target { /* the key that is being set; for messages */
    Config *config;
    const Key *key;
    const ConfigValue *value;
    const char *where;
    char expected[256]; /* config_expected of the key */
    Error *error;
} Target;

Status value_refuse(const Target *target, const char *found);
Status value_refuse_item(const Target *target, int item);

bool value_is_digits(const char *text);
bool value_in_range(double number, const KeyRange *range);
Status value_integer(const Target *target, int item, int64_t max, int64_t *out);
Status value_real(const Target *target, int item, double *out);
/* Copies `text` to a field of longest + 1 bytes: only what a YAML file can hold. */
Status value_text(const Target *target, int item, const char *text, size_t longest, char *field);

typedef struct TextOut { /* text that grows to the end of its buffer and no further */
    char *text;
    size_t size, used;
} TextOut;

void out_put(TextOut *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void out_quoted(TextOut *out, const char *value);
void out_real(TextOut *out, double value); /* the shortest decimal that reads back as the same double */

#endif
