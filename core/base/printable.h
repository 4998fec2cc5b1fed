/* printable.h: text from outside, made fit for a terminal.
 *
 * Names of files, classes and tensors are any bytes; some of them are commands to a terminal. What is not a printable
 * character of UTF-8 becomes \xNN, byte by byte.
 */
#ifndef CORE_BASE_PRINTABLE_H
#define CORE_BASE_PRINTABLE_H

#include <stdbool.h>
#include <stddef.h>

/* Writes `text` to `out`, cut where a character does not fit whole; returns `out`. 4 * strlen(text) + 1 bytes hold any
 * text. */
char *printable(char *out, size_t size, const char *text);
/* The same for messages of several lines: line ends and tabs stay. */
char *printable_lines(char *out, size_t size, const char *text);

bool is_utf8(const char *text);
bool is_printable_utf8(const char *text); /* and without control characters */

#endif
