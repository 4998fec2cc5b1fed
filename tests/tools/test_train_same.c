/* Ranks that were not started alike do not train together. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/support/tiny.h"

enum { SECONDS = 60 };

static void make_data(const char *place, int train)
{
    char folder[600];
    snprintf(folder, sizeof folder, "%.500s/%s/data", temporary_folder(), place);
    SUCCEEDS(command_run(5, "mkdir -p %s", folder));
    tiny_dataset(folder, train, 7);
}

/* Two ranks that read `data` in folders of their own: the first in a/, the second in `place`, with more options. */
static Command train_apart(const char *place, const char *options)
{
    const char *folder = temporary_folder();
    return command_run(SECONDS,
                       "program=$PWD/" T2T "; " MPIRUN "1 -wdir %s/a $program train %s --set epochs=1 --set data=data "
                       "--output %s/run : -np 1 -wdir %s/%s $program train %s --set epochs=1 --set data=data "
                       "--output %s/run %s",
                       folder, TINY_SETTINGS, folder, folder, place, TINY_SETTINGS, folder, options);
}

TestSuite(train_same, .timeout = 2 * SECONDS);

Test(train_same, another_setting_on_one_rank_is_named)
{
    make_data("a", 97);
    EXPECT(train_apart("a", "--set seed=8"), 2, "rank 1 on ", "other settings than rank 0", "seed: 8", "seed: 7",
           "on rank 0");
    EXPECT(train_apart("a", "--timeline x"), 2, "rank 1 on ", "--timeline: yes");
    EXPECT(command_run(5, "ls %s", temporary_folder()), 0, "a\n");
    SUCCEEDS(command_run(5, "! test -e %s/run", temporary_folder()));
}

Test(train_same, another_data_set_under_the_same_path_is_named)
{
    make_data("a", 97);
    make_data("b", 96);
    EXPECT(train_apart("b", ""), 3, "rank 1 on ", "other data in data/manifest.json than rank 0", "fingerprint",
           "on rank 0");
}

Test(train_same, what_concerns_one_machine_may_differ)
{
    make_data("a", 97);
    SUCCEEDS(train_apart("a", "--set threads=2 --set workers=2 --set recompute=blocks"));
}
