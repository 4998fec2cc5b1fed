#include "tools/json_output.h"

#include <math.h>
#include <stdlib.h>

#include "core/base/memory.h"
#include "core/base/printable.h"

json_t *json_words(const char *text)
{
    if (!text) return json_null();
    if (is_utf8(text)) return json_string(text);
    char *shown = memory_copy_printable(text, "a text", &(Error){0});
    json_t *string = shown ? json_string(shown) : NULL;
    free(shown);
    return string;
}

json_t *json_figure(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

void json_write_line(FILE *out, json_t *object)
{
    json_dumpf(object, out, JSON_COMPACT | JSON_REAL_PRECISION(12));
    fputc('\n', out);
    json_decref(object);
}

void json_print(json_t *object)
{
    json_write_line(stdout, object);
}
