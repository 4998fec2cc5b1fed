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

Test(t2t, help_is_found_however_it_is_asked_for)
{
    EXPECT(command_run(SECONDS, T2T " -V"), 0, "t2t " T2T_VERSION "\n");
    EXPECT(command_run(SECONDS, T2T " -h"), 0, "usage: t2t COMMAND");
    EXPECT(command_run(SECONDS, T2T " eval -h"), 0, "usage: t2t eval", "--weights FILE");
    EXPECT(command_run(SECONDS, T2T " help eval"), 0, "usage: t2t eval", "--weights FILE");
    EXPECT(command_run(SECONDS, T2T " help bench step"), 0, "usage: t2t bench step");
    EXPECT(command_run(SECONDS, T2T " bench -h"), 0, "usage: t2t bench MEASUREMENT");
    EXPECT(command_run(SECONDS, T2T " help trian"), 2, "there is no command 'trian'; did you mean 'train'?");
    EXPECT(command_run(SECONDS, T2T " bench laoder"), 2, "there is no measurement 'laoder'; did you mean 'loader'?");
    EXPECT(command_run(SECONDS, T2T " eval --wieghts x"), 2, "there is no option '--wieghts', did you mean --weights?");
}

Test(t2t, kernels_that_cannot_run_are_an_error_that_lists_what_can)
{
    const char *bench = "T2T_KERNELS=avx9 " T2T " bench step --model t2t_vit_7 --batch 1 --steps 1";
    EXPECT(command_run(SECONDS, bench), 2, "T2T_KERNELS: 'avx9' is none of the kernels that this processor can run: ");
    EXPECT(command_run(SECONDS, bench), 2, "generic");
}
