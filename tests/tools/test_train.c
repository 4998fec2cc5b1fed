/* Whole runs of t2t train, alone and under mpirun. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/status.h"
#include "dist/checkpoint/checkpoint.h"
#include "dist/config/config.h"
#include "dist/checkpoint/async_writer.h"
#include "tests/support/tiny.h"

enum { SECONDS = 100, STEPS = 64 };

static const char *const VECTORS[] = {"weights.safetensors", "ema.safetensors", "optimizer.safetensors"};

/* Before the program under MPIRUN: with the shim of tests/faults in the temporary folder, which faults_build() puts
 * there. */
#define FAULTY "-x LD_PRELOAD=%s/faults.so -x ASAN_OPTIONS=verify_asan_link_order=0 "

static void faults_build(void)
{
    SUCCEEDS(command_run(60, "cc -shared -fPIC -O1 -D_GNU_SOURCE -o %s/faults.so tests/faults/faults.c -ldl",
                         temporary_folder()));
}

/* The checkpoints of a run, oldest first: when one is due while the one before is still being written it waits, so
 * which steps they are depends on the disk. Returns how many. */
static int checkpoints_of(const char *run, int64_t *steps, int room)
{
    char folder[1000];
    int64_t *found;
    int count;
    Error error = {0};
    cr_assert_eq(checkpoint_list(path_to(folder, "%s/checkpoints", run), &found, &count, &error), STATUS_OK);
    for (int i = 0; i < count && i < room; i++) steps[i] = found[count - 1 - i];
    free(found);
    return count < room ? count : room;
}

static void remove_checkpoint(const char *run, int64_t step)
{
    char path[1000];
    Error error = {0};
    path_to(path, "%s/checkpoints/step-%08d", run, (int)step);
    cr_assert_eq(checkpoint_remove(path, &error), STATUS_OK, "%s", error.message);
}

static void expect_same_checkpoint(const char *a, const char *b, int step)
{
    char left[1000], right[1000];
    for (int i = 0; i < 3; i++) {
        path_to(left, "%s/checkpoints/step-%08d/%s", a, step, VECTORS[i]);
        path_to(right, "%s/checkpoints/step-%08d/%s", b, step, VECTORS[i]);
        cr_expect(same_files(left, right), "%s and %s differ", left, right);
    }
}

static void expect_same_checkpoint_parts(const char *a, const char *b, int step)
{
    char left[1000], right[1000];
    for (int part = 0; part < 3; part++) {
        path_to(left, "%s/checkpoints/step-%08d/optimizer-%03d-of-003.safetensors", a, step, part);
        path_to(right, "%s/checkpoints/step-%08d/optimizer-%03d-of-003.safetensors", b, step, part);
        cr_expect(same_files(left, right), "%s and %s differ", left, right);
    }
}

/* Everything that a run goes on from, whatever files it lies in. */
static void state_open(const char *run, int step, ParamTable *table, RunVectors *vectors)
{
    char path[1000];
    Checkpoint checkpoint;
    Config config;
    Error error = {0};
    path_to(path, "%s/checkpoints/step-%08d", run, step);
    cr_assert_eq(checkpoint_open(&checkpoint, path, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(config_parse(&config, checkpoint.config, path, NULL, 0, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(params_build(table, &config.model, &error), STATUS_OK, "%s", error.message);
    const RunVectorSet all = {.weights = true, .ema = true, .moment1 = true, .moment2 = true, .end = table->size};
    cr_assert_eq(run_vectors_allocate(vectors, table, &all, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(checkpoint_load(&checkpoint, table, vectors, &error), STATUS_OK, "%s", error.message);
    checkpoint_close(&checkpoint);
}

static void expect_same_state(const char *a, const char *b, int step)
{
    ParamTable table[2];
    RunVectors state[2];
    state_open(a, step, &table[0], &state[0]);
    state_open(b, step, &table[1], &state[1]);
    const size_t bytes = (size_t)table[0].size * sizeof(float);
    cr_expect(memcmp(state[0].weights, state[1].weights, bytes) == 0, "%s and %s: weights differ", a, b);
    cr_expect(memcmp(state[0].ema, state[1].ema, bytes) == 0, "%s and %s: averages differ", a, b);
    cr_expect(memcmp(state[0].moment1, state[1].moment1, bytes) == 0, "%s and %s: first moments differ", a, b);
    cr_expect(memcmp(state[0].moment2, state[1].moment2, bytes) == 0, "%s and %s: second moments differ", a, b);
    for (int i = 0; i < 2; i++) {
        run_vectors_free(&state[i]);
        params_free(&table[i]);
    }
}

#define EASY "--set epochs=5 --set lr=0.005 --set no_aug=true --set mixup=0 --set cutmix=0 --set reprob=0"

Test(train, learns_and_says_where_everything_is)
{
    char path[1000];
    tiny_train_data();
    EXPECT(tiny_train(2, "run", EASY), 0, "2 ranks", "97 training images", "37 validation images", "best top-1",
           "best.safetensors", "t2t eval", "t2t predict");
    double losses[STEPS];
    cr_assert_eq(tiny_losses(path_to(path, "run"), losses, STEPS), 60);
    cr_expect_lt(losses[60], losses[1] - 0.3, "loss %g at first, %g at last", losses[1], losses[60]);
    cr_expect(file_exists(path_to(path, "run/best.safetensors")));
    cr_expect(file_exists(path_to(path, "run/report.html")));
    cr_expect(file_exists(path_to(path, "run/checkpoints/step-00000060/manifest.json")));
    /* The same command again: nothing is overwritten without being asked, and nothing is left to do when asked. */
    EXPECT(tiny_train(2, "run", EASY), 2, "--resume auto");
    EXPECT(tiny_train(2, "run", EASY " --resume auto"), 0, "the end of the run", "this run is done", "best top-1");
}

Test(train, records_that_cannot_be_used_are_told_at_the_epochs_end)
{
    char path[1000];
    tiny_dataset(path_to(path, "data"), 150, 16);
    spoil_record(path_to(path, "data/train-000.mdb"), 9);
    EXPECT(tiny_train(0, "run", "--set epochs=1"), 0, "1 record could not be used", "hash", "train-000.mdb",
           "best top-1");
    SUCCEEDS(command_run(5, "grep -q '1 record could not be used' %s/run/log.txt", temporary_folder()));
    spoil_record(path_to(path, "data/train-000.mdb"), 10);
    EXPECT(tiny_train(0, "stopped", "--set epochs=1"), 3, "2 of this rank's", "hash", "t2t verify");
}

Test(train, ranks_do_not_change_the_result)
{
    double alone[STEPS], together[STEPS];
    char path[1000], name[20];
    tiny_train_data();
    SUCCEEDS(tiny_train(0, "alone", "--set epochs=3"));
    cr_assert_eq(tiny_losses(path_to(path, "alone"), alone, STEPS), 36);
    for (int ranks = 2; ranks <= 4; ranks++) {
        snprintf(name, sizeof name, "ranks%d", ranks);
        SUCCEEDS(tiny_train(ranks, name, ranks == 2 ? "--set epochs=3 --set accumulate=3" : "--set epochs=3"));
        cr_assert_eq(tiny_losses(path_to(path, "%s", name), together, STEPS), 36);
        for (int step = 1; step <= 36; step++)
            cr_expect_float_eq(together[step], alone[step], 1e-4, "%d ranks, step %d: loss %.7g, alone %.7g", ranks,
                               step, together[step], alone[step]);
    }
}

/* What --samples wrote: the images of each step of epoch 0, those of rank 0 first. Returns the number of steps. */
static int samples_of(const char *run, int ranks, int batch, int64_t *images, int room)
{
    char path[1000], line[4000], *at;
    int filled[STEPS] = {0}, steps = 0;
    for (int rank = 0; rank < ranks; rank++) {
        FILE *file = fopen(path_to(path, "%s.samples.%d", run, rank), "r");
        cr_assert(file, "%s", path);
        for (int step = 0; fgets(line, sizeof line, file); step++) {
            cr_assert_lt(step, room);
            cr_assert_eq(strtol(line, &at, 10), 0);
            cr_assert_eq(strtol(at, &at, 10), step, "%s", path);
            for (char *end; strtol(at, &end, 10), end != at; at = end) {
                cr_assert_lt(filled[step], batch, "%s: step %d has too many images", path, step);
                images[step * batch + filled[step]++] = strtol(at, NULL, 10);
            }
            steps = step + 1 > steps ? step + 1 : steps;
        }
        fclose(file);
    }
    for (int step = 0; step < steps; step++) cr_assert_eq(filled[step], batch, "%s: step %d", run, step);
    return steps;
}

static void expect_close_weights(const char *a, const char *b, int step)
{
    ParamTable table[2];
    RunVectors state[2];
    double most = 0;
    state_open(a, step, &table[0], &state[0]);
    state_open(b, step, &table[1], &state[1]);
    for (int64_t i = 0; i < table[0].size; i++)
        most = fmax(most, fabs((double)state[0].weights[i] - (double)state[1].weights[i]));
    cr_expect_lt(most, 2e-5, "%s and %s: a weight differs by %g", a, b, most);
    for (int i = 0; i < 2; i++) {
        run_vectors_free(&state[i]);
        params_free(&table[i]);
    }
}

/* More ranks than pairs of images, or than images, leave some without: they take part with nothing. */
Test(train, any_number_of_ranks_gives_the_same_run)
{
    enum { IMAGES = 97 };
    static const struct {
        int batch, ranks, processes;
        const char *options;
    } CASES[] = {{4, 3, 3, "--set zero=1"},          {8, 5, 5, "--set accumulate=2"},
                 {10, 6, 6, "--set allreduce=ring"}, {12, 7, 8, "--set coordinator=dedicated"},
                 {16, 9, 9, "--set workers=0"},      {3, 5, 5, "--set mixup_mode=elem --set workers=0 --set zero=1"}};
    tiny_train_data();
    for (size_t c = 0; c < sizeof CASES / sizeof CASES[0]; c++) {
        const int batch = CASES[c].batch;
        char alone[40], shared[40], options[1000];
        int64_t once[STEPS * 16], parts[STEPS * 16];
        bool seen[IMAGES] = {false};
        const char *mode = strstr(CASES[c].options, "mixup_mode") ? "--set mixup_mode=elem" : "";
        snprintf(alone, sizeof alone, "alone%d", batch);
        snprintf(shared, sizeof shared, "shared%d", batch);
        snprintf(options, sizeof options, "--set epochs=1 --set batch_size=%d %s --samples %.500s/%s.samples", batch,
                 mode, temporary_folder(), alone);
        SUCCEEDS(tiny_train(0, alone, options));
        snprintf(options, sizeof options, "--set epochs=1 --set batch_size=%d %s --samples %.500s/%s.samples", batch,
                 CASES[c].options, temporary_folder(), shared);
        SUCCEEDS(tiny_train(CASES[c].processes, shared, options));
        int steps = samples_of(alone, 1, batch, once, STEPS);
        cr_assert_eq(steps, IMAGES / batch);
        cr_assert_eq(samples_of(shared, CASES[c].ranks, batch, parts, STEPS), steps);
        for (int i = 0; i < steps * batch; i++) {
            cr_assert_eq(parts[i], once[i], "batch %d: image %d of the epoch", batch, i);
            cr_assert_not(seen[once[i]]);
            seen[once[i]] = true;
        }
        expect_close_weights(alone, shared, steps);
    }
}

#define EVERY2 "--set epochs=3 --set checkpoint_every=2steps --set keep=99 "

/* Each rank updates and writes its slice: the same bits as without, into parts and out of them. */
Test(train, sliced_updates_give_the_same_run)
{
    double plain[STEPS], other[STEPS];
    char path[1000], options[1200];
    int64_t steps[STEPS];
    tiny_train_data();
    SUCCEEDS(tiny_train(3, "plain", EVERY2));
    SUCCEEDS(tiny_train(3, "sliced", EVERY2 "--set zero=1"));
    expect_same_state("plain", "sliced", 36);
    for (int part = 0; part < 3; part++)
        cr_expect(
            file_exists(path_to(path, "sliced/checkpoints/step-00000036/optimizer-%03d-of-003.safetensors", part)));
    cr_expect_not(file_exists(path_to(path, "sliced/checkpoints/step-00000036/optimizer.safetensors")));

    /* From parts: cut and resumed alike, without slices, with a dedicated coordinator; and back from whole ones. */
    cr_assert_geq(checkpoints_of("sliced", steps, STEPS), 2);
    snprintf(options, sizeof options, EVERY2 "--set zero=1 --resume %.500s/sliced/checkpoints/step-%08d",
             temporary_folder(), (int)steps[0]);
    SUCCEEDS(tiny_train(3, "again", options));
    expect_same_checkpoint_parts("sliced", "again", 36);
    snprintf(options, sizeof options, EVERY2 "--resume %.500s/sliced/checkpoints/step-%08d", temporary_folder(),
             (int)steps[0]);
    SUCCEEDS(tiny_train(3, "whole", options));
    expect_same_state("plain", "whole", 36);
    snprintf(options, sizeof options,
             EVERY2 "--set zero=1 --set coordinator=dedicated --resume %.500s/sliced/checkpoints/step-%08d",
             temporary_folder(), (int)steps[0]);
    SUCCEEDS(tiny_train(4, "dedicated", options));
    expect_same_state("plain", "dedicated", 36);
    expect_same_checkpoint_parts("sliced", "dedicated", 36);
    cr_assert_geq(checkpoints_of("plain", steps, STEPS), 2);
    snprintf(options, sizeof options, EVERY2 "--set zero=1 --resume %.500s/plain/checkpoints/step-%08d",
             temporary_folder(), (int)steps[0]);
    SUCCEEDS(tiny_train(3, "back", options));
    expect_same_state("plain", "back", 36);

    /* On other ranks and threads: the same to rounding. */
    tiny_losses(path_to(path, "plain"), plain, STEPS);
    checkpoints_of("sliced", steps, STEPS);
    snprintf(options, sizeof options,
             EVERY2 "--set zero=1 --set threads=2 --resume %.500s/sliced/checkpoints/step-%08d", temporary_folder(),
             (int)steps[0]);
    SUCCEEDS(tiny_train(2, "other", options));
    cr_assert_eq(tiny_losses(path_to(path, "other"), other, STEPS), 36);
    for (int64_t step = steps[0] + 1; step <= 36; step++)
        cr_expect_float_eq(other[step], plain[step], 1e-4, "step %ld", (long)step);
}

/* The disk of one rank fills up: its part is missing, so there is no checkpoint, and the one before stays. */
Test(train, a_part_that_cannot_be_written_is_no_checkpoint)
{
    char path[1000], good[40];
    int64_t steps[STEPS];
    const char *folder = temporary_folder();
    tiny_train_data();
    faults_build();
    SUCCEEDS(tiny_train(3, "whole", EVERY2));
    SUCCEEDS(tiny_train(3, "run", EVERY2 "--set zero=1"));
    int count = checkpoints_of("run", steps, STEPS);
    for (int i = 1; i < count; i++) remove_checkpoint("run", steps[i]);
    snprintf(good, sizeof good, "step %d stays the last good", (int)steps[0]);
    for (int dedicated = 0; dedicated < 2; dedicated++) {
        Command command = command_run(
            SECONDS,
            MPIRUN "%d " FAULTY "-x FAULT=full -x FAULT_PATH=/optimizer-001 -x FAULT_BYTES=0 " T2T " train %s " EVERY2
                   "--set zero=1 --set coordinator=%s --set data=%s/data --output %s/run --resume auto",
            3 + dedicated, folder, TINY_SETTINGS, dedicated ? "dedicated" : "shared", folder, folder);
        EXPECT(command, 1, "warning: checkpoint of step", "rank 1: ", "/optimizer-001-of-003.safetensors",
               "No space left on device", good);
        cr_expect_eq(checkpoints_of("run", steps, STEPS), 1);
        SUCCEEDS(command_run(10, "test -z \"$(find %s/run -name '*.tmp.*' -o -name 'step-*36')\"", folder));
    }
    EXPECT(tiny_train(3, "run", EVERY2 "--set zero=1 --resume auto"), 0, "resumed from");
    expect_same_state("whole", "run", 36);
    cr_expect(file_exists(path_to(path, "run/checkpoints/step-00000036/manifest.json")));
}

/* A rank that does not train takes validation and checkpoints over; the weights stay what they are. */
Test(train, a_dedicated_coordinator_gives_the_same_run)
{
    char path[1000], other[1000];
    tiny_train_data();
    SUCCEEDS(tiny_train(2, "shared", "--set epochs=3"));
    EXPECT(tiny_train(3, "dedicated", "--set epochs=3 --set coordinator=dedicated"), 0, "best top-1",
           "checkpoint of step 36");
    for (int i = 0; i < 3; i++) {
        path_to(path, "shared/checkpoints/step-00000036/%s", VECTORS[i]);
        path_to(other, "dedicated/checkpoints/step-00000036/%s", VECTORS[i]);
        cr_expect(same_tensors(path, other), "%s", path);
    }
    cr_expect(same_files(path_to(path, "shared/summary.csv"), path_to(other, "dedicated/summary.csv")));
    cr_expect(file_exists(path_to(path, "dedicated/best.safetensors")));
    EXPECT(tiny_train(3, "dedicated", "--set epochs=3 --set coordinator=dedicated --resume auto"), 0,
           "this run is done");
    EXPECT(tiny_train(2, "dedicated", "--set epochs=3 --resume auto"), 0, "this run is done");
    EXPECT(tiny_train(1, "alone", "--set coordinator=dedicated"), 2, "dedicated needs two ranks");
}

/* While the dedicated rank validates, checkpoints are written; and a run that is killed meanwhile, some steps into the
 * next epoch, has the validation done when it is resumed, in either mode. Reads so slow that the validation would
 * outlast the time limit: the checkpoint of step 18, the first one, comes in the middle of it on any machine. */
Test(train, a_validation_that_was_cut_is_done_on_resume)
{
    static const char OPTIONS[] = "--set epochs=2 --set checkpoint_every=18steps --set keep=2";
    char path[1000], other[1000], data[1000], options[2400];
    const char *folder = temporary_folder();
    path_to(data, "longer");
    tiny_dataset(data, 97, 2000);
    faults_build();
    snprintf(options, sizeof options, "%s --set data=%s", OPTIONS, data);
    SUCCEEDS(tiny_train(2, "whole", options));
    EXPECT(command_run(SECONDS,
                       MPIRUN
                       "3 " FAULTY "-x FAULT=reads -x FAULT_PATH=/val- -x FAULT_MS=50 " T2T
                       " train %s %s --set coordinator=dedicated --set data=%s --output %s/run0 & job=$!; "
                       "until [ -e %s/run0/checkpoints/step-00000018/manifest.json ]; do sleep 0.02; done; "
                       "kill -KILL $(pgrep -P $job); wait $job; cp -r %s/run0 %s/run1; wc -l <%s/run0/summary.csv; "
                       "ls %s/run0/checkpoints/pending-00000001",
                       folder, TINY_SETTINGS, OPTIONS, data, folder, folder, folder, folder, folder, folder),
           0, "1\n", "ema.safetensors", "manifest.json");
    for (int dedicated = 0; dedicated < 2; dedicated++) {
        const char *run = dedicated ? "run1" : "run0";
        snprintf(options, sizeof options, "%s --set data=%s --resume auto%s", OPTIONS, data,
                 dedicated ? " --set coordinator=dedicated" : "");
        EXPECT(tiny_train(2 + dedicated, run, options), 0, "epoch 1 was cut before its validation", "best top-1");
        expect_same_state("whole", run, 24);
        cr_expect(same_files(path_to(path, "whole/summary.csv"), path_to(other, "%s/summary.csv", run)), "%s", other);
        SUCCEEDS(command_run(10, "test -z \"$(find %s/%s -name 'pending-*' -o -name '*.tmp.*')\"", folder, run));
    }
}

/* A run that is cut anywhere and resumed is the run that was not cut, bit for bit. */
Test(train, resumes_with_the_next_sample)
{
    static const char OPTIONS[] = "--set epochs=3 --set checkpoint_every=2steps --set keep=99";
    char whole[1000], cut[1000], options[1200];
    int64_t steps[STEPS];
    double uncut_losses[STEPS], losses[STEPS];
    tiny_train_data();
    SUCCEEDS(tiny_train(2, "whole", OPTIONS));
    int count = checkpoints_of("whole", steps, STEPS), tried = 0;
    path_to(whole, "whole");
    for (int i = 0; i < count && tried < 2; i++) {
        if (steps[i] % 12 == 0 || steps[i] < 12 * tried)
            continue; /* in the middle of the first, then of a later epoch */
        char name[20];
        snprintf(name, sizeof name, "cut%d", tried++);
        path_to(cut, "%s", name);
        SUCCEEDS(command_run(10,
                             "mkdir -p %s/checkpoints && cp -r %s/checkpoints/step-%08d %s/checkpoints && "
                             "cp %s/config.yaml %s/metrics.jsonl %s/summary.csv %s",
                             cut, whole, (int)steps[i], cut, whole, whole, whole, cut));
        snprintf(options, sizeof options, "%s --resume auto", OPTIONS);
        EXPECT(tiny_train(2, name, options), 0, "resumed from");
        expect_same_checkpoint("whole", name, 36);
        char left[1100], right[1100];
        snprintf(left, sizeof left, "%s/summary.csv", whole);
        snprintf(right, sizeof right, "%s/summary.csv", cut);
        cr_expect(same_files(left, right));
    }
    cr_assert_geq(tried, 1, "no checkpoint in the middle of an epoch");
    /* Into another folder, and on other ranks: the same to rounding. */
    snprintf(options, sizeof options, "--set epochs=3 --resume %s/checkpoints/step-%08d", whole, (int)steps[0]);
    EXPECT(tiny_train(3, "elsewhere", options), 0, "resumed from");
    tiny_losses(whole, uncut_losses, STEPS);
    cr_assert_eq(tiny_losses(path_to(cut, "elsewhere"), losses, STEPS), 36);
    for (int64_t step = steps[0] + 1; step <= 36; step++) cr_expect_float_eq(losses[step], uncut_losses[step], 1e-4);
}

Test(train, a_damaged_checkpoint_is_named_and_the_one_before_it_used)
{
    char path[1000], before[40];
    int64_t steps[STEPS];
    tiny_train_data();
    SUCCEEDS(tiny_train(1, "run", "--set epochs=2 --set checkpoint_every=2steps --set keep=99"));
    int count = checkpoints_of("run", steps, STEPS);
    cr_assert_geq(count, 2);
    cr_assert_eq(steps[count - 1], 24);
    SUCCEEDS(command_run(10, "cp -r %s/run %s/whole && printf x | dd of=%s conv=notrunc bs=1 seek=5000",
                         temporary_folder(), temporary_folder(),
                         path_to(path, "run/checkpoints/step-00000024/ema.safetensors")));
    snprintf(before, sizeof before, "step-%08d", (int)steps[count - 2]);
    EXPECT(tiny_train(1, "run", "--set epochs=2 --set checkpoint_every=2steps --set keep=99 --resume auto"), 0,
           "warning", "step-00000024/ema.safetensors: damaged", "resumed from", before);
    expect_same_checkpoint("whole", "run", 24);
}

/* USR1 to mpirun, which forwards it, when five steps are on record; the sixth waits for it. */
static void check_signal(int ranks, const char *run, const char *options)
{
    char path[1000], whole[1000], resume[200];
    const char *folder = temporary_folder();
    Command command =
        command_run(SECONDS,
                    MPIRUN "%d " FAULTY "-x FAULT=signal -x FAULT_PATH=/metrics.jsonl -x FAULT_COUNT=5 " T2T
                           " train %s --set epochs=3 %s --set data=%s/data --output %s/%s",
                    ranks, folder, TINY_SETTINGS, options, folder, folder, run);
    EXPECT(command, 75, "SIGUSR1", "stopped at step");
    snprintf(resume, sizeof resume, "--set epochs=3 %s --resume auto", options);
    EXPECT(tiny_train(ranks, run, resume), 0, "resumed from");
    for (int i = 0; i < 3; i++)
        cr_expect(same_tensors(path_to(path, "%s/checkpoints/step-00000036/%s", run, VECTORS[i]),
                               path_to(whole, "whole/checkpoints/step-00000036/%s", VECTORS[i])),
                  "%s", path);
}

Test(train, a_signal_is_a_checkpoint_and_status_75)
{
    tiny_train_data();
    faults_build();
    SUCCEEDS(tiny_train(2, "whole", "--set epochs=3"));
    check_signal(2, "shared", "");
    check_signal(3, "dedicated", "--set coordinator=dedicated");
}

Test(train, a_full_disk_costs_no_good_checkpoint)
{
    char path[1000], good[40];
    int64_t steps[STEPS];
    const char *folder = temporary_folder();
    tiny_train_data();
    SUCCEEDS(tiny_train(1, "run", "--set epochs=3 --set checkpoint_every=2steps --set keep=99"));
    int count = checkpoints_of("run", steps, STEPS);
    for (int i = 1; i < count; i++) remove_checkpoint("run", steps[i]);
    snprintf(good, sizeof good, "step-%08d", (int)steps[0]);
    /* 64 KiB per file: less than the weights, more than everything else. Inside mpirun, whose own files are larger. */
    Command command = command_run(SECONDS,
                                  MPIRUN "1 --mca btl self sh -c 'ulimit -f 128; exec " T2T
                                         " train %s --set epochs=3 --set checkpoint_every=1epochs --set keep=99 --set "
                                         "data=%s/data --output %s/run --resume auto'",
                                  TINY_SETTINGS, folder, folder);
    EXPECT(command, 1, "warning: checkpoint of step", "weights.safetensors", "File too large", "last good");
    cr_expect_eq(checkpoints_of("run", steps, STEPS), 1);
    /* A run that would take minutes, so that two failures fall into it however slowly they are noticed. */
    SUCCEEDS(command_run(10, "cp -r %s/run %s/longer", folder, folder));
    command =
        command_run(SECONDS,
                    MPIRUN "1 --mca btl self sh -c 'ulimit -f 128; exec " T2T
                           " train %s --set epochs=9999 --set checkpoint_every=1steps --set checkpoint_failures=2 "
                           "--set keep=99 --set data=%s/data --output %s/longer --resume auto --override'",
                    TINY_SETTINGS, folder, folder);
    EXPECT(command, 1, "2 checkpoints in a row", "File too large");
    cr_expect_eq(checkpoints_of("longer", steps, STEPS), 1);
    EXPECT(tiny_train(1, "run", "--set epochs=3 --set checkpoint_every=1epochs --set keep=99 --resume auto"), 0, good);
    cr_expect(file_exists(path_to(path, "run/checkpoints/step-00000036/manifest.json")));
}
