/* What the program shows to the libraries that it is linked with. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/support/command.h"

#define T2T BUILD_FOLDER "/t2t"

#if defined __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED
#endif

/* The linker gives the executable a dynamic symbol for each visible name that a linked library defines or uses, and the
 * library's calls then end here. Variables of a library that the executable has a copy of are meant to be there. */
Test(symbols, none_of_ours_takes_the_place_of_a_librarys)
{
#ifdef SANITIZED
    cr_skip_test("a sanitizer's functions are meant to take the place of the libraries'");
#endif
    Command copies = command_run(60, "readelf -rW " T2T " | grep _COPY");
    Command names = command_run(60, "nm -D --defined-only " T2T);
    cr_assert_eq(names.exit_status, 0, "%s", names.output);
    cr_assert(strstr(names.output, "stdout"), "nm shows nothing:\n%s", names.output);
    for (char *line = strtok(names.output, "\n"); line; line = strtok(NULL, "\n")) {
        char *name = strrchr(line, ' '), word[512];
        cr_assert(name, "%s", line);
        name[1 + strcspn(name + 1, "@")] = 0;
        bool reserved = name[1] == '_'; /* for compiler and linker */
        bool copied = false;
        for (const char *at = copies.output; !copied && (at = strstr(at, name)); at++)
            copied = strchr("@ \n", at[strlen(name)]) != NULL;
        snprintf(word, sizeof word, "%s", name + 1);
        cr_expect(reserved || copied, "a library's calls of '%s' end in t2t's function of that name", word);
    }
    command_free(&copies);
    command_free(&names);
}

/* Hidden or not, a name of ours that a library has, too, is what our own files and tests would call in its place. */
Test(symbols, none_of_ours_is_a_librarys_name)
{
    Command shared = command_run(60,
                                 "nm --defined-only " BUILD_FOLDER "/libt2t.a | awk '$2 ~ /^[TDBRV]$/ { print $3 }' "
                                 "| sort -u >%s/ours && ldd " T2T " | awk '/=> \\// { print $3 }' | xargs -n 1 nm -D "
                                 "--defined-only | awk '{ sub(/@.*/, \"\", $3); print $3 }' | sort -u >%s/theirs && "
                                 "test -s %s/ours && test -s %s/theirs && comm -12 %s/ours %s/theirs",
                                 temporary_folder(), temporary_folder(), temporary_folder(), temporary_folder(),
                                 temporary_folder(), temporary_folder());
    cr_assert_eq(shared.exit_status, 0, "%s", shared.output);
    cr_expect_str_empty(shared.output, "names of ours and of a linked library:\n%s", shared.output);
    command_free(&shared);
}
