#include "core/base/path.h"

#include <criterion/criterion.h>
#include <string.h>

static const char *joined(const char *folder, const char *name)
{
    static char path[PATH_SIZE];
    Error error = {0};
    cr_assert_eq(path_join(path, sizeof path, folder, name, &error), STATUS_OK, "%s", error.message);
    return path;
}

static const char *parent(const char *of)
{
    static char path[PATH_SIZE];
    Error error = {0};
    cr_assert_eq(path_parent(path, sizeof path, of, &error), STATUS_OK, "%s", error.message);
    return path;
}

Test(path, joins_with_one_slash)
{
    cr_expect_str_eq(joined("runs/a", "log.txt"), "runs/a/log.txt");
    cr_expect_str_eq(joined("runs/a/", "log.txt"), "runs/a/log.txt");
    cr_expect_str_eq(joined("/", "log.txt"), "/log.txt");
    cr_expect_str_eq(joined("", "log.txt"), "log.txt");
}

Test(path, a_parent_is_a_folder_that_can_be_opened)
{
    cr_expect_str_eq(parent("runs/a/log.txt"), "runs/a");
    cr_expect_str_eq(parent("/log.txt"), "/");
    cr_expect_str_eq(parent("log.txt"), ".");
}

Test(path, what_does_not_fit_is_an_error_and_not_a_shorter_path)
{
    char path[12] = "before";
    Error error = {0};
    cr_expect_eq(path_join(path, sizeof path, "folder", "name", &error), STATUS_OK, "11 bytes and the zero fit");
    cr_expect_str_eq(path, "folder/name");
    cr_expect_eq(path_join(path, sizeof path, "folders", "name", &error), STATUS_USAGE);
    cr_expect_str_eq(path, "");
    cr_expect(strstr(error.message, "folders"), "%s", error.message);
    cr_expect(strstr(error.message, "12 bytes; at most 11"), "%s", error.message);
    error = (Error){0};
    cr_expect_eq(path_parent(path, sizeof path, "a/folder/of/more/bytes", &error), STATUS_USAGE);
    cr_expect_str_eq(path, "");
}
