/* What t2t train refuses at its start, or changes with a warning. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/kernels/bf16.h"
#include "tests/support/tiny.h"

Test(train_refusals, bad_settings_are_refused)
{
    tiny_train_data();
    EXPECT(tiny_train(0, "run", "--set model=t2t_vit_15"), 2, "t2t_vit_15", "t2t_vit_14");
    EXPECT(tiny_train(0, "run", "--set img_size=33"), 2, "img_size", "33");
    EXPECT(tiny_train(0, "run", "--set batch_sice=4"), 2, "batch_sice", "batch_size");
    EXPECT(tiny_train(0, "run", "--set num_classes=9"), 2, "num_classes", "10 classes");
    EXPECT(tiny_train(0, "run", "--nonsense"), 2, "--help");
    EXPECT(command_run(10, T2T " train nowhere.yaml"), 2, "nowhere.yaml");
    EXPECT(command_run(10, T2T " train --help"), 0, "usage", "weight_decay");
}

Test(train_refusals, bad_data_is_refused)
{
    char path[1000], broken[1000];
    tiny_train_data();
    EXPECT(tiny_train(2, "run", "--set batch_size=98"), 3, "97", "98");
    EXPECT(tiny_train(2, "run", "--set data=/nowhere"), 3, "/nowhere");
    EXPECT(tiny_train(2, "run", "--resume /nowhere"), 3, "/nowhere");
    snprintf(broken, sizeof broken, "--set data=%.500s/broken", temporary_folder());
    SUCCEEDS(command_run(10, "cp -r %s %s && truncate -s -4096 %s/train-000.mdb", path_to(path, "data"),
                         broken + strlen("--set data="), broken + strlen("--set data=")));
    EXPECT(tiny_train(2, "run", broken), 3, "train-000.mdb");
    SUCCEEDS(command_run(10, "rm %s/train-000.mdb", broken + strlen("--set data=")));
    EXPECT(tiny_train(2, "run", broken), 3, "train-000.mdb");
}

Test(train_refusals, more_threads_than_cores_are_cut_with_a_warning)
{
    tiny_train_data();
    EXPECT(tiny_train(1, "run", "--set epochs=1 --set threads=4096"), 0, "warning", "threads: 4096, but ", " compute");
}

/* Products of bfloat16 by whatever of them runs here; the weights do not know. */
Test(train_refusals, a_run_may_go_on_in_another_precision_if_told)
{
    tiny_train_data();
    setenv("T2T_KERNELS", bf16_at(0)->name, 1);
    SUCCEEDS(tiny_train(1, "run", "--set epochs=1"));
    EXPECT(tiny_train(1, "run", "--set epochs=2 --set precision=bf16 --resume auto"), 2, "precision: bf16, was fp32",
           "--override");
    EXPECT(tiny_train(1, "run", "--set epochs=2 --set precision=bf16 --resume auto --override"), 0, "settings changed",
           "products of bfloat16 by", "epoch 2 validated");
    EXPECT(tiny_train(1, "run", "--set epochs=3 --resume auto --override"), 0, "precision: fp32, was bf16",
           "epoch 3 validated");
}

Test(train_refusals, the_folder_of_another_run_is_refused)
{
    char path[1000];
    tiny_train_data();
    SUCCEEDS(tiny_train(1, "run", "--set epochs=1"));
    EXPECT(tiny_train(1, "run", "--set epochs=1 --set depth=3 --resume auto"), 2, "depth", "another");
    EXPECT(tiny_train(1, "run", "--set epochs=2 --resume auto"), 2, "epochs: 2, was 1", "learning rate", "--override");
    /* What concerns the machine may change. */
    EXPECT(tiny_train(1, "run", "--set epochs=1 --set threads=2 --set log_interval=5 --resume auto"), 0, "done");
    EXPECT(tiny_train(1, "run", "--set epochs=2 --resume auto --override"), 0, "settings changed", "epochs: 2, was 1",
           "epoch 2 validated");
    EXPECT(tiny_train(1, "run", "--set epochs=2 --set depth=3 --resume auto --override"), 2, "shapes", "depth");
    /* Killed between the last manifest and the tidying after it: done at the next start, though there is nothing to
     * train. */
    path_to(path, "run/checkpoints/pending-00000002");
    SUCCEEDS(command_run(10, "cp -r %s/run/checkpoints/step-00000024 %s", temporary_folder(), path));
    EXPECT(tiny_train(1, "run", "--set epochs=2 --resume auto"), 0, "done");
    cr_expect_not(file_exists(path));
    SUCCEEDS(command_run(10, "mkdir %s && touch %s/summary.csv", path_to(path, "other"), path));
    EXPECT(tiny_train(1, "other", "--set epochs=1"), 2, "summary.csv");
}

Test(train_refusals, a_missing_data_set_is_named_by_its_key)
{
    EXPECT(command_run(TINY_SECONDS, T2T " train configs/t2t_vit_7.yaml --output %s/run", temporary_folder()), 2,
           "data: missing in configs/t2t_vit_7.yaml", "--set data=DIR");
    char path[1000];
    cr_expect_not(file_exists(path_to(path, "run")), "a start that failed leaves a folder");
}

Test(train_refusals, a_start_that_fails_leaves_no_folder)
{
    static const char *const WRONG[] = {"--set data=/nowhere", "--set num_classes=3", "--set batch_size=98",
                                        "--set init_weights=/nowhere", "--resume /nowhere"};
    char path[1000];
    tiny_train_data();
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        Command command = tiny_train(2, "run", WRONG[i]);
        cr_expect_neq(command.exit_status, 0, "%s", WRONG[i]);
        command_free(&command);
        cr_expect_not(file_exists(path_to(path, "run")), "%s", WRONG[i]);
    }
}
