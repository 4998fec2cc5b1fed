/* What the options of several sub-commands have in common. */
#include <criterion/criterion.h>

#include "tests/support/tiny.h"

enum { SECONDS = 20 };

static void expect(int status, const char *text, const char *line)
{
    EXPECT(command_run(SECONDS, T2T " %s", line), status, text);
}

Test(options, numbers_are_whole_and_within_their_range)
{
    expect(2, "--threads 2x: a whole number from 1 to 65536 is wanted", "verify nowhere --threads 2x");
    expect(2, "--threads 0: a whole number", "verify nowhere --threads 0");
    expect(2, "--threads many: a whole number", "trace --threads many");
    expect(2, "--top 3.5: a whole number from 1 to 100", "predict --top 3.5 image.jpeg");
    expect(2, "--batch -1: a whole number", "eval --batch -1");
    expect(2, "--batch 99999999999999999999: a whole number", "bench step --batch 99999999999999999999");
    expect(2, "--steps : a whole number", "bench overlap --steps ''");
    expect(2, "--images 0: a whole number", "bench loader --images 0");
    expect(2, "--max 99999999999999999999: a whole number from 4 to", "bench allreduce --max 99999999999999999999");
    expect(2, "--rounds 1e3: a whole number", "bench allreduce --rounds 1e3");
}

Test(options, a_model_and_changes_to_it)
{
    expect(0, "t2t_vit_10, infer, batch 1",
           "bench step --infer --batch 1 --steps 1 --threads 1 --model t2t_vit_7 --model t2t_vit_10");
    expect(0, "parameters  2204878,", "info t2t_vit_7 --set depth=3");
    expect(
        2, "no model has so long a name",
        "bench step --model "
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaa");
    expect(2, "more than 256 settings", "info t2t_vit_7 $(for i in $(seq 257); do echo --set depth=3; done)");
}

Test(options, one_that_is_not_there_brings_the_nearest)
{
    expect(2, "there is no option '--dta', did you mean --data?", "eval --dta x");
    expect(2, "did you mean --resume?", "train config.yaml --resum=auto --rsume auto");
    expect(2, "--json takes no value", "eval --json=yes");
    expect(2, "--data DIR: the value is missing", "eval --data");
    expect(2, "did you mean --steps?", "bench step --stesp 3");
    expect(2, "did you mean --strict?", "convert --strikt source dest");
    expect(2, "--mode all: decode, eval, train or step is wanted", "bench loader --mode all");
    expect(2, "--data DIR is missing; see `t2t bench loader --help`", "bench loader");
}

Test(options, the_help_is_made_from_the_table)
{
    expect(0, "  --weights FILE", "eval --help");
    expect(0, "  --resume auto|DIR", "train --help");
    expect(0, "  --decode", "verify --help");
    expect(0, "  --top K", "predict --help");
    expect(0, "  --shard-size SIZE   instead", "convert --help");
    expect(0, "\nInterrupted, the same command goes on", "convert --help");
    expect(0, "  --profile ", "bench step --help");
    expect(0, "  --wire TYPE ", "bench allreduce --help");
    expect(0, "  --timeline FILE ", "bench overlap --help");
    expect(0, "  --mode MODE ", "bench loader --help");
}
