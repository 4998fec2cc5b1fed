#include "tools/json_output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/printable.h"

json_t *json_words(const char *text)
{
    if (!text) return json_null();
    if (is_utf8(text)) return json_string(text);
    size_t size = 4 * strlen(text) + 1;
    char *shown = malloc(size);
    json_t *string = shown ? json_string(printable(shown, size, text)) : NULL;
    free(shown);
    return string;
}

json_t *json_figure(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

void json_print(json_t *object)
{
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
    putchar('\n');
    json_decref(object);
}
