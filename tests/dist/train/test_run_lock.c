#include "dist/train/run_lock.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "tests/support/command.h"

static char folder[512], moved[512], file[600];

static void set_up(void)
{
    Error error = {0};
    snprintf(folder, sizeof folder, "%s/run", temporary_folder());
    snprintf(moved, sizeof moved, "%s/moved", temporary_folder());
    snprintf(file, sizeof file, "%s/.lock", folder);
    cr_assert_eq(file_make_folders(folder, &error), STATUS_OK, "%s", error.message);
}

TestSuite(run_lock, .init = set_up, .timeout = 60);

static void take(RunLock *lock)
{
    Error error = {0};
    cr_assert_eq(run_lock_take(lock, folder, &error), STATUS_OK, "%s", error.message);
}

static void expect_refused(Status status, const Error *error, const char *text)
{
    cr_expect_eq(status, STATUS_FAILED);
    cr_expect_not_null(strstr(error->message, text), "'%s' lacks '%s'", error->message, text);
}

Test(run_lock, a_second_one_is_refused_until_the_first_ends)
{
    RunLock first, second;
    Error error = {0};
    cr_expect(!run_lock_held(folder));
    take(&first);
    cr_expect(run_lock_held(folder));
    expect_refused(run_lock_take(&second, folder, &error), &error, "another process is training");
    run_lock_release(&second);
    cr_expect_eq(run_lock_check(&first, &error), STATUS_OK);
    run_lock_release(&first);
    cr_expect(!run_lock_held(folder));
    take(&second);
    run_lock_release(&second);
}

Test(run_lock, a_folder_that_was_renamed_is_named_as_it_is_now)
{
    RunLock lock;
    Error error = {0};
    take(&lock);
    cr_assert_eq(rename(folder, moved), 0);
    expect_refused(run_lock_check(&lock, &error), &error, "/moved");
    cr_assert_eq(mkdir(folder, 0777), 0); /* another one of that name is not it */
    expect_refused(run_lock_check(&lock, &error), &error, "renamed or removed");
    run_lock_release(&lock);
}

Test(run_lock, a_folder_that_was_removed_is_told)
{
    RunLock lock;
    Error error = {0};
    take(&lock);
    cr_assert_eq(unlink(file), 0);
    cr_assert_eq(rmdir(folder), 0);
    expect_refused(run_lock_check(&lock, &error), &error, "nothing of it is left");
    run_lock_release(&lock);
}

Test(run_lock, a_removed_file_is_made_again_unless_another_has_taken_it)
{
    RunLock first, second;
    Error error = {0};
    take(&first);
    cr_assert_eq(unlink(file), 0);
    cr_expect_eq(run_lock_check(&first, &error), STATUS_OK, "%s", error.message);
    cr_expect(run_lock_held(folder));
    cr_assert_eq(unlink(file), 0);
    take(&second);
    expect_refused(run_lock_check(&first, &error), &error, "another process is training");
    cr_expect_eq(run_lock_check(&second, &error), STATUS_OK);
    run_lock_release(&first);
    cr_expect(run_lock_held(folder));
    run_lock_release(&second);
}
