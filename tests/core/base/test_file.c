#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

#include "core/base/file.h"
#include "tests/support/command.h"

static char path[4096];

static const char *in_folder(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", temporary_folder(), name);
    return path;
}

static int entries(const char *folder)
{
    DIR *listing = opendir(folder);
    cr_assert(listing);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(listing));) count += entry->d_name[0] != '.';
    closedir(listing);
    return count;
}

static void expect_content(const char *name, const char *content)
{
    char *bytes;
    size_t size;
    Error error = {0};
    cr_assert_eq(file_read(name, 100, &bytes, &size, &error), STATUS_OK, "%s", error.message);
    cr_assert_str_eq(bytes, content);
    cr_assert_eq(size, strlen(content));
    free(bytes);
}

Test(file, written_files_replace_the_old_whole)
{
    Error error = {0};
    const char *name = in_folder("a");
    cr_assert_eq(file_write(name, "first", 5, &error), STATUS_OK, "%s", error.message);
    expect_content(name, "first");
    cr_assert_eq(file_write(name, "2", 1, &error), STATUS_OK);
    expect_content(name, "2");
    cr_assert_eq(file_write(name, "", 0, &error), STATUS_OK);
    expect_content(name, "");
    cr_assert_eq(entries(temporary_folder()), 1, "no temporary is left");
    cr_assert(file_exists(name));
    cr_assert(!file_exists(in_folder("b")));
}

Test(file, nothing_is_visible_before_the_finish)
{
    Error error = {0};
    AtomicFile file;
    const char *name = in_folder("a");
    cr_assert_eq(file_write(name, "old", 3, &error), STATUS_OK);
    cr_assert_eq(atomic_file_open(&file, name, &error), STATUS_OK);
    cr_assert_eq(atomic_file_write(&file, "new", 3, &error), STATUS_OK);
    expect_content(name, "old");
    cr_assert_eq(atomic_file_finish(&file, STATUS_FAILED, &error), STATUS_FAILED, "the given status comes back");
    expect_content(name, "old");
    cr_assert_eq(entries(temporary_folder()), 1);
}

Test(file, a_full_disk_leaves_the_old_file)
{
    Error error = {0};
    const char *name = in_folder("a");
    cr_assert_eq(file_write(name, "old", 3, &error), STATUS_OK);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 16, 1 << 16});
    char *bytes = calloc(1, 1 << 20);
    cr_assert_eq(file_write(name, bytes, 1 << 20, &error), STATUS_FAILED);
    cr_assert(strstr(error.message, name), "%s", error.message);
    free(bytes);
    expect_content(name, "old");
    cr_assert_eq(entries(temporary_folder()), 1);
}

Test(file, errors_name_the_file)
{
    Error error = {0};
    cr_assert_eq(file_write(in_folder("no/such/folder"), "x", 1, &error), STATUS_FAILED);
    cr_assert(strstr(error.message, "no/such/folder"));
    char *bytes;
    size_t size;
    error = (Error){0};
    cr_assert_eq(file_read(in_folder("none"), 10, &bytes, &size, &error), STATUS_DATA);
    cr_assert(strstr(error.message, "none: cannot open"), "%s", error.message);
    error = (Error){0};
    cr_assert_eq(file_read(temporary_folder(), 10, &bytes, &size, &error), STATUS_DATA);
    cr_assert(strstr(error.message, "not a regular file"), "%s", error.message);
    error = (Error){0};
    cr_assert_eq(file_write(in_folder("big"), "0123456789", 10, &error), STATUS_OK);
    cr_assert_eq(file_read(path, 9, &bytes, &size, &error), STATUS_DATA);
    cr_assert(strstr(error.message, "at most 9"), "%s", error.message);
    cr_assert_eq(file_size(path), 10);
}

Test(file, make_folders)
{
    Error error = {0};
    const char *name = in_folder("a/b//c");
    cr_assert_eq(file_make_folders(name, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(file_make_folders(name, &error), STATUS_OK, "twice");
    struct stat info;
    cr_assert(stat(name, &info) == 0 && S_ISDIR(info.st_mode));
    cr_assert_eq(file_write(in_folder("a/file"), "", 0, &error), STATUS_OK);
    cr_assert_eq(file_make_folders(in_folder("a/file/x"), &error), STATUS_FAILED);
    cr_assert(strstr(error.message, "there is a file of that name"), "%s", error.message);
}

/* ---- temporary files */

static const char *temporary_of(const char *name, long pid)
{
    static char temporary[4200];
    snprintf(temporary, sizeof temporary, "%s.tmp.%ld", name, pid);
    return temporary;
}

Test(file, a_temporary_file_is_never_written_through_a_link)
{
    Error error = {0};
    char victim[4096];
    snprintf(victim, sizeof victim, "%s", in_folder("victim"));
    cr_assert_eq(file_write(victim, "mine", 4, &error), STATUS_OK);
    const char *name = in_folder("a");
    cr_assert_eq(symlink(victim, temporary_of(name, getpid())), 0);
    cr_assert_eq(file_write(name, "new", 3, &error), STATUS_OK, "%s", error.message);
    expect_content(victim, "mine");
    expect_content(in_folder("a"), "new");
    struct stat info;
    cr_assert_eq(lstat(in_folder("a"), &info), 0);
    cr_expect(S_ISREG(info.st_mode), "the target is a file of its own");
}

Test(file, a_temporary_file_of_a_process_that_is_gone_is_in_nobodys_way)
{
    Error error = {0};
    const char *name = in_folder("a");
    FILE *left = fopen(temporary_of(name, getpid()), "w");
    cr_assert(left && fputs("a longer text than the new one", left) > 0 && fclose(left) == 0);
    cr_assert_eq(file_write(name, "new", 3, &error), STATUS_OK, "%s", error.message);
    expect_content(name, "new");
    cr_expect_eq(entries(temporary_folder()), 1);
}

static void leave(const char *name)
{
    FILE *file = fopen(in_folder(name), "w");
    cr_assert(file && fclose(file) == 0);
}

Test(file, sweeping_removes_what_the_dead_left_and_nothing_else)
{
    static const char *const STAYS[] = {"a",        "a.tmp.",    "a.tmp.12x",   "a.tmp.1.bak",
                                        "b.tmp.77", "aa.tmp.77", "a.jpg.tmp.7", "victim"};
    enum { STAY = sizeof STAYS / sizeof STAYS[0] };
    Error error = {0};
    for (int i = 0; i < STAY; i++) leave(STAYS[i]);
    leave("a.tmp.77");
    leave("config.yaml.tmp.123456789");
    cr_assert_eq(symlink("victim", in_folder("a.tmp.78")), 0);
    cr_assert_eq(mkdir(in_folder("a.tmp.79"), 0777), 0);
    AtomicFile living;
    cr_assert_eq(atomic_file_open(&living, in_folder("a"), &error), STATUS_OK);
    file_sweep(temporary_folder(), (const char *const[]){"a", "config.yaml", NULL});
    for (int i = 0; i < STAY; i++) cr_expect(file_exists(in_folder(STAYS[i])), "%s is gone", STAYS[i]);
    cr_expect_not(file_exists(in_folder("a.tmp.77")));
    cr_expect_not(file_exists(in_folder("config.yaml.tmp.123456789")));
    cr_expect(file_exists(in_folder("a.tmp.78")) && file_exists(in_folder("a.tmp.79")), "a link and a folder stay");
    cr_expect(file_exists(living.temporary), "it is being written");
    cr_assert_eq(atomic_file_finish(&living, STATUS_OK, &error), STATUS_OK, "%s", error.message);
}
