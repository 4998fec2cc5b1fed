#include "core/base/printable.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the character of UTF-8 at `text`; 0: there is none (RFC 3629: shortest form, no surrogates, up to 10FFFF). */
static int character_length(const unsigned char *text, uint32_t *code)
{
    static const uint32_t LOWEST[5] = {0, 0, 0x80, 0x800, 0x10000};
    int length = text[0] < 0x80 ? 1 : text[0] < 0xc0 ? 0 : text[0] < 0xe0 ? 2 : text[0] < 0xf0 ? 3 : 4;
    if (length == 0 || text[0] > 0xf4) return 0;
    *code = length == 1 ? text[0] : text[0] & (0xffu >> (length + 1));
    for (int i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) return 0;
        *code = *code << 6 | (text[i] & 0x3fu);
    }
    bool surrogate = *code >= 0xd800 && *code < 0xe000;
    return *code < LOWEST[length] || surrogate || *code > 0x10ffff ? 0 : length;
}

static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

static char *copy(char *out, size_t size, const char *text, bool lines)
{
    size_t used = 0;
    for (const unsigned char *at = (const unsigned char *)text; *at;) {
        uint32_t code = 0;
        int length = character_length(at, &code), taken = length ? length : 1;
        bool as_is = length && (!is_control(code) || (lines && (code == '\n' || code == '\t')));
        if (used + (size_t)(as_is ? taken : 4 * taken) >= size) break;
        for (int i = 0; i < taken; i++)
            if (as_is)
                out[used++] = (char)at[i];
            else
                used += (size_t)sprintf(out + used, "\\x%02X", at[i]);
        at += taken;
    }
    if (size > 0) out[used] = 0;
    return out;
}

char *printable(char *out, size_t size, const char *text)
{
    return copy(out, size, text, false);
}

char *printable_lines(char *out, size_t size, const char *text)
{
    return copy(out, size, text, true);
}

bool is_utf8(const char *text)
{
    uint32_t code;
    int length = 1;
    for (const unsigned char *at = (const unsigned char *)text; *at && length; at += length)
        length = character_length(at, &code);
    return length > 0;
}

bool is_printable_utf8(const char *text)
{
    uint32_t code = ' ';
    int length = 1;
    for (const unsigned char *at = (const unsigned char *)text; *at && length && !is_control(code); at += length)
        length = character_length(at, &code);
    return length > 0 && !is_control(code);
}
