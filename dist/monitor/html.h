/* html.h: the parts that pages have in common: head, style, text from outside. */
#ifndef DIST_MONITOR_HTML_H
#define DIST_MONITOR_HTML_H

#include <stdio.h>

/* Text as it may stand in an element or a quoted attribute; bytes that are no printable UTF-8 become \xNN. */
void html_text(FILE *out, const char *text);

void html_begin(FILE *out, const char *title); /* up to and with <body> and the title as <h1> */
void html_end(FILE *out);

/* A row "name | value" of a <table class="facts">, whose value is printed as by printf and then escaped. */
void html_fact(FILE *out, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A card of a <div class="cards">: a figure, and below it what it is. */
void html_card(FILE *out, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
