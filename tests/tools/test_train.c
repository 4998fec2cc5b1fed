/* Whole runs of t2t train, alone and under mpirun. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/kernels/bf16.h"
#include "core/base/file.h"
#include "core/base/rng.h"
#include "core/base/status.h"
#include "dist/checkpoint/checkpoint.h"
#include "dist/config/config.h"
#include "dist/checkpoint/async_writer.h"
#include "tests/support/tiny.h"

enum { SECONDS = 100, STEPS = 64 };

static const char *const VECTORS[] = {"weights.safetensors", "ema.safetensors", "optimizer.safetensors"};

/* t2t train with TINY_SETTINGS into temporary_folder()/RUN; ranks 0: without mpirun. */
static Command train(int ranks, const char *run, const char *options)
{
    char launcher[400] = "";
    if (ranks) snprintf(launcher, sizeof launcher, MPIRUN "%d ", ranks);
    return command_run(SECONDS, "%s" T2T " train %s --set data=%s/data --output %s/%s %s", launcher, TINY_SETTINGS,
                       temporary_folder(), temporary_folder(), run, options);
}

static void make_data(void)
{
    char folder[600];
    snprintf(folder, sizeof folder, "%.500s/data", temporary_folder());
    tiny_dataset(folder, 97, 37); /* neither divides anything */
}

/* Before the program under MPIRUN: with the shim of tests/faults in the temporary folder, which faults_build() puts
 * there. */
#define FAULTY "-x LD_PRELOAD=%s/faults.so -x ASAN_OPTIONS=verify_asan_link_order=0 "

static void faults_build(void)
{
    SUCCEEDS(command_run(60, "cc -shared -fPIC -O1 -D_GNU_SOURCE -o %s/faults.so tests/faults/faults.c -ldl",
                         temporary_folder()));
}

static char *path_to(char *path, const char *format, ...)
{
    char name[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    snprintf(path, 1000, "%.500s/%s", temporary_folder(), name);
    return path;
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
    const WriterConfig all = {.head = true, .ema = true, .moment1 = true, .moment2 = true, .end = table->size};
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
    make_data();
    EXPECT(train(2, "run", EASY), 0, "2 ranks", "97 training images", "37 validation images", "best top-1",
           "best.safetensors", "t2t eval", "t2t predict");
    double losses[STEPS];
    cr_assert_eq(tiny_losses(path_to(path, "run"), losses, STEPS), 60);
    cr_expect_lt(losses[60], losses[1] - 0.3, "loss %g at first, %g at last", losses[1], losses[60]);
    cr_expect(file_exists(path_to(path, "run/best.safetensors")));
    cr_expect(file_exists(path_to(path, "run/report.html")));
    cr_expect(file_exists(path_to(path, "run/checkpoints/step-00000060/manifest.json")));
    /* The same command again: nothing is overwritten without being asked, and nothing is left to do when asked. */
    EXPECT(train(2, "run", EASY), 2, "--resume auto");
    EXPECT(train(2, "run", EASY " --resume auto"), 0, "this run is done", "best top-1");
}

Test(train, records_that_cannot_be_used_are_told_at_the_epochs_end)
{
    char path[1000];
    tiny_dataset(path_to(path, "data"), 150, 16);
    spoil_record(path_to(path, "data/train-000.mdb"), 9);
    EXPECT(train(0, "run", "--set epochs=1"), 0, "1 record could not be used", "hash", "train-000.mdb", "best top-1");
    SUCCEEDS(command_run(5, "grep -q '1 record could not be used' %s/run/log.txt", temporary_folder()));
    spoil_record(path_to(path, "data/train-000.mdb"), 10);
    EXPECT(train(0, "stopped", "--set epochs=1"), 3, "2 of this rank's", "hash", "t2t verify");
}

Test(train, ranks_do_not_change_the_result)
{
    double alone[STEPS], together[STEPS];
    char path[1000], name[20];
    make_data();
    SUCCEEDS(train(0, "alone", "--set epochs=3"));
    cr_assert_eq(tiny_losses(path_to(path, "alone"), alone, STEPS), 36);
    for (int ranks = 2; ranks <= 4; ranks++) {
        snprintf(name, sizeof name, "ranks%d", ranks);
        SUCCEEDS(train(ranks, name, ranks == 2 ? "--set epochs=3 --set accumulate=3" : "--set epochs=3"));
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
    make_data();
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
        SUCCEEDS(train(0, alone, options));
        snprintf(options, sizeof options, "--set epochs=1 --set batch_size=%d %s --samples %.500s/%s.samples", batch,
                 CASES[c].options, temporary_folder(), shared);
        SUCCEEDS(train(CASES[c].processes, shared, options));
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
    make_data();
    SUCCEEDS(train(3, "plain", EVERY2));
    SUCCEEDS(train(3, "sliced", EVERY2 "--set zero=1"));
    expect_same_state("plain", "sliced", 36);
    for (int part = 0; part < 3; part++)
        cr_expect(
            file_exists(path_to(path, "sliced/checkpoints/step-00000036/optimizer-%03d-of-003.safetensors", part)));
    cr_expect_not(file_exists(path_to(path, "sliced/checkpoints/step-00000036/optimizer.safetensors")));

    /* From parts: cut and resumed alike, without slices, with a dedicated coordinator; and back from whole ones. */
    cr_assert_geq(checkpoints_of("sliced", steps, STEPS), 2);
    snprintf(options, sizeof options, EVERY2 "--set zero=1 --resume %.500s/sliced/checkpoints/step-%08d",
             temporary_folder(), (int)steps[0]);
    SUCCEEDS(train(3, "again", options));
    expect_same_checkpoint_parts("sliced", "again", 36);
    snprintf(options, sizeof options, EVERY2 "--resume %.500s/sliced/checkpoints/step-%08d", temporary_folder(),
             (int)steps[0]);
    SUCCEEDS(train(3, "whole", options));
    expect_same_state("plain", "whole", 36);
    snprintf(options, sizeof options,
             EVERY2 "--set zero=1 --set coordinator=dedicated --resume %.500s/sliced/checkpoints/step-%08d",
             temporary_folder(), (int)steps[0]);
    SUCCEEDS(train(4, "dedicated", options));
    expect_same_state("plain", "dedicated", 36);
    expect_same_checkpoint_parts("sliced", "dedicated", 36);
    cr_assert_geq(checkpoints_of("plain", steps, STEPS), 2);
    snprintf(options, sizeof options, EVERY2 "--set zero=1 --resume %.500s/plain/checkpoints/step-%08d",
             temporary_folder(), (int)steps[0]);
    SUCCEEDS(train(3, "back", options));
    expect_same_state("plain", "back", 36);

    /* On other ranks and threads: the same to rounding. */
    tiny_losses(path_to(path, "plain"), plain, STEPS);
    checkpoints_of("sliced", steps, STEPS);
    snprintf(options, sizeof options,
             EVERY2 "--set zero=1 --set threads=2 --resume %.500s/sliced/checkpoints/step-%08d", temporary_folder(),
             (int)steps[0]);
    SUCCEEDS(train(2, "other", options));
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
    make_data();
    faults_build();
    SUCCEEDS(train(3, "whole", EVERY2));
    SUCCEEDS(train(3, "run", EVERY2 "--set zero=1"));
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
    EXPECT(train(3, "run", EVERY2 "--set zero=1 --resume auto"), 0, "resumed from");
    expect_same_state("whole", "run", 36);
    cr_expect(file_exists(path_to(path, "run/checkpoints/step-00000036/manifest.json")));
}

/* A rank that does not train takes validation and checkpoints over; the weights stay what they are. */
Test(train, a_dedicated_coordinator_gives_the_same_run)
{
    char path[1000], other[1000];
    make_data();
    SUCCEEDS(train(2, "shared", "--set epochs=3"));
    EXPECT(train(3, "dedicated", "--set epochs=3 --set coordinator=dedicated"), 0, "best top-1",
           "checkpoint of step 36");
    for (int i = 0; i < 3; i++) {
        path_to(path, "shared/checkpoints/step-00000036/%s", VECTORS[i]);
        path_to(other, "dedicated/checkpoints/step-00000036/%s", VECTORS[i]);
        cr_expect(same_tensors(path, other), "%s", path);
    }
    cr_expect(same_files(path_to(path, "shared/summary.csv"), path_to(other, "dedicated/summary.csv")));
    cr_expect(file_exists(path_to(path, "dedicated/best.safetensors")));
    EXPECT(train(3, "dedicated", "--set epochs=3 --set coordinator=dedicated --resume auto"), 0, "this run is done");
    EXPECT(train(2, "dedicated", "--set epochs=3 --resume auto"), 0, "this run is done");
    EXPECT(train(1, "alone", "--set coordinator=dedicated"), 2, "dedicated needs two ranks");
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
    SUCCEEDS(train(2, "whole", options));
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
        EXPECT(train(2 + dedicated, run, options), 0, "epoch 1 was cut before its validation", "best top-1");
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
    make_data();
    SUCCEEDS(train(2, "whole", OPTIONS));
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
        EXPECT(train(2, name, options), 0, "resumed from");
        expect_same_checkpoint("whole", name, 36);
        char left[1100], right[1100];
        snprintf(left, sizeof left, "%s/summary.csv", whole);
        snprintf(right, sizeof right, "%s/summary.csv", cut);
        cr_expect(same_files(left, right));
    }
    cr_assert_geq(tried, 1, "no checkpoint in the middle of an epoch");
    /* Into another folder, and on other ranks: the same to rounding. */
    snprintf(options, sizeof options, "--set epochs=3 --resume %s/checkpoints/step-%08d", whole, (int)steps[0]);
    EXPECT(train(3, "elsewhere", options), 0, "resumed from");
    tiny_losses(whole, uncut_losses, STEPS);
    cr_assert_eq(tiny_losses(path_to(cut, "elsewhere"), losses, STEPS), 36);
    for (int64_t step = steps[0] + 1; step <= 36; step++) cr_expect_float_eq(losses[step], uncut_losses[step], 1e-4);
}

Test(train, a_damaged_checkpoint_is_named_and_the_one_before_it_used)
{
    char path[1000], before[40];
    int64_t steps[STEPS];
    make_data();
    SUCCEEDS(train(1, "run", "--set epochs=2 --set checkpoint_every=2steps --set keep=99"));
    int count = checkpoints_of("run", steps, STEPS);
    cr_assert_geq(count, 2);
    cr_assert_eq(steps[count - 1], 24);
    SUCCEEDS(command_run(10, "cp -r %s/run %s/whole && printf x | dd of=%s conv=notrunc bs=1 seek=5000",
                         temporary_folder(), temporary_folder(),
                         path_to(path, "run/checkpoints/step-00000024/ema.safetensors")));
    snprintf(before, sizeof before, "step-%08d", (int)steps[count - 2]);
    EXPECT(train(1, "run", "--set epochs=2 --set checkpoint_every=2steps --set keep=99 --resume auto"), 0, "warning",
           "step-00000024/ema.safetensors: damaged", "resumed from", before);
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
    EXPECT(train(ranks, run, resume), 0, "resumed from");
    for (int i = 0; i < 3; i++)
        cr_expect(same_tensors(path_to(path, "%s/checkpoints/step-00000036/%s", run, VECTORS[i]),
                               path_to(whole, "whole/checkpoints/step-00000036/%s", VECTORS[i])),
                  "%s", path);
}

Test(train, a_signal_is_a_checkpoint_and_status_75)
{
    make_data();
    faults_build();
    SUCCEEDS(train(2, "whole", "--set epochs=3"));
    check_signal(2, "shared", "");
    check_signal(3, "dedicated", "--set coordinator=dedicated");
}

Test(train, a_full_disk_costs_no_good_checkpoint)
{
    char path[1000], good[40];
    int64_t steps[STEPS];
    const char *folder = temporary_folder();
    make_data();
    SUCCEEDS(train(1, "run", "--set epochs=3 --set checkpoint_every=2steps --set keep=99"));
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
    EXPECT(train(1, "run", "--set epochs=3 --set checkpoint_every=1epochs --set keep=99 --resume auto"), 0, good);
    cr_expect(file_exists(path_to(path, "run/checkpoints/step-00000036/manifest.json")));
}

/* ---- bad input */

Test(train, bad_settings_are_refused)
{
    make_data();
    EXPECT(train(0, "run", "--set model=t2t_vit_15"), 2, "t2t_vit_15", "t2t_vit_14");
    EXPECT(train(0, "run", "--set img_size=33"), 2, "img_size", "33");
    EXPECT(train(0, "run", "--set batch_sice=4"), 2, "batch_sice", "batch_size");
    EXPECT(train(0, "run", "--set num_classes=9"), 2, "num_classes", "10 classes");
    EXPECT(train(0, "run", "--nonsense"), 2, "--help");
    EXPECT(command_run(10, T2T " train nowhere.yaml"), 2, "nowhere.yaml");
    EXPECT(command_run(10, T2T " train --help"), 0, "usage", "weight_decay");
}

Test(train, bad_data_is_refused)
{
    char path[1000], broken[1000];
    make_data();
    EXPECT(train(2, "run", "--set batch_size=98"), 3, "97", "98");
    EXPECT(train(2, "run", "--set data=/nowhere"), 3, "/nowhere");
    EXPECT(train(2, "run", "--resume /nowhere"), 3, "/nowhere");
    snprintf(broken, sizeof broken, "--set data=%.500s/broken", temporary_folder());
    SUCCEEDS(command_run(10, "cp -r %s %s && truncate -s -4096 %s/train-000.mdb", path_to(path, "data"),
                         broken + strlen("--set data="), broken + strlen("--set data=")));
    EXPECT(train(2, "run", broken), 3, "train-000.mdb");
    SUCCEEDS(command_run(10, "rm %s/train-000.mdb", broken + strlen("--set data=")));
    EXPECT(train(2, "run", broken), 3, "train-000.mdb");
}

Test(train, more_threads_than_cores_are_cut_with_a_warning)
{
    make_data();
    EXPECT(train(1, "run", "--set epochs=1 --set threads=4096"), 0, "warning", "threads: 4096, but ", " compute");
}

/* Products of bfloat16 by whatever of them runs here; the weights do not know. */
Test(train, a_run_may_go_on_in_another_precision_if_told)
{
    make_data();
    setenv("T2T_KERNELS", bf16_at(0)->name, 1);
    SUCCEEDS(train(1, "run", "--set epochs=1"));
    EXPECT(train(1, "run", "--set epochs=2 --set precision=bf16 --resume auto"), 2, "precision: bf16, was fp32",
           "--override");
    EXPECT(train(1, "run", "--set epochs=2 --set precision=bf16 --resume auto --override"), 0, "settings changed",
           "products of bfloat16 by", "epoch 2 validated");
    EXPECT(train(1, "run", "--set epochs=3 --resume auto --override"), 0, "precision: fp32, was bf16",
           "epoch 3 validated");
}

Test(train, the_folder_of_another_run_is_refused)
{
    char path[1000];
    make_data();
    SUCCEEDS(train(1, "run", "--set epochs=1"));
    EXPECT(train(1, "run", "--set epochs=1 --set depth=3 --resume auto"), 2, "depth", "another");
    EXPECT(train(1, "run", "--set epochs=2 --resume auto"), 2, "epochs: 2, was 1", "learning rate", "--override");
    /* What concerns the machine may change. */
    EXPECT(train(1, "run", "--set epochs=1 --set threads=2 --set log_interval=5 --resume auto"), 0, "done");
    EXPECT(train(1, "run", "--set epochs=2 --resume auto --override"), 0, "settings changed", "epochs: 2, was 1",
           "epoch 2 validated");
    EXPECT(train(1, "run", "--set epochs=2 --set depth=3 --resume auto --override"), 2, "shapes", "depth");
    /* Killed between the last manifest and the tidying after it: done at the next start, though there is nothing to
     * train. */
    path_to(path, "run/checkpoints/pending-00000002");
    SUCCEEDS(command_run(10, "cp -r %s/run/checkpoints/step-00000024 %s", temporary_folder(), path));
    EXPECT(train(1, "run", "--set epochs=2 --resume auto"), 0, "done");
    cr_expect_not(file_exists(path));
    SUCCEEDS(command_run(10, "mkdir %s && touch %s/summary.csv", path_to(path, "other"), path));
    EXPECT(train(1, "other", "--set epochs=1"), 2, "summary.csv");
}

Test(train, a_missing_data_set_is_named_by_its_key)
{
    EXPECT(command_run(SECONDS, T2T " train configs/t2t_vit_7.yaml --output %s/run", temporary_folder()), 2,
           "data: missing in configs/t2t_vit_7.yaml", "--set data=DIR");
    char path[1000];
    cr_expect_not(file_exists(path_to(path, "run")), "a start that failed leaves a folder");
}

Test(train, a_start_that_fails_leaves_no_folder)
{
    static const char *const WRONG[] = {"--set data=/nowhere", "--set num_classes=3", "--set batch_size=98",
                                        "--set init_weights=/nowhere", "--resume /nowhere"};
    char path[1000];
    make_data();
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        Command command = train(2, "run", WRONG[i]);
        cr_expect_neq(command.exit_status, 0, "%s", WRONG[i]);
        command_free(&command);
        cr_expect_not(file_exists(path_to(path, "run")), "%s", WRONG[i]);
    }
}

Test(train, who_computed_it_is_on_record)
{
    char path[1000], tb[1000];
    make_data();
    SUCCEEDS(train(2, "run", "--set epochs=1"));
    EXPECT(command_run(5, "head -n 1 %s", path_to(path, "run/metrics.jsonl")), 0, "\"event\":\"start\"",
           "\"command\":\"t2t train ", "\"ranks\":2", "\"mpi\":", "\"hosts\":", "\"processors\":\"1 x ");
    EXPECT(command_run(5, "cat %s", path_to(path, "run/log.txt")), 0, "info command: t2t train",
           "info mpi: ", "done after ", " core-hours in all");
    EXPECT(command_run(5, T2T " info --json %s", path_to(path, "run/best.safetensors")), 0, "\"provenance\":\"{");
    EXPECT(command_run(5, "grep -ac 't2t train' %s/events*", path_to(tb, "run/tb")), 0, "1\n");
    /* What has nothing to do leaves no trace. */
    EXPECT(command_run(5, "ls %s | wc -l; wc -l <%s", tb, path_to(path, "run/metrics.jsonl")), 0, "1\n");
    Command before = command_run(5, "wc -l <%s", path);
    EXPECT(train(2, "run", "--set epochs=1 --resume auto"), 0, "this run is done");
    EXPECT(command_run(5, "ls %s | wc -l; wc -l <%s", tb, path), 0, "1\n", before.output);
    command_free(&before);
}

/* What the record says was typed can be pasted into a shell, wherever it stands. */
Test(train, the_recorded_command_can_be_typed_again)
{
    char path[1000], options[1200];
    make_data();
    snprintf(options, sizeof options, "--set epochs=1 --samples \"%s\"", path_to(path, "it's \\$HOME"));
    SUCCEEDS(train(1, "run", options));
    path_to(path, "run");
    EXPECT(command_run(5, "sed -n 's/.* info command: //p' %s/log.txt | tee %s/line", path, temporary_folder()), 0,
           "/it'\\''s $HOME'\n");
    EXPECT(command_run(SECONDS, "t2t() { " T2T " \"$@\"; }; eval \"$(cat %s/line) --resume auto\"", temporary_folder()),
           0, "this run is done");
    /* As JSON, twice over in the weights, and in HTML. */
    EXPECT(command_run(5, "head -n 1 %s/metrics.jsonl", path), 0, "/it'\\\\''s $HOME'\"");
    EXPECT(command_run(5, T2T " info --json %s/best.safetensors", path), 0, "/it'\\\\\\\\''s $HOME'\\\"");
    EXPECT(command_run(5, "grep -cFf %s/line %s/report.html", temporary_folder(), path), 0, "1\n");
}
