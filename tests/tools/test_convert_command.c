/* t2t convert, verify and info as they are typed. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "tests/support/command.h"
#include "tests/support/sources.h"

#define T2T BUILD_FOLDER "/t2t"
#define MPIRUN                                                                                                         \
    "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 "                   \
    "OMPI_MCA_hwloc_base_binding_policy=none mpirun"

static char source[4096], dest[4096];

static void make_source(void)
{
    snprintf(source, sizeof source, "%s/source", temporary_folder());
    snprintf(dest, sizeof dest, "%s/dest", temporary_folder());
    write_idx_source(source, 200, 50);
}

static void expect(int status, const char *part, const char *arguments)
{
    Command command = command_run(60, "cd %s && %s/" T2T " %s", temporary_folder(), "$OLDPWD", arguments);
    cr_assert_eq(command.exit_status, status, "t2t %s: %d\n%s", arguments, command.exit_status, command.output);
    cr_assert(strstr(command.output, part), "t2t %s: no '%s' in\n%s", arguments, part, command.output);
    command_free(&command);
}

Test(convert_command, processes_under_mpirun_give_the_bytes_of_one, .init = make_source)
{
    run_or_fail(T2T " convert %s %s --shards 5", source, dest);
    run_or_fail(MPIRUN " -np 4 " T2T " convert %s %s4 --shards 5", source, dest);
    run_or_fail("diff -r %s %s4", dest, dest);
}

/* Under mpirun stderr is a pipe to the launcher; the bar shows where that leads to a terminal. */
Test(convert_command, shows_its_bar_on_the_launchers_terminal, .init = make_source)
{
    static const char BAR[] = "[##############################] 100.0 %";
    char line[16384];
    snprintf(line, sizeof line, MPIRUN " -np 2 " T2T " convert %s %s --shards 5", source, dest);
    Command on_terminal = command_run(60, "TERM=xterm script -qec '%s' /dev/null", line);
    cr_assert_eq(on_terminal.exit_status, 0, "%s", on_terminal.output);
    cr_assert(strstr(on_terminal.output, BAR), "%s", on_terminal.output);
    command_free(&on_terminal);
    Command in_a_log = command_run(60, "TERM=xterm %s4", line);
    cr_assert_null(strstr(in_a_log.output, "####"), "%s", in_a_log.output);
    command_free(&in_a_log);
}

/* The first process's bar ends with the images of all, not with its own fifth. */
Test(convert_command, its_bar_counts_all_processes, .init = make_source)
{
    Command command = command_run(60, MPIRUN " -np 4 " T2T " convert %s %s --shards 5", source, dest);
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    const char *first = strstr(command.output, "250/250 images");
    cr_expect_not_null(first, "%s", command.output);
    cr_expect_null(first ? strstr(first + 1, "250/250") : NULL, "told twice:\n%s", command.output);
    command_free(&command);
}

/* validation/ is val/; test/ with classes is a split; what is none of them is named, escape codes and all. */
Test(convert_command, every_folder_is_taken_or_named)
{
    snprintf(source, sizeof source, "%s/source", temporary_folder());
    snprintf(dest, sizeof dest, "%s/dest", temporary_folder());
    write_folder_source(source);
    run_or_fail("cd %s && mkdir -p 'ex\033[31mtra<b>' flat && cp -r val test && mv val validation", source);
    Command command = command_run(60, T2T " convert %s %s && " T2T " verify %s --json 2>/dev/null", source, dest, dest);
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    cr_expect_not_null(strstr(command.output, "val 2 images in 1 shard, test 2 images in 1 shard"), "%s",
                       command.output);
    cr_expect_not_null(strstr(command.output, "left out: "), "%s", command.output);
    cr_expect_not_null(strstr(command.output, "/ex\\x1B[31mtra<b>: neither"), "%s", command.output);
    cr_expect_not_null(strstr(command.output, "/flat: neither"), "%s", command.output);
    cr_expect_not_null(strstr(command.output, "\"good\":true,\"images\":11,\"problem_count\":0"), "%s", command.output);
    cr_expect_null(strchr(command.output, '\x1b'));
    command_free(&command);
    /* Test images without classes cannot be a split. */
    run_or_fail("cd %s && rm -r test/* && touch test/a.JPEG && rm -r %s", source, dest);
    command = command_run(60, T2T " convert %s %s", source, dest);
    cr_expect_not_null(strstr(command.output, "/test: its images are in no class folders"), "%s", command.output);
    command_free(&command);
    run_or_fail("cd %s && cp -r validation val && rm -r %s", source, dest);
    command = command_run(60, T2T " convert %s %s", source, dest);
    cr_expect_eq(command.exit_status, 3);
    cr_expect_not_null(strstr(command.output, "holds both val/ and validation/"), "%s", command.output);
    command_free(&command);
}

Test(convert_command, a_failure_in_one_process_ends_all, .init = make_source)
{
    run_or_fail("truncate -s -10 %s/train-images-idx3-ubyte", source);
    Command command = command_run(60, MPIRUN " -np 3 " T2T " convert %s %s --shards 5", source, dest);
    cr_assert_eq(command.exit_status, 3, "%d\n%s", command.exit_status, command.output);
    cr_assert(strstr(command.output, "cut off"), "%s", command.output);
    command_free(&command);
}

Test(convert_command, goes_all_the_way, .init = make_source)
{
    expect(0, "dest: train 200 images in 1 shard, val 50 images in 1 shard, 10 classes", "convert source dest");
    expect(0, "already converted", "convert source dest");
    expect(0, "dest: good: 250 images", "verify dest --decode --threads 2");
    expect(0, "val: 50 images in 1 shard", "info dest");
    expect(0, "as training sees them", "info dest --contact-sheet sheet.png");
    char path[8192], *bytes;
    size_t size;
    Error error = {0};
    ImageInfo info;
    snprintf(path, sizeof path, "%s/sheet.png", temporary_folder());
    cr_assert_eq(file_read(path, 1 << 26, &bytes, &size, &error), STATUS_OK);
    cr_assert_eq(image_check(bytes, size, &info, &error), STATUS_OK, "%s", error.message);
    cr_assert_gt(info.height, 800);
    free(bytes);
    run_or_fail("truncate -s -4096 %s/val-000.mdb", dest);
    expect(3, "val-000.mdb", "verify dest");
}

/* As ImageNet is downloaded: tar of tars, tar, devkit. */
Test(convert_command, reads_the_official_tars)
{
    char folder[4096], tars[4096];
    snprintf(folder, sizeof folder, "%s/folder", temporary_folder());
    snprintf(tars, sizeof tars, "%s/tars", temporary_folder());
    snprintf(dest, sizeof dest, "%s/dest", temporary_folder());
    write_folder_source(folder);
    run_or_fail("mkdir %s", tars);
    write_tar_source(folder, tars);
    expect(0, "val 2 images in 1 shard, 2 classes", "convert tars dest");
    expect(0, "good", "verify dest --decode");
}

Test(convert_command, tells_wrong_usage_from_bad_data, .init = make_source)
{
    expect(2, "SOURCE and DEST", "convert source");
    expect(2, "--help", "convert source dest --shard 3 --nonsense");
    expect(2, "--quality 0: a whole number from 1 to 100", "convert source dest --quality 0");
    expect(2, "--shard-size 5x", "convert source dest --shard-size 5x");
    expect(2, "--limit 0: a number from 1 to", "convert source dest --limit 0");
    expect(2, "jpeg or png", "convert source dest --encode gif");
    expect(0, "usage: t2t convert", "convert --help");
    expect(3, "missing: cannot read the folder: No such file", "convert missing dest");
    expect(3, "not a finished data set", "verify source");
    expect(2, "one data set is wanted", "verify");
    expect(0, "10 classes", "convert --synthetic 50 drawn");
    run_or_fail("touch %s/file", temporary_folder());
    expect(1, "file", "convert source file");
}

/* The lower rows are those of the settings at hand: other settings, other pixels; the same settings, the same. */
Test(convert_command, a_contact_sheet_is_of_the_settings, .init = make_source)
{
    expect(0, "", "convert source dest");
    expect(0, "as training sees them",
           "info dest --contact-sheet plain.png --set reprob=0 --set mixup=0 --set cutmix=0");
    expect(0, "", "info dest --contact-sheet again.png --set reprob=0 --set mixup=0 --set cutmix=0");
    expect(0, "", "info dest --contact-sheet erased.png --set reprob=1 --set mixup=0 --set cutmix=0");
    expect(0, "", "info dest --contact-sheet mixed.png --set reprob=0 --set mixup=0.8 --set cutmix=0");
    expect(0, "", "info dest --contact-sheet cut.png --set reprob=0 --set mixup=0 --set cutmix=1");
    run_or_fail("cd %s && cmp plain.png again.png && for sheet in erased mixed cut; do ! cmp -s plain.png $sheet.png "
                "|| exit 1; "
                "done",
                temporary_folder());
    /* A run knows its data and its settings. */
    run_or_fail("cd %s && mkdir run && printf 'data: dest\nreprob: 1\nmixup: 0\ncutmix: 0\n' >run/config.yaml",
                temporary_folder());
    expect(0, "as training sees them", "info run --contact-sheet run.png");
    run_or_fail("cd %s && cmp erased.png run.png", temporary_folder());
}
