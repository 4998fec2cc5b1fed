/* tools/manual: man pages and completion say what the program says. */
#include <criterion/criterion.h>

#include "tests/support/tiny.h"

enum { SECONDS = 60 };

Test(manual, every_command_and_measurement_has_a_page)
{
    const char *folder = temporary_folder();
    SUCCEEDS(command_run(SECONDS, "tools/manual man " T2T " %s/man", folder));
    EXPECT(command_run(SECONDS, "cd %s/man && ls", folder), 0, "t2t.1\n", "t2t-train.1\n", "t2t-bench-step.1\n");
    /* As many pages as commands, measurements, and the program itself. */
    SUCCEEDS(command_run(SECONDS,
                         "[ $(ls %s/man | wc -l) = $((1 + $(" T2T " help | grep -c '^  [a-z]') + $(" T2T
                         " help bench | grep -c '^  [a-z]'))) ]",
                         folder));
    EXPECT(command_run(SECONDS, "cat %s/man/t2t-train.1", folder), 0, ".TH \"T2T\\-TRAIN\" 1",
           ".SH NAME\nt2t\\-train \\- train a model", ".SH SYNOPSIS\n.nf\nmpirun",
           ".SH DESCRIPTION\nTrains a model on N ranks", ".TP\n.B \\-\\-output DIR\nthe run folder", ".SH NOTES",
           "  warmup_epochs", ".SH SEE ALSO\n.BR t2t (1)");
    EXPECT(command_run(SECONDS, "cat %s/man/t2t.1", folder), 0, ".BR t2t\\-bench\\-loader (1),\n");
    /* What linters of man pages warn of: paragraphs with nothing in them, and no date. */
    SUCCEEDS(command_run(SECONDS,
                         "awk '/^.(PP|SH)/ && before ~ /^.PP/ || /^.PP/ && before ~ /^.SH/ || "
                         "/^.TH/ && !/ \"20..-..-..\" / { print FILENAME, $0; bad = 1 } { before = $0 } "
                         "END { exit bad }' %s/man/*.1",
                         folder));
}

/* Every option that the help of a command shows is on its page, and none is empty. */
Test(manual, no_option_is_lost)
{
    SUCCEEDS(command_run(SECONDS,
                         "tools/manual man " T2T
                         " %s/man && for page in %s/man/t2t-*.1; do name=$(basename $page .1); name=${name#t2t-}; "
                         "name=$(echo $name | sed 's/^bench-/bench /'); " T2T
                         " help $name | sed -n 's/^  \\(--[a-z-]*\\).*/\\1/p' | "
                         "while read option; do grep -qF -- \".B $(echo \"$option\" | sed 's/-/\\\\-/g')\" $page || "
                         "{ echo \"$name: $option\"; exit 1; }; done || exit 1; done",
                         temporary_folder(), temporary_folder()));
}

/* What bash offers behind LINE, of which WORD is the last word. */
static Command completed(const char *line, int word)
{
    return command_run(SECONDS,
                       "tools/manual completion " T2T " >%s/t2t && bash -c 'compopt() { :; }; source %s/t2t; "
                       "COMP_WORDS=(%s \"\"); COMP_CWORD=%d; COMP_WORDS=(\"${COMP_WORDS[@]:0:%d}\"); _t2t; "
                       "printf \"%%s\\n\" \"${COMPREPLY[@]}\"'",
                       temporary_folder(), temporary_folder(), line, word, word + 1);
}

Test(manual, bash_completes_commands_options_keys_and_models)
{
    EXPECT(completed("t2t tra", 1), 0, "train\n", "trace\n");
    EXPECT(completed("t2t help ev", 2), 0, "eval\n");
    EXPECT(completed("t2t train --res", 2), 0, "--resume\n");
    EXPECT(completed("t2t bench", 2), 0, "allreduce\n");
    EXPECT(completed("t2t bench step --pro", 3), 0, "--profile\n");
    EXPECT(completed("t2t train --set warmup_", 3), 0, "warmup_lr=\n", "warmup_epochs=\n");
    EXPECT(completed("t2t eval --model vit_", 3), 0, "vit_tiny_patch16\n");
}
