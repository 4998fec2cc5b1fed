#include "dist/checkpoint/async_writer.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "dist/train/signals.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/command.h"

static CheckpointWriter *writer_make(Fixture *fixture)
{
    static const char *const METADATA[] = {"config", FIXTURE_CONFIG, NULL};
    WriterConfig config = {
        .folder = fixture->folder,
        .run = temporary_folder(),
        .table = &fixture->table,
        .config = FIXTURE_CONFIG,
        .layout = "",
        .metadata = METADATA,
        .keep = 2,
        .head = true,
        .vectors = {.weights = true, .ema = true, .moment1 = true, .moment2 = true, .end = fixture->table.size},
        .parts = 1};
    CheckpointWriter *writer;
    cr_assert_eq(writer_create(&writer, &config, &fixture->error), STATUS_OK, "%s", fixture->error.message);
    return writer;
}

static WriterReport finish(CheckpointWriter *writer, WriterJob job)
{
    WriterReport report = {0};
    cr_assert(writer_busy(writer, job));
    writer_wait(writer);
    cr_assert(writer_collect(writer, job, &report));
    cr_assert_not(writer_busy(writer, job));
    return report;
}

Test(writer, writes_what_the_vectors_held_when_it_was_asked)
{
    Fixture fixture = fixture_make();
    CheckpointWriter *writer = writer_make(&fixture);
    Pool *pool;
    cr_assert_eq(pool_create(&pool, 2, &fixture.error), STATUS_OK);
    RunVectors moving = fixture_vectors(&fixture.table);
    size_t bytes = (size_t)fixture.table.size * sizeof(float);
    memcpy(moving.weights, fixture.vectors.weights, bytes);
    memcpy(moving.ema, fixture.vectors.ema, bytes);
    memcpy(moving.moment1, fixture.vectors.moment1, bytes);
    memcpy(moving.moment2, fixture.vectors.moment2, bytes);
    RunPosition position = fixture_position(12);
    writer_checkpoint(writer, pool, &moving, &position);
    memset(moving.weights, 0, bytes);
    memset(moving.ema, 0, bytes);
    memset(moving.moment1, 0, bytes);
    memset(moving.moment2, 0, bytes);
    WriterReport report = finish(writer, WRITER_CHECKPOINT);
    cr_assert_eq(report.status, STATUS_OK, "%s", report.error.message);
    cr_expect_eq(report.step, 12);
    cr_expect_gt(report.bytes, 3 * (uint64_t)fixture.table.numel * sizeof(float));
    char path[CHECKPOINT_PATH];
    checkpoint_path(path, fixture.folder, 12);
    fixture_check_loads(&fixture, path);

    /* After a validation the same checkpoint says so; its files stay. */
    position.validated = 3;
    position.best_top1 = 80;
    writer_validated(writer, pool, fixture.vectors.ema, &position);
    report = finish(writer, WRITER_VALIDATED);
    cr_assert_eq(report.status, STATUS_OK, "%s", report.error.message);
    Checkpoint checkpoint = fixture_opened(&fixture, path);
    cr_expect_eq(checkpoint.position.validated, 3);
    cr_expect_eq(checkpoint.position.best_top1, 80);
    checkpoint_close(&checkpoint);
    fixture_check_loads(&fixture, path);
    cr_expect_eq(fixture_names_in(temporary_folder(), "best.safetensors"), 1);
    writer_free(writer);
    pool_free(pool);
    run_vectors_free(&moving);
    fixture_free(&fixture);
}

Test(writer, a_full_disk_leaves_the_last_good_one)
{
    Fixture fixture = fixture_make();
    CheckpointWriter *writer = writer_make(&fixture);
    Pool *pool;
    cr_assert_eq(pool_create(&pool, 1, &fixture.error), STATUS_OK);
    cr_assert_eq(signals_catch(&fixture.error), STATUS_OK);
    RunPosition position = fixture_position(1);
    writer_checkpoint(writer, pool, &fixture.vectors, &position);
    cr_assert_eq(finish(writer, WRITER_CHECKPOINT).status, STATUS_OK);

    struct rlimit limit, small;
    getrlimit(RLIMIT_FSIZE, &limit);
    small = limit;
    small.rlim_cur = 30000;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    position.step = 2;
    writer_checkpoint(writer, pool, &fixture.vectors, &position);
    WriterReport report = finish(writer, WRITER_CHECKPOINT);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    cr_expect_eq(report.status, STATUS_FAILED);
    cr_expect(strstr(report.error.message, "step-00000002/weights.safetensors"), "%s", report.error.message);
    cr_expect(strstr(report.error.message, "File too large"), "%s", report.error.message);
    fixture_check_steps(&fixture, 1, (int64_t[]){1});
    cr_expect_eq(fixture_names_in(fixture.folder, ""), 1); /* nothing half-written is left */
    char path[CHECKPOINT_PATH];
    checkpoint_path(path, fixture.folder, 1);
    fixture_check_loads(&fixture, path);

    /* With room again the next one is written. */
    position.step = 3;
    writer_checkpoint(writer, pool, &fixture.vectors, &position);
    cr_assert_eq(finish(writer, WRITER_CHECKPOINT).status, STATUS_OK);
    fixture_check_steps(&fixture, 2, (int64_t[]){3, 1});
    writer_free(writer);
    pool_free(pool);
    fixture_free(&fixture);
}

Test(writer, an_old_checkpoint_that_cannot_be_removed_is_told_once_and_fails_nothing)
{
    Fixture fixture = fixture_make();
    CheckpointWriter *writer = writer_make(&fixture);
    Pool *pool;
    cr_assert_eq(pool_create(&pool, 1, &fixture.error), STATUS_OK);
    char path[CHECKPOINT_PATH];
    for (int step = 1; step <= 5; step++) {
        RunPosition position = fixture_position(step);
        writer_checkpoint(writer, pool, &fixture.vectors, &position);
        WriterReport report = finish(writer, WRITER_CHECKPOINT);
        cr_expect_eq(report.status, STATUS_OK, "step %d: %s", step, report.error.message);
        cr_expect_eq(report.unpruned[0] != 0, step == 3, "step %d: \"%s\"", step, report.unpruned);
        if (step == 3) cr_expect(strstr(report.unpruned, "notes.txt"), "%s", report.unpruned);
        if (step == 1) fixture_leave((checkpoint_path(path, fixture.folder, 1), path), "notes.txt");
        checkpoint_path(path, fixture.folder, step);
        fixture_check_loads(&fixture, path);
    }
    fixture_check_steps(&fixture, 2, (int64_t[]){5, 4});
    writer_free(writer);
    pool_free(pool);
    fixture_free(&fixture);
}
