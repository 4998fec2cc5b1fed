/* A file that becomes shorter while it is mapped ends the program with its name, not with a signal. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/support/command.h"
#include "tests/support/sources.h"
#include "tests/support/tiny.h"

/* Cuts `file` once training has made a step. */
static Command train_and_cut(const char *workers, const char *file)
{
    const char *folder = temporary_folder();
    return command_run(60,
                       "cd %s && { \"$OLDPWD\"/" T2T " train %s --set data=data --output run --set epochs=100000 "
                       "--set log_interval=1 --set workers=%s & } && "
                       "for i in $(seq 600); do grep -q '\"step\"' run/metrics.jsonl 2>/dev/null && break; sleep 0.05; "
                       "done; truncate -s 8192 data/%s; wait $!",
                       folder, TINY_SETTINGS, workers, file);
}

Test(bus_error, a_shard_cut_short_while_training_is_named)
{
    char folder[4096];
    snprintf(folder, sizeof folder, "%s/data", temporary_folder());
    for (int i = 0; i < 2; i++) {
        tiny_dataset(folder, 96, 32);
        EXPECT(train_and_cut(i ? "2" : "0", "train-000.mdb"), 3,
               "data/train-000.mdb: cannot be read where it is mapped", "cut short while it was in use");
        run_or_fail("rm -r %s/run %s", temporary_folder(), folder);
    }
}
