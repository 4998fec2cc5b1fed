#include "core/base/shell_words.h"

#include <stdio.h>
#include <string.h>

#include "core/base/printable.h"

typedef struct Line {
    char *out;
    size_t size, used; /* as many bytes as the whole would take; those that fit are there */
} Line;

static void put(Line *line, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++, line->used++)
        if (line->used < line->size) line->out[line->used] = bytes[i];
}

/* '...', where only the ' itself cannot stand: '\'' closes, adds one, and opens again. */
static void put_quoted(Line *line, const char *word)
{
    put(line, "'", 1);
    for (; *word; word++)
        if (*word == '\'')
            put(line, "'\\''", 4);
        else
            put(line, word, 1);
    put(line, "'", 1);
}

static void put_escaped(Line *line, const char *word)
{
    put(line, "$'", 2);
    for (; *word; word++) {
        char escape[8];
        unsigned char byte = (unsigned char)*word;
        if (byte < ' ' || byte >= 0x7f) {
            snprintf(escape, sizeof escape, "\\x%02x", byte);
            put(line, escape, 4);
        } else {
            if (byte == '\\' || byte == '\'') put(line, "\\", 1);
            put(line, word, 1);
        }
    }
    put(line, "'", 1);
}

static void put_word(Line *line, const char *word)
{
    static const char PLAIN[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_";
    const size_t length = strlen(word);
    if (length > 0 && strspn(word, PLAIN) == length)
        put(line, word, length);
    else if (is_printable_utf8(word))
        put_quoted(line, word);
    else
        put_escaped(line, word);
}

void shell_join(char *out, size_t size, int count, const char *const *words)
{
    static const char MORE[] = " ...";
    Line line = {.out = out, .size = size};
    size_t whole = 0; /* where MORE still fits */
    for (int i = 0; i < count; i++) {
        if (i > 0) put(&line, " ", 1);
        put_word(&line, words[i]);
        if (line.used + sizeof MORE <= size) whole = line.used;
    }
    if (line.used < size)
        out[line.used] = 0;
    else
        memcpy(out + whole, MORE, sizeof MORE);
}
