/* json_output.h: what `--json` prints: one object on one line, whatever bytes names are made of. */
#ifndef TOOLS_JSON_OUTPUT_H
#define TOOLS_JSON_OUTPUT_H

#include <jansson.h>
#include <stdio.h>

json_t *json_words(const char *text); /* bytes that are not UTF-8 become \xNN; null for NULL */
json_t *json_figure(double value);    /* null unless it is finite */
void json_print(json_t *object);      /* on stdout, with a line end; takes the reference */
void json_write_line(FILE *out, json_t *object);

#endif
