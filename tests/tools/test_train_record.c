/* What a run keeps of who computed it, and with which command. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/tiny.h"

Test(train_record, who_computed_it_is_on_record)
{
    char path[1000], tb[1000];
    tiny_train_data();
    SUCCEEDS(tiny_train(2, "run", "--set epochs=1"));
    EXPECT(command_run(5, "head -n 1 %s", path_to(path, "run/metrics.jsonl")), 0, "\"event\":\"start\"",
           "\"command\":\"t2t train ", "\"ranks\":2", "\"mpi\":", "\"hosts\":", "\"processors\":\"1 x ");
    EXPECT(command_run(5, "cat %s", path_to(path, "run/log.txt")), 0, "info command: t2t train",
           "info mpi: ", "done after ", " core-hours in all");
    EXPECT(command_run(5, T2T " info --json %s", path_to(path, "run/best.safetensors")), 0, "\"provenance\":\"{");
    EXPECT(command_run(5, "grep -ac 't2t train' %s/events*", path_to(tb, "run/tb")), 0, "1\n");
    /* What has nothing to do leaves no trace. */
    EXPECT(command_run(5, "ls %s | wc -l; wc -l <%s", tb, path_to(path, "run/metrics.jsonl")), 0, "1\n");
    Command before = command_run(5, "wc -l <%s", path);
    EXPECT(tiny_train(2, "run", "--set epochs=1 --resume auto"), 0, "this run is done");
    EXPECT(command_run(5, "ls %s | wc -l; wc -l <%s", tb, path), 0, "1\n", before.output);
    command_free(&before);
}

/* What the record says was typed can be pasted into a shell, wherever it stands. */
Test(train_record, the_recorded_command_can_be_typed_again)
{
    char path[1000], options[1200];
    tiny_train_data();
    snprintf(options, sizeof options, "--set epochs=1 --samples \"%s\"", path_to(path, "it's \\$HOME"));
    SUCCEEDS(tiny_train(1, "run", options));
    path_to(path, "run");
    EXPECT(command_run(5, "sed -n 's/.* info command: //p' %s/log.txt | tee %s/line", path, temporary_folder()), 0,
           "/it'\\''s $HOME'\n");
    EXPECT(command_run(TINY_SECONDS, "t2t() { " T2T " \"$@\"; }; eval \"$(cat %s/line) --resume auto\"",
                       temporary_folder()),
           0, "this run is done");
    /* As JSON, twice over in the weights, and in HTML. */
    EXPECT(command_run(5, "head -n 1 %s/metrics.jsonl", path), 0, "/it'\\\\''s $HOME'\"");
    EXPECT(command_run(5, T2T " info --json %s/best.safetensors", path), 0, "/it'\\\\\\\\''s $HOME'\\\"");
    EXPECT(command_run(5, "grep -cFf %s/line %s/report.html", temporary_folder(), path), 0, "1\n");
}

/* So can the next commands that its end tells, and no name reaches a terminal as a command. */
Test(train_record, the_next_command_can_be_typed_whatever_the_folders_name)
{
    static const char NAME[] = "run\x1b[31m it\xc3\xa9";
    char run[100];
    tiny_train_data();
    snprintf(run, sizeof run, "'%s'", NAME);
    Command command = tiny_train(1, run, "--set epochs=1");
    cr_expect_eq(command.exit_status, 0, "%s", command.output);
    cr_expect_null(strchr(command.output, '\x1b'), "%s", command.output);
    command_free(&command);
    EXPECT(command_run(TINY_SECONDS,
                       T2T " train %s --set data=%s/data --output %s/'%s' --resume auto --set epochs=1 | "
                           "sed -n 's,^next *t2t," T2T ",p' >%s/next; bash %s/next",
                       TINY_SETTINGS, temporary_folder(), temporary_folder(), NAME, temporary_folder(),
                       temporary_folder()),
           0, "images 37\n");
}
