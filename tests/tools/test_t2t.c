/* The program without a command. */
#include <criterion/criterion.h>

#include "tests/support/tiny.h"
#include "version.h"

enum { SECONDS = 20 };

Test(t2t, version_is_the_one_that_was_built)
{
    EXPECT(command_run(SECONDS, T2T " --version"), 0, "t2t " T2T_VERSION "\n");
    cr_assert_str_neq(T2T_VERSION, "");
}

Test(t2t, help_lists_every_command)
{
    EXPECT(command_run(SECONDS, T2T " --help"), 0, "describe a model, a weights file, a run or a data set");
    EXPECT(command_run(SECONDS, T2T " --help"), 0, "the all-reduce, what it costs a step");
    EXPECT(command_run(SECONDS, T2T), 2, "usage: t2t COMMAND");
    EXPECT(command_run(SECONDS, T2T " trian"), 2, "there is no command 'trian'; did you mean 'train'?");
}
