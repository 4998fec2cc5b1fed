/* The scripts of jobs/, with stand-ins for mpirun, srun and what else they call; on a real Slurm, see tests/slurm. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/status.h"
#include "tests/support/tiny.h"

enum { SECONDS = 30 };

static void file_put(const char *name, const char *text)
{
    char path[600];
    Error error = {0};
    snprintf(path, sizeof path, "%.400s/%.100s", temporary_folder(), name);
    cr_assert_eq(file_write(path, text, strlen(text), &error), STATUS_OK, "%s", error.message);
}

/* Stands for mpirun and srun. It runs jobs/stage; for the ranks it does what the first line of `script`, which it takes
 * away, tells: "STATUS" ends with it, "STATUS progress" leaves a checkpoint before, "STATUS USR1" sends the job script
 * that signal and ends when it is handed on. */
static const char LAUNCHER[] =
    "#!/bin/sh\n"
    "echo \"$(basename \"$0\") $*\" >>\"$FAKE/calls\"\n"
    "for word; do\n"
    "    case $word in */jobs/stage) while [ \"$1\" != \"$word\" ]; do shift; done; exec \"$@\" ;; esac\n"
    "done\n"
    "line=$(head -n 1 \"$FAKE/script\") status=${line%% *}\n"
    "sed -i 1d \"$FAKE/script\"\n"
    "case $line in\n"
    "    *progress) step=runs/r/checkpoints/step-0000000$(wc -l <\"$FAKE/calls\")\n"
    "        mkdir -p $step; touch $step/manifest.json ;;\n"
    "    *USR1|*TERM) trap 'exit $status' USR1; kill -s ${line#* } $PPID; while :; do /bin/sleep 0.02; done ;;\n"
    "esac\n"
    "exit $status\n";

static const char NOTES_ITSELF[] = "#!/bin/sh\necho \"$(basename \"$0\") $*\" >>\"$FAKE/calls\"\n";
static const char SMALL_DISK[] = "#!/bin/sh\necho Avail\necho 1500000\n";

/* temporary_folder(): home/jobs, as in a checkout, and bin/, which comes first in PATH. */
static void stage_set(void)
{
    const char *folder = temporary_folder();
    SUCCEEDS(command_run(SECONDS,
                         "mkdir -p %s/home/build %s/bin && cp -r jobs %s/home && ln -s /bin/true %s/home/build/t2t",
                         folder, folder, folder, folder));
    file_put("bin/mpirun", LAUNCHER);
    file_put("bin/scontrol", NOTES_ITSELF);
    file_put("bin/sbatch", NOTES_ITSELF);
    file_put("bin/sleep", NOTES_ITSELF);
    SUCCEEDS(command_run(SECONDS, "cp %s/bin/mpirun %s/bin/srun && chmod +x %s/bin/*", folder, folder, folder));
}

/* Runs a line such as "TRIES=2 jobs/train.mpirun" in home, the ranks doing what `script` says. */
static Command job(const char *script, const char *line)
{
    const char *folder = temporary_folder();
    file_put("script", script);
    return command_run(SECONDS, "cd %s/home; rm -f ../calls; export FAKE=%s T2T_HOME=%s/home PATH=%s/bin:$PATH; %s",
                       folder, folder, folder, folder, line);
}

static void expect_calls(const char *calls)
{
    Command command = command_run(SECONDS, "cat %s/calls 2>/dev/null || :", temporary_folder());
    cr_expect_str_eq(command.output, calls);
    command_free(&command);
}

/* How many times the ranks were started, and the pauses between. */
static void expect_starts(const char *want)
{
    Command command =
        command_run(SECONDS, "sed -n 's/^mpirun .*/start/p; s/^sleep //p' %s/calls | tr '\\n' ' '", temporary_folder());
    cr_expect_str_eq(command.output, want);
    command_free(&command);
}

Test(jobs, a_dry_run_prints_what_would_run_and_touches_nothing)
{
    static const struct {
        const char *line, *want;
    } SCRIPTS[] = {
        {"jobs/train.sbatch --dry-run",
         "srun --mpi=pmix --kill-on-bad-exit=1 build/t2t train configs/t2t_vit_14.yaml --output runs/t2t_vit_14 "
         "--resume auto --set data=data/imagenet"},
        {"jobs/train.mpirun --dry-run configs/a.yaml runs/b --set lr=1",
         "mpirun -q --map-by ppr:2:node --bind-to none build/t2t train configs/a.yaml --output runs/b --resume auto "
         "--set lr=1 --set data=data/imagenet"},
        {"HOSTFILE=hosts THREADS_PER_RANK=8 jobs/train.mpirun --dry-run",
         "mpirun -q --hostfile hosts --map-by ppr:2:node:PE=8 --bind-to core build/t2t train"},
        {"LAUNCH=mpirun jobs/train.sbatch --dry-run", "mpirun -q --map-by ppr:1:node"},
        {"STAGE_TO=/local jobs/train.mpirun --dry-run", "/jobs/stage data/imagenet /local/imagenet"},
        {"STAGE_TO=/local jobs/train.sbatch --dry-run", "--set data=/local/imagenet"},
        {"jobs/finetune.sbatch --dry-run best.safetensors",
         "build/t2t train configs/finetune_cifar10.yaml --output runs/finetune_cifar10 --resume auto --set "
         "init_weights=best.safetensors --set data=data/cifar10"},
        {"jobs/finetune.mpirun --dry-run best.safetensors",
         "build/t2t train configs/finetune_cifar10.yaml --output runs/finetune_cifar10 --resume auto --set "
         "init_weights=best.safetensors --set data=data/cifar10"},
        {"jobs/eval.sbatch --dry-run best.safetensors --crop 0.9",
         "build/t2t eval --data data/imagenet --weights best.safetensors --crop 0.9"},
        {"jobs/eval.mpirun --dry-run best.safetensors",
         "build/t2t eval --data data/imagenet --weights best.safetensors"},
        {"SEEDS=4 jobs/sweep.sbatch --dry-run configs/a.yaml runs/s --set epochs=1",
         "build/t2t train configs/a.yaml --output runs/s/01_lr=0.001\\,seed=4 --resume auto --set data=data/imagenet "
         "--set lr=0.001 --set seed=4 --set epochs=1"},
        {"jobs/convert.sbatch --dry-run 'my images' data/out", "build/t2t convert my\\ images data/out"},
        {"jobs/convert.mpirun --dry-run images data/out --limit 9", "build/t2t convert images data/out --limit 9"},
    };
    stage_set();
    const char *folder = temporary_folder();
    SUCCEEDS(command_run(SECONDS, "find %s/home | sort >%s/before", folder, folder));
    for (size_t i = 0; i < sizeof SCRIPTS / sizeof *SCRIPTS; i++)
        EXPECT(job("0\n", SCRIPTS[i].line), 0, SCRIPTS[i].want);
    expect_calls("");
    SUCCEEDS(command_run(SECONDS, "find %s/home | sort | cmp - %s/before", folder, folder));
    /* Each of them is in the table, and says what it wants. */
    Command command = command_run(SECONDS, "ls jobs/*.sbatch jobs/*.mpirun");
    for (char *script = strtok(command.output, "\n"); script; script = strtok(NULL, "\n")) {
        char line[100];
        size_t tested = 0;
        for (size_t i = 0; i < sizeof SCRIPTS / sizeof *SCRIPTS; i++) tested += strstr(SCRIPTS[i].line, script) != NULL;
        cr_expect_gt(tested, 0, "%s", script);
        snprintf(line, sizeof line, "%.60s --help", script);
        EXPECT(job("", line), 0, "--dry-run");
        SUCCEEDS(command_run(SECONDS, "! %s | grep ====", line)); /* what only the script's source needs */
    }
    command_free(&command);
}

Test(jobs, crashes_are_tried_again_later_and_later)
{
    stage_set();
    EXPECT(job("1\n1\n0\n", "jobs/train.mpirun c.yaml runs/r"), 0, "crash 1 of at most 5", "again in 10 s",
           "crash 2 of at most 5", "again in 20 s");
    expect_starts("start 10 start 20 start ");
    EXPECT(job("1\n1\n1\n1\n1\n0\n", "jobs/train.mpirun c.yaml runs/r"), 1, "5 crashes without a new checkpoint");
    expect_starts("start 10 start 20 start 40 start 80 start ");
    EXPECT(job("134\n137\n0\n", "TRIES=2 PAUSE=3 jobs/train.mpirun c.yaml runs/r"), 137, "2 crashes");
    expect_starts("start 3 start ");
    /* A new checkpoint: the count begins anew, and so do the pauses. */
    EXPECT(job("1\n1 progress\n1\n0\n", "TRIES=3 PAUSE=3 jobs/train.mpirun c.yaml runs/r"), 0, "crash 2 of at most 3");
    expect_starts("start 3 start 3 start 6 start ");
}

Test(jobs, what_trying_again_cannot_mend_ends_it)
{
    stage_set();
    EXPECT(job("2\n0\n", "jobs/train.mpirun c.yaml runs/r"), 2, "status 2");
    expect_starts("start ");
    EXPECT(job("3\n0\n", "jobs/train.mpirun c.yaml runs/r"), 3, "status 3");
    expect_starts("start ");
    EXPECT(job("75\n0\n", "jobs/train.mpirun c.yaml runs/r"), 75, "the same command continues");
    expect_starts("start ");
    /* A signal is handed on as USR1; what the ranks make of it, they are not started again. */
    EXPECT(job("75 TERM\n0\n", "jobs/train.mpirun c.yaml runs/r"), 75, "the same command continues");
    expect_starts("start ");
    EXPECT(job("1 USR1\n0\n", "jobs/train.mpirun c.yaml runs/r"), 1, "status 1");
    expect_starts("start ");
}

/* Three nodes, of which one does not answer any more: two are left, with two ranks each. */
Test(jobs, a_lost_node_leaves_the_others)
{
    static const char SINFO[] = "#!/bin/sh\necho 'n1 alloc'\necho 'n2 down*'\necho 'n3 alloc'\n";
    static const char LINE[] =
        "mkdir -p runs/r; %s > runs/r/config.yaml; SLURM_JOB_ID=42 SLURM_JOB_NODELIST='n[1-3]' "
        "SLURM_JOB_NUM_NODES=3 SLURM_NTASKS_PER_NODE=%d LOST_WAIT=0 jobs/train.sbatch c.yaml runs/r";
    char line[400];
    stage_set();
    file_put("bin/sinfo", SINFO);
    SUCCEEDS(command_run(SECONDS, "chmod +x %s/bin/sinfo", temporary_folder()));
    snprintf(line, sizeof line, LINE, "echo 'reproducible: 0'", 3);
    EXPECT(job("137\n0\n", line), 0, "of 3 nodes 2 are left: n1,n3; going on with 6 ranks on n1,n3",
           "--nodelist=n1,n3 --nodes=2 --ntasks=6");
    snprintf(line, sizeof line, LINE, "echo 'reproducible: 8'", 3);
    EXPECT(job("137\n0\n", line), 0, "going on with 4 ranks on n1,n3");
    snprintf(line, sizeof line, LINE, "printf 'reproducible: 8\\ncoordinator: dedicated\\n'", 1);
    EXPECT(job("137\n0\n", line), 0, "going on with 2 ranks on n1,n3");
    /* Wrong settings are no lost node, and a second node may be lost as well. */
    snprintf(line, sizeof line, LINE, "echo 'reproducible: 2'", 1);
    EXPECT(job("2\n0\n", line), 2, "wrong settings");
    EXPECT(job("1\n1\n", line), 1, "going on with 2 ranks on n1,n3", "requeueing");
}

Test(jobs, slurm_requeues_what_can_go_on)
{
    static const char REQUEUED[] =
        "srun --mpi=pmix --kill-on-bad-exit=1 build/t2t train c.yaml --output runs/r --resume "
        "auto --set data=data/imagenet\nscontrol requeue 42\n";
    static const char LEFT[] = "srun --mpi=pmix --kill-on-bad-exit=1 build/t2t train c.yaml --output runs/r --resume "
                               "auto --set data=data/imagenet\n";
    stage_set();
    /* The time limit's signal, and crashes, but not for ever. */
    EXPECT(job("75 USR1\n", "SLURM_JOB_ID=42 jobs/train.sbatch c.yaml runs/r"), 75, "requeueing job 42 (restart 1)");
    expect_calls(REQUEUED);
    EXPECT(job("1\n", "SLURM_JOB_ID=42 SLURM_RESTART_COUNT=2 jobs/train.sbatch c.yaml runs/r"), 1, "restart 3");
    expect_calls(REQUEUED);
    EXPECT(job("1\n", "SLURM_JOB_ID=42 SLURM_RESTART_COUNT=3 jobs/train.sbatch c.yaml runs/r"), 1, "status 1");
    expect_calls(LEFT);
    /* Cancelled, done, or to be mended by a person. */
    EXPECT(job("75 TERM\n", "SLURM_JOB_ID=42 jobs/train.sbatch c.yaml runs/r"), 75, "sbatch again continues");
    expect_calls(LEFT);
    EXPECT(job("0\n", "SLURM_JOB_ID=42 jobs/train.sbatch c.yaml runs/r"), 0, "done");
    expect_calls(LEFT);
    EXPECT(job("2\n", "SLURM_JOB_ID=42 jobs/train.sbatch c.yaml runs/r"), 2, "wrong settings or bad data");
    expect_calls(LEFT);
}

Test(jobs, the_configuration_names_the_data_set_unless_DATA_does)
{
    stage_set();
    SUCCEEDS(command_run(SECONDS, "mkdir -p %s/home/my && cp configs/t2t_vit_14.yaml %s/home/my", temporary_folder(),
                         temporary_folder()));
    file_put("home/my/a.yaml", "data: \"/scratch/our images\"   # converted in May\nlr: 1\n");
    file_put("home/my/b.yaml", "base: a.yaml\nlr: 2\n");
    file_put("home/my/circle.yaml", "base: circle.yaml\n");
    static const char OURS[] = "--set data=/scratch/our\\ images", NONE[] = "neither DATA nor `data:`";
    EXPECT(job("", "jobs/train.sbatch --dry-run my/a.yaml"), 0, OURS);
    EXPECT(job("", "jobs/train.mpirun --dry-run my/b.yaml"), 0, OURS);
    EXPECT(job("", "jobs/finetune.sbatch --dry-run w.safetensors my/b.yaml"), 0, OURS);
    EXPECT(job("", "jobs/finetune.mpirun --dry-run w.safetensors my/b.yaml"), 0, OURS);
    EXPECT(job("", "jobs/sweep.sbatch --here --dry-run my/b.yaml"), 0, OURS);
    EXPECT(job("", "DATA=other jobs/train.sbatch --dry-run my/a.yaml"), 0, "--set data=other");
    EXPECT(job("", "STAGE_TO=/local jobs/train.sbatch --dry-run my/b.yaml"), 0,
           "stage /scratch/our\\ images /local/our\\ images");
    EXPECT(job("", "STAGE_TO=/local DATA=other jobs/train.sbatch --dry-run my/a.yaml runs/a --set data=/scratch/third"),
           0, "stage /scratch/third /local/third");
    EXPECT(job("", "jobs/train.sbatch --dry-run my/t2t_vit_14.yaml"), 0, NONE, "--set data=data/imagenet");
    EXPECT(job("", "jobs/train.sbatch --dry-run my/circle.yaml"), 0, NONE);
}

Test(jobs, data_that_does_not_fit_is_not_staged)
{
    char path[600];
    const char *folder = temporary_folder();
    stage_set();
    SUCCEEDS(command_run(SECONDS,
                         "cd %s/home && mkdir -p data/set && head -c 1000000 /dev/urandom >data/set/train-000.mdb && "
                         "cp data/set/train-000.mdb data/set/val-000.mdb && echo {} >data/set/manifest.json",
                         folder));
    file_put("bin/df", SMALL_DISK);
    SUCCEEDS(command_run(SECONDS, "chmod +x %s/bin/df", folder));
    EXPECT(job("0\n", "jobs/stage data/set local/set"), 3, "local/set has 1 MB free, but 2 MB are still to be copied");
    EXPECT(job("0\n", "DATA=data/set STAGE_TO=local jobs/train.mpirun c.yaml runs/r"), 3, "1 MB free",
           "empty STAGE_TO");
    expect_starts("start "); /* of jobs/stage, not of the ranks */
    snprintf(path, sizeof path, "%.500s/home/local/set/train-000.mdb", folder);
    cr_expect_not(file_exists(path));
    /* One of the two is there already: the other fits. */
    EXPECT(job("0\n", "cp data/set/val-000.mdb local/set; jobs/stage data/set local/set"), 0, "1 of 1 MB",
           "local/set holds 2 MB");
    SUCCEEDS(command_run(SECONDS, "cd %s/home && diff -r -x .lock data/set local/set", folder));
    EXPECT(job("0\n", "jobs/stage data/set local/set"), 0, "complete already");
    EXPECT(job("0\n", "DATA=data/set STAGE_TO=local jobs/train.mpirun c.yaml runs/r"), 0, "--set data=local/set");
    EXPECT(job("0\n", "jobs/stage data/none local/none"), 3, "data/none/manifest.json is missing");
    EXPECT(job("0\n", "jobs/stage data/none"), 2, "usage: jobs/stage FROM TO");
}

Test(jobs, a_program_that_is_not_there_is_told)
{
    const char *folder = temporary_folder();
    stage_set();
    SUCCEEDS(command_run(SECONDS, "rm %s/home/build/t2t", folder));
    EXPECT(job("0\n", "jobs/train.mpirun c.yaml runs/r"), 2, "train.mpirun: there is no program 'build/t2t'",
           "make install");
    EXPECT(job("0\n", "T2T=/nowhere/t2t jobs/eval.mpirun w"), 2, "there is no program '/nowhere/t2t'");
    expect_calls("");
    /* Installed: the program of the prefix; configurations are found beside the scripts, the rest where one stands. */
    SUCCEEDS(command_run(SECONDS,
                         "cd %s && mkdir -p prefix/share/t2t prefix/bin && cp -r home/jobs prefix/share/t2t && "
                         "mkdir prefix/share/t2t/configs && touch prefix/share/t2t/configs/a.yaml && "
                         "ln -s /bin/true prefix/bin/t2t",
                         folder));
    EXPECT(job("0\n", "unset T2T_HOME; ../prefix/share/t2t/jobs/train.mpirun --dry-run configs/a.yaml runs/r"), 0,
           "/prefix/bin/t2t train", "/prefix/share/t2t/configs/a.yaml --output runs/r");
    EXPECT(job("0\n", "unset T2T_HOME; SLURM_SUBMIT_DIR=/ ../prefix/share/t2t/jobs/train.sbatch --dry-run "), 0,
           "/prefix/bin/t2t train");
}

/* Stands for Slurm's; it gives the job a number. */
static const char SUBMITS[] = "#!/bin/sh\necho \"sbatch $*\" >>\"$FAKE/calls\"\necho 77\n";

Test(jobs, a_sweep_is_an_array_and_then_a_table)
{
    const char *folder = temporary_folder();
    char calls[2000];
    stage_set();
    file_put("bin/sbatch", SUBMITS);
    file_put("home/lists", "# two\nlr=0.1  drop_path=0.2\n\n  init_weights=a/b.safetensors # none of ours\n");
    SUCCEEDS(command_run(SECONDS, "chmod +x %s/bin/sbatch", folder));
    EXPECT(job("", "AT_ONCE=2 SEEDS='5 6' SWEEP=lists jobs/sweep.sbatch c.yaml runs/s --set epochs=1"), 0,
           "4 runs: job 77", "runs/s/summary.txt");
    snprintf(calls, sizeof calls,
             "sbatch --parsable --array=0-3%%2 %s/home/jobs/sweep.sbatch c.yaml runs/s --set epochs=1\n"
             "sbatch --parsable --dependency=afterany:77 --nodes=1 --ntasks-per-node=1 --cpus-per-task=1 "
             "--time=00:10:00 --output=runs/s/summary.log %s/home/jobs/sweep.sbatch --summary runs/s\n",
             folder, folder);
    expect_calls(calls);

    /* A task of the array, whatever has become of the lists since. */
    SUCCEEDS(command_run(SECONDS, "rm %s/home/lists", folder));
    EXPECT(job("0\n", "SLURM_ARRAY_TASK_ID=3 jobs/sweep.sbatch c.yaml runs/s --set epochs=1"), 0, "done");
    expect_calls("srun --mpi=pmix --kill-on-bad-exit=1 build/t2t train c.yaml --output "
                 "runs/s/03_init_weights=a_b.safetensors,seed=6 --resume auto --set data=data/imagenet --set "
                 "init_weights=a/b.safetensors --set seed=6 --set epochs=1\n");
    EXPECT(job("0\n", "SLURM_ARRAY_TASK_ID=4 jobs/sweep.sbatch c.yaml runs/s"), 2, "no run number 4");
    file_put("bin/scontrol", "#!/bin/sh\nexit 1\n"); /* requeueing is not allowed: this task alone is submitted anew */
    EXPECT(job("75 USR1\n", "SLURM_ARRAY_TASK_ID=1 SLURM_JOB_ID=81 jobs/sweep.sbatch c.yaml runs/s"), 75, "requeueing");
    SUCCEEDS(command_run(SECONDS, "grep 'sbatch --array=1 ' %s/calls", folder));

    EXPECT(job("", "jobs/sweep.sbatch c.yaml runs/s"), 2, "another sweep");
    EXPECT(job("", "SWEEP=nowhere jobs/sweep.sbatch c.yaml runs/other"), 2, "no file 'nowhere'");
    EXPECT(job("", "SEEDS=' ' jobs/sweep.sbatch c.yaml runs/other"), 2, "give no run");
    EXPECT(job("", "jobs/sweep.sbatch --summary"), 1, "usage");
}

Test(jobs, a_sweep_without_slurm_is_one_run_after_another)
{
    stage_set();
    EXPECT(job("0\n1\n0\n", "SEEDS='1 2 3' SWEEP=lists; echo lr=1 >lists; export SEEDS SWEEP; mkdir -p runs/s/00_; "
                            "RANKS_PER_NODE=1 jobs/sweep.sbatch --here c.yaml runs/s"),
           0, "status 1");
    expect_starts("start start start ");
    EXPECT(job("2\n0\n", "jobs/sweep.sbatch --here c.yaml runs/t"), 2, "status 2"); /* as all others would */
    expect_starts("start ");
    EXPECT(
        job("",
            "mkdir ../few; for tool in bash dirname basename wc sed diff; do ln -s $(command -v $tool) ../few; done; "
            "PATH=$FAKE/few jobs/sweep.sbatch c.yaml runs/u"),
        2, "--here trains");
}

Test(jobs, open_mpi_is_told_the_network_in_one_place)
{
    static const char SHOWS[] = "#!/bin/sh\nenv | grep OMPI_MCA\n";
    const char *folder = temporary_folder();
    stage_set();
    file_put("bin/mpirun", SHOWS);
    SUCCEEDS(command_run(SECONDS, "cd %s/bin && cp mpirun srun && chmod +x *", folder));
    EXPECT(job("0\n", "NETWORK_INTERFACE=ib0 jobs/train.mpirun c.yaml runs/r"), 0, "OMPI_MCA_btl_tcp_if_include=ib0",
           "OMPI_MCA_oob_tcp_if_include=ib0", "OMPI_MCA_odls_base_sigkill_timeout=3");
    EXPECT(job("0\n", "NETWORK_INTERFACE=ib0 OMPI_MCA_btl_tcp_if_include=eth1 OMPI_MCA_odls_base_sigkill_timeout=9 "
                      "jobs/train.sbatch c.yaml runs/r"),
           0, "OMPI_MCA_btl_tcp_if_include=eth1", "OMPI_MCA_oob_tcp_if_include=ib0",
           "OMPI_MCA_odls_base_sigkill_timeout=9");
    Command command = job("0\n", "jobs/train.mpirun c.yaml runs/r");
    cr_expect_null(strstr(command.output, "if_include"), "%s", command.output);
    command_free(&command);
}

/* Stands for mpirun: its rank is killed and it stays; or it is killed and leaves a rank behind. */
static const char LINGERS[] =
    "#!/bin/sh\n/bin/sleep 3 &\nwait\nwhile :; do read line </dev/null; kill -0 $PPID || exit; done\n";
static const char ABANDONS[] = "#!/bin/sh\n/bin/sleep 500 &\necho $! >$FAKE/orphan\nexit 1\n";

Test(jobs, what_mpirun_leaves_behind_is_ended)
{
    const char *folder = temporary_folder();
    stage_set();
    file_put("bin/mpirun", LINGERS);
    SUCCEEDS(command_run(SECONDS, "chmod +x %s/bin/mpirun", folder));
    EXPECT(job("", "LINGER=1 TRIES=1 jobs/train.mpirun c.yaml runs/r"), 143, "mpirun has no processes any more",
           "the ranks ended with status 143");
    file_put("bin/mpirun", ABANDONS);
    SUCCEEDS(command_run(SECONDS, "chmod +x %s/bin/mpirun", folder));
    EXPECT(job("", "LINGER=1 TRIES=1 jobs/train.mpirun c.yaml runs/r"), 1, "processes that outlived mpirun are killed");
    SUCCEEDS(command_run(SECONDS, "! grep -qs '^State:.[RSD]' /proc/$(cat %s/orphan)/status", folder));
}

/* Stands for a rank of t2t: asked to stop, it needs longer than mpirun leaves it by itself. */
static const char SLOW_RANK[] =
    "#!/bin/sh\n"
    "trap '/bin/sleep 3; touch \"$FAKE/saved.$OMPI_COMM_WORLD_RANK\"; exit 75' USR1 TERM INT\n"
    "touch \"$FAKE/up.$OMPI_COMM_WORLD_RANK\"\n"
    "while :; do /bin/sleep 0.1; done\n";

/* Ctrl-C typed into a terminal goes to every process of its foreground group; mpirun would kill its ranks. */
Test(jobs, ctrl_c_in_a_terminal_leaves_the_ranks_their_time)
{
    const char *folder = temporary_folder();
    stage_set();
    file_put("rank", SLOW_RANK);
    SUCCEEDS(command_run(SECONDS, "cd %s && chmod +x rank && rm bin/mpirun bin/sleep", folder));
    Command command =
        job("", "export T2T=$FAKE/rank OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
                "OMPI_MCA_rmaps_base_oversubscribe=1; "
                "{ until [ -e ../up.0 ] && [ -e ../up.1 ]; do sleep 0.1; done; printf '\\003'; sleep 6; } | "
                "script -qec 'exec jobs/train.mpirun c.yaml runs/r' /dev/null");
    cr_expect_eq(command.exit_status, 75, "%d\n%s", command.exit_status, command.output);
    cr_expect(strstr(command.output, "the same command continues"), "%s", command.output);
    command_free(&command);
    SUCCEEDS(command_run(SECONDS, "ls %s/saved.0 %s/saved.1", folder, folder));
}
