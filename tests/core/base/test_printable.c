/* Text from outside cannot command a terminal. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/base/printable.h"
#include "core/base/status.h"

Test(printable, keeps_text_and_escapes_the_rest)
{
    static const char *const CASES[][2] = {
        {"n01440764 tench", "n01440764 tench"},
        {"caf\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x90\x9f", "caf\xc3\xa9 \xe6\x97\xa5 \xf0\x9f\x90\x9f"},
        {"\x1b[31mred\r", "\\x1B[31mred\\x0D"},
        {"a\nb\tc\x7f", "a\\x0Ab\\x09c\\x7F"},
        {"latin \xe9!", "latin \\xE9!"},
        {"C1 \xc2\x9b", "C1 \\xC2\\x9B"},
        {"long form \xc0\xaf", "long form \\xC0\\xAF"},
        {"surrogate \xed\xa0\x80", "surrogate \\xED\\xA0\\x80"},
        {"above \xf4\x90\x80\x80", "above \\xF4\\x90\\x80\\x80"},
        {"cut \xe6\x97", "cut \\xE6\\x97"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char out[128];
        cr_assert_str_eq(printable(out, sizeof out, CASES[i][0]), CASES[i][1]);
        cr_assert_eq(is_utf8(CASES[i][0]), i < 4 || i == 5, "%s", CASES[i][1]);
        cr_assert_eq(is_printable_utf8(CASES[i][0]), i < 2, "%s", CASES[i][1]);
    }
}

Test(printable, cuts_between_characters)
{
    static const char TEXT[] = "\xc3\xa9\x1b\xc3\xa9";
    static const size_t LENGTHS[] = {0, 0, 0, 2, 2, 2, 2, 6, 6, 8};
    for (size_t size = 0; size < sizeof LENGTHS / sizeof LENGTHS[0]; size++) {
        char out[16];
        memset(out, '#', sizeof out);
        printable(out, size, TEXT);
        if (size > 0) cr_assert_eq(strlen(out), LENGTHS[size], "size %zu: %s", size, out);
        cr_assert_eq(out[size], '#');
    }
}

Test(printable, is_what_messages_are)
{
    Error error = {0};
    error_set(&error, STATUS_DATA, "%s: bad", "\x1b]0;title\a");
    error_add(&error, "  hint:\t%s", "\x1b[2J");
    cr_assert_str_eq(error.message, "\\x1B]0;title\\x07: bad\n  hint:\t\\x1B[2J");
}
