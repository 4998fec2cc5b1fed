/* What a conversion must keep: the same bytes however it is run, and after whatever it is interrupted by. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/file.h"
#include "tests/support/command.h"
#include "tests/support/sources.h"

enum { IMAGES = 300, SHARDS = 5 };

static char source[4096], whole[4096], other[4096];

/* An IDX source and its uninterrupted conversion; `other` is where the test converts to. */
static void make_whole(void)
{
    snprintf(source, sizeof source, "%s/idx", temporary_folder());
    snprintf(whole, sizeof whole, "%s/whole", temporary_folder());
    snprintf(other, sizeof other, "%s/other", temporary_folder());
    write_idx_source(source, IMAGES, 40);
    convert_or_fail(source, whole, SHARDS);
}

static void expect_same(const char *why)
{
    Command command = command_run(60, "diff -r %s %s", whole, other);
    cr_assert_eq(command.exit_status, 0, "%s: %s", why, command.output);
    command_free(&command);
}

static void finish_and_compare(const char *why)
{
    convert_or_fail(source, other, SHARDS);
    expect_same(why);
    run_or_fail("rm -r %s", other);
}

/* ---- interruptions */

static void die_at(void *context, const ConvertProgress *progress)
{
    if (progress->images >= *(int64_t *)context) _exit(9);
}

/* In a process of its own, which ends without any clearing up after so many images. */
static void convert_until(int64_t images)
{
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        ConvertConfig config = convert_config(source, other, SHARDS);
        config.progress = die_at;
        config.context = &images;
        Error error = {0};
        _exit(convert_all(&config, &error) ? 1 : 0);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 9);
}

Test(convert, goes_on_where_it_was_killed, .init = make_whole)
{
    static const int64_t STOPS[] = {1, 59, 60, 61, 150, 299, 300, 339, 340};
    for (size_t i = 0; i < sizeof STOPS / sizeof STOPS[0]; i++) {
        char manifest[4200], why[64];
        convert_until(STOPS[i]);
        snprintf(manifest, sizeof manifest, "%s/manifest.json", other);
        cr_assert_not(file_exists(manifest), "half a data set has a manifest");
        snprintf(why, sizeof why, "killed after %d images", (int)STOPS[i]);
        finish_and_compare(why);
    }
}

Test(convert, goes_on_after_several_interruptions, .init = make_whole)
{
    convert_until(70);
    convert_until(130);
    convert_until(250);
    finish_and_compare("killed three times");
}

static void count_kept(void *context, const ConvertProgress *progress)
{
    *(ConvertProgress *)context = *progress;
}

Test(convert, keeps_finished_shards_and_only_sound_ones, .init = make_whole)
{
    convert_until(200); /* three shards of 60 are finished */
    ConvertProgress progress = {0};
    ConvertConfig config = convert_config(source, other, SHARDS);
    config.progress = count_kept;
    config.context = &progress;
    Error error = {0};
    run_or_fail("truncate -s -4096 %s/train-000.mdb && printf X | dd of=%s/train-002.mdb bs=1 seek=9000 conv=notrunc",
                other, other);
    cr_assert_eq(convert_all(&config, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(progress.kept, 60, "kept %d images", (int)progress.kept);
    cr_assert_eq(progress.images, 340);
    expect_same("two of three finished shards were damaged");
}

Test(convert, a_finished_one_is_left_alone, .init = make_whole)
{
    ConvertConfig config = convert_config(source, whole, SHARDS);
    Error error = {0};
    Convert *convert;
    cr_assert_eq(convert_create(&convert, &config, &error), STATUS_OK, "%s", error.message);
    cr_assert(convert_is_done(convert));
    cr_assert_eq(convert_run(convert, &error), STATUS_OK);
    cr_assert_eq(convert_finish(convert, &error), STATUS_OK);
    convert_free(convert);
}

Test(convert, a_finished_one_that_has_lost_a_shard_is_not_called_done, .init = make_whole)
{
    run_or_fail("rm %s/train-003.mdb", whole);
    ConvertConfig config = convert_config(source, whole, SHARDS);
    Error error = {0};
    cr_assert_eq(convert_all(&config, &error), STATUS_DATA);
    cr_assert(strstr(error.message, "train-003.mdb: missing"), "%s", error.message);
}

Test(convert, refuses_to_mix_two_conversions, .init = make_whole)
{
    Error error = {0};
    ConvertConfig config = convert_config(source, whole, SHARDS);
    config.seed = 1;
    cr_assert_eq(convert_all(&config, &error), STATUS_USAGE);
    cr_assert(strstr(error.message, "another source or with other options"), "%s", error.message);

    convert_until(100);
    error = (Error){0};
    config.dest = other;
    cr_assert_eq(convert_all(&config, &error), STATUS_USAGE, "%s", error.message);
    cr_assert(strstr(error.message, "another source or with other options"), "%s", error.message);
}

/* ---- many hands */

/* ---- two at once */

/* In a child: takes the folder, says so, and stays. */
static pid_t hold_folder(void)
{
    int ready[2];
    char byte;
    cr_assert_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        ConvertConfig config = convert_config(source, other, SHARDS);
        Error error = {0};
        Convert *convert;
        if (convert_create(&convert, &config, &error) == STATUS_OK && write(ready[1], "", 1) == 1) pause();
        _exit(1);
    }
    close(ready[1]);
    cr_assert_eq(read(ready[0], &byte, 1), 1, "the child does not get the folder");
    close(ready[0]);
    return child;
}

Test(convert, a_second_one_into_the_same_folder_is_refused, .init = make_whole)
{
    pid_t child = hold_folder();
    ConvertConfig config = convert_config(source, other, SHARDS);
    Error error = {0};
    char holder[64];
    snprintf(holder, sizeof holder, "process %ld on ", (long)child);
    cr_assert_eq(convert_all(&config, &error), STATUS_FAILED);
    cr_assert(strstr(error.message, holder) && strstr(error.message, "is converting into this folder"), "%s",
              error.message);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    finish_and_compare("the first one was killed");
}

Test(convert, leaves_nothing_of_earlier_attempts, .init = make_whole)
{
    convert_until(IMAGES / 2);
    run_or_fail("cd %s && touch .partial/train-999.mdb .partial/train-001.mdb.json.tmp.77 manifest.json.tmp.77 "
                "rejected.tsv.tmp.77",
                other);
    finish_and_compare("interrupted, with other files left over");
}

/* Killed between the manifest and the end of the sweep: the next start sees to it. */
Test(convert, sweeps_after_one_that_is_finished, .init = make_whole)
{
    convert_or_fail(source, other, SHARDS);
    run_or_fail("mkdir %s/.partial && touch %s/.partial/train-000.mdb.json %s/.partial/lock", other, other, other);
    finish_and_compare("finished, but not swept");
}

Test(convert, threads_do_not_matter, .init = make_whole)
{
    ConvertConfig config = convert_config(source, other, SHARDS);
    config.threads = 4;
    Error error = {0};
    cr_assert_eq(convert_all(&config, &error), STATUS_OK, "%s", error.message);
    expect_same("4 threads");
}

Test(convert, processes_do_not_matter, .init = make_whole)
{
    enum { RANKS = 4 };
    for (int rank = RANKS - 1; rank >= 0; rank--) {
        ConvertConfig config = convert_config(source, other, SHARDS);
        config.rank = rank;
        config.ranks = RANKS;
        Error error = {0};
        Convert *convert;
        cr_assert_eq(convert_create(&convert, &config, &error), STATUS_OK, "%s", error.message);
        cr_assert_eq(convert_run(convert, &error), STATUS_OK, "%s", error.message);
        if (rank == 0) cr_assert_eq(convert_finish(convert, &error), STATUS_OK, "%s", error.message);
        convert_free(convert);
    }
    expect_same("4 processes");
}

/* LMDB writes whole pages: whatever it leaves unset in them would come from the heap. */
Test(convert, nothing_of_the_heap_gets_into_the_files, .init = make_whole)
{
    if (strstr(BUILD_FOLDER, "address")) cr_skip_test("the sanitizer's malloc does not fill memory");
    run_or_fail("MALLOC_PERTURB_=165 " BUILD_FOLDER "/t2t convert %s %s --shards %d --threads 1", source, other,
                SHARDS);
    expect_same("with memory filled with 165");
    run_or_fail("rm -r %s", other);
    run_or_fail("MALLOC_PERTURB_=90 " BUILD_FOLDER "/t2t convert %s %s --shards %d --threads 3", source, other, SHARDS);
    expect_same("with memory filled with 90");
}

Test(convert, the_seed_decides_the_order, .init = make_whole)
{
    ConvertConfig config = convert_config(source, other, SHARDS);
    config.seed = 5;
    Error error = {0};
    cr_assert_eq(convert_all(&config, &error), STATUS_OK, "%s", error.message);
    run_or_fail("cmp %s/val-000.mdb %s/val-000.mdb", whole, other);
    Command command = command_run(60, "cmp %s/train-000.mdb %s/train-000.mdb", whole, other);
    cr_assert_eq(command.exit_status, 1);
    command_free(&command);
}

/* ---- trouble */

/* As on a full disk: no file may grow past a limit. */
static int convert_with_limit(rlim_t bytes, char *message, size_t room)
{
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){bytes, bytes});
        ConvertConfig config = convert_config(source, other, SHARDS);
        Error error = {0};
        Status status = convert_all(&config, &error);
        ssize_t written = write(pipes[1], error.message, strlen(error.message));
        _exit(written < 0 ? 99 : (int)status);
    }
    close(pipes[1]);
    ssize_t got = read(pipes[0], message, room - 1);
    close(pipes[0]);
    message[got > 0 ? got : 0] = 0;
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(convert, a_full_disk_is_said_and_nothing_half_done_stays, .init = make_whole)
{
    char message[4096];
    cr_assert_eq(convert_with_limit(20000, message, sizeof message), STATUS_FAILED);
    cr_assert(strstr(message, "train-000.mdb") && strstr(message, "make room"), "%s", message);
    run_or_fail("test ! -e %s/manifest.json && test -z \"$(find %s -name '*.mdb')\"", other, other);
    finish_and_compare("after a full disk");
}

Test(convert, says_where_it_may_not_write, .init = make_whole)
{
    if (getuid() != 0) cr_skip_test("needs to be root, to become somebody else");
    run_or_fail("chmod -R a+rX %s", temporary_folder());
    pid_t child = fork();
    if (child == 0) {
        ConvertConfig config = convert_config(source, other, SHARDS);
        Error error = {0};
        if (setuid(65534) != 0) _exit(98);
        Status status = convert_all(&config, &error);
        _exit(status == STATUS_FAILED && strstr(error.message, other) && strstr(error.message, "Permission denied")
                  ? 0
                  : 1);
    }
    int status;
    waitpid(child, &status, 0);
    cr_assert_eq(status, 0);
}

/* A file that may not be read is no broken image: leaving it out would go unnoticed. */
Test(convert, says_what_it_may_not_read, .init = make_whole)
{
    if (getuid() != 0) cr_skip_test("needs to be root, to become somebody else");
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/folder", temporary_folder());
    write_folder_source(folder);
    run_or_fail("chmod -R a+rX %s && chmod 600 %s/train/n02119789/n02_2.JPEG && mkdir -m 777 %s", temporary_folder(),
                folder, other);
    pid_t child = fork();
    if (child == 0) {
        ConvertConfig config = convert_config(folder, other, SHARDS);
        Error error = {0};
        if (setuid(65534) != 0) _exit(98);
        Status status = convert_all(&config, &error);
        bool told = strstr(error.message, "n02_2.JPEG") && strstr(error.message, "Permission denied");
        _exit(status == STATUS_FAILED && told ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    cr_assert_eq(status, 0);
    run_or_fail("test ! -e %s/manifest.json", other);
}

Test(convert, impossible_options_are_named, .init = make_whole)
{
    ConvertConfig config = convert_config(source, other, SHARDS);
    Error error = {0};
    config.quality = 101;
    cr_assert_eq(convert_all(&config, &error), STATUS_USAGE);
    cr_assert(strstr(error.message, "quality 101"));
    config = convert_config("/nonexistent", other, SHARDS);
    error = (Error){0};
    cr_assert_eq(convert_all(&config, &error), STATUS_DATA);
    cr_assert(strstr(error.message, "/nonexistent"));
}
