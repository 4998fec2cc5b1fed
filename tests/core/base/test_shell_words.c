/* A line that bash takes apart into the very words. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/base/printable.h"
#include "core/base/shell_words.h"
#include "tests/support/command.h"

static const char *const WORDS[] = {
    "t2t",   "train", "--set",       "mixup=0.8",     "",          "my data",      "it's",
    "$HOME", "`id`",  "*.c",         "a;b|c&d>e",     "\\n",       "new\nline\t!", "\x1b[31m",
    "~",     "#",     "caf\xc3\xa9", "latin \xe9 1f", "[3,6,6,4]", "{a,b}",        "-"};
enum { COUNT = sizeof WORDS / sizeof WORDS[0] };

Test(shell_words, only_what_needs_it_is_quoted)
{
    static const char *const CASES[][2] = {
        {"configs/t2t_vit_14.yaml", "configs/t2t_vit_14.yaml"},
        {"lr=5e-4", "lr=5e-4"},
        {"", "''"},
        {"my data", "'my data'"},
        {"it's", "'it'\\''s'"},
        {"caf\xc3\xa9", "'caf\xc3\xa9'"},
        {"it's\n", "$'it\\'s\\x0a'"},
        {"\xe9", "$'\\xe9'"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char line[64];
        shell_join(line, sizeof line, 1, &CASES[i][0]);
        cr_expect_str_eq(line, CASES[i][1]);
    }
}

Test(shell_words, bash_reads_the_same_words)
{
    char line[1024], path[600], expected[1024] = "";
    shell_join(line, sizeof line, COUNT, WORDS);
    cr_expect(is_printable_utf8(line));
    for (int i = 0; i < COUNT; i++) {
        strcat(expected, WORDS[i]);
        strcat(expected, "\x01");
    }
    snprintf(path, sizeof path, "%s/script", temporary_folder());
    FILE *script = fopen(path, "w");
    cr_assert_not_null(script);
    fprintf(script, "printf '%%s\\001' %s\n", line);
    cr_assert_eq(fclose(script), 0);
    Command command = command_run(20, "bash %s", path);
    cr_expect_eq(command.exit_status, 0);
    cr_expect_str_eq(command.output, expected);
    command_free(&command);
}

Test(shell_words, what_does_not_fit_is_left_out_in_whole_words)
{
    static const char *const LINE[] = {"t2t", "a b", "cd"}; /* t2t 'a b' cd: 12 characters */
    static const char *const EXPECTED[] = {" ...",    " ...",    " ...",    " ...",         "t2t ...",
                                           "t2t ...", "t2t ...", "t2t ...", "t2t 'a b' cd", "t2t 'a b' cd"};
    static const size_t SIZES[] = {5, 6, 7, 7, 8, 9, 10, 12, 13, 14};
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        char line[20];
        memset(line, '#', sizeof line);
        shell_join(line, SIZES[i], 3, LINE);
        cr_expect_str_eq(line, EXPECTED[i], "size %zu: %s", SIZES[i], line);
        cr_expect_eq(line[SIZES[i]], '#', "size %zu", SIZES[i]);
    }
}
