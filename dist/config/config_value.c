#include "dist/config/config_value.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/printable.h"

Status value_refuse(const Target *target, const char *found)
{
    return error_set(target->error, STATUS_USAGE, "%s: %s: expected %s, found %s", target->where, target->key->name,
                     target->expected, found);
}

Status value_refuse_item(const Target *target, int item)
{
    char found[128];
    const char *text = target->value->items[item].text;
    const char *quote = target->value->items[item].quoted ? "\"" : "'";
    if (text[0] == '\0') return value_refuse(target, "nothing");
    snprintf(found, sizeof found, "%s%.100s%s", quote, text, quote);
    return value_refuse(target, found);
}

void out_put(TextOut *out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = out->size - out->used;
    int wanted = vsnprintf(out->text + out->used, room, format, arguments);
    va_end(arguments);
    if (wanted > 0) out->used += (size_t)wanted < room ? (size_t)wanted : room - 1;
}

/* Whether a YAML file holds the text as it is: no line or paragraph separator, no byte order mark, no noncharacter. */
static bool is_yaml_text(const char *text)
{
    static const char *const CHANGED[] = {"\u2028", "\u2029", "\ufeff", "\ufffe", "\uffff"};
    for (size_t i = 0; i < sizeof CHANGED / sizeof CHANGED[0]; i++)
        if (strstr(text, CHANGED[i])) return false;
    return is_printable_utf8(text);
}

Status value_text(const Target *target, int item, const char *text, size_t longest, char *field)
{
    if (!is_yaml_text(text)) return value_refuse(target, "control characters, or bytes that are not UTF-8");
    if (strlen(text) > longest) return value_refuse_item(target, item);
    memcpy(field, text, strlen(text) + 1);
    return STATUS_OK;
}

void out_quoted(TextOut *out, const char *value)
{
    out_put(out, "\"");
    for (; *value; value++) out_put(out, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
    out_put(out, "\"");
}

bool value_in_range(double number, const KeyRange *range)
{
    if (range->above_min ? number <= range->min : number < range->min) return false;
    return range->below_max ? number < range->max : number <= range->max;
}

bool value_is_digits(const char *text)
{
    return text[0] && strspn(text, "0123456789") == strlen(text);
}

Status value_integer(const Target *target, int item, int64_t max, int64_t *out)
{
    const char *text = target->value->items[item].text;
    errno = 0;
    long long number = strtoll(text, NULL, 10);
    bool plain = !target->value->items[item].quoted && value_is_digits(text + (text[0] == '-'));
    if (!plain || errno || number > max || !value_in_range((double)number, &target->key->range))
        return value_refuse_item(target, item);
    *out = number;
    return STATUS_OK;
}

Status value_real(const Target *target, int item, double *out)
{
    const char *text = target->value->items[item].text;
    char *end;
    double number = strtod(text, &end);
    /* strtod also takes "nan", "inf", hexadecimal and leading blanks. */
    bool plain = !target->value->items[item].quoted && text[0] && *end == '\0' &&
                 strspn(text, "+-.0123456789eE") == strlen(text);
    if (!plain || !value_in_range(number, &target->key->range)) return value_refuse_item(target, item);
    *out = number;
    return STATUS_OK;
}

void out_real(TextOut *out, double value)
{
    char text[32];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    out_put(out, "%s", text);
}
