/* The run folder is renamed or removed while t2t train runs in it. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/support/tiny.h"

enum { SECONDS = 100 };

/* Two ranks train for long; `meanwhile` is done in the temporary folder when two checkpoints are there. */
static Command train_while(const char *run, const char *meanwhile)
{
    const char *folder = temporary_folder();
    return command_run(SECONDS,
                       "(cd %s; until [ $(ls -d %s/checkpoints/step-*/manifest.json 2>/dev/null | wc -l) -ge 2 ]; do "
                       "sleep 0.05; done; %s) & " MPIRUN "2 " T2T " train %s --set epochs=2000 --set keep=99 "
                       "--set checkpoint_every=2steps --set data=%s/data --output %s/%s",
                       folder, run, meanwhile, TINY_SETTINGS, folder, folder, run);
}

static void make_data(void)
{
    char folder[600];
    snprintf(folder, sizeof folder, "%.500s/data", temporary_folder());
    tiny_dataset(folder, 97, 7);
}

Test(train_folder, a_renamed_one_ends_the_run_and_goes_on_under_its_new_name, .timeout = 2 * SECONDS)
{
    const char *folder = temporary_folder();
    make_data();
    EXPECT(train_while("run", "mv run moved"), 1, "the run folder was renamed or removed", "/moved --resume auto");
    EXPECT(command_run(5, "ls %s", folder), 0, "moved");
    SUCCEEDS(command_run(5, "! test -e %s/run", folder));
    EXPECT(command_run(SECONDS,
                       MPIRUN "2 " T2T " train %s --set epochs=1 --override --set keep=99 "
                              "--set checkpoint_every=2steps --set data=%s/data --output %s/moved --resume auto",
                       TINY_SETTINGS, folder, folder),
           0, "resumed from");
}

Test(train_folder, a_removed_one_ends_the_run, .timeout = 2 * SECONDS)
{
    make_data();
    EXPECT(train_while("run", "mv run gone && rm -r gone"), 1, "the run folder was renamed or removed");
    SUCCEEDS(command_run(5, "! test -e %s/run", temporary_folder()));
}
