/* shell_words.h: a command line as it could be typed again.
 *
 * A word that a shell would take apart or expand stands in '...'; one with control characters, or with bytes that are
 * not UTF-8, in bash's $'...', so that the line is fit for a terminal and for JSON, too.
 */
#ifndef CORE_BASE_SHELL_WORDS_H
#define CORE_BASE_SHELL_WORDS_H

#include <stddef.h>

/* Writes the words to `out`, quoted where need be, with spaces between. What does not fit is left out, whole words, and
 * " ..." stands there instead; size: 5 at least. */
void shell_join(char *out, size_t size, int count, const char *const *words);

#endif
