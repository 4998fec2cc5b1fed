#include "dist/checkpoint/checkpoint.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/base/file.h"
#include "tests/support/checkpoint_fixture.h"
#include "tests/support/command.h"

static const char *const FILES[] = {"weights.safetensors", "ema.safetensors", "optimizer.safetensors", "manifest.json"};
enum { MANIFEST = 3, FILE_COUNT = 4 };

/* What is written of the vectors: a bit each. */
enum { WITH_EMA = 1, WITHOUT_LAST_PART = 2 };

static Status save_as(Fixture *fixture, int64_t step, int parts, int how, char *path)
{
    Error *error = &fixture->error;
    CheckpointFile files[16];
    int count = 0;
    const char *metadata[] = {"class_names", "[\"a\", \"b\"]", NULL};
    const RunPosition position = fixture_position(step);
    checkpoint_path(path, fixture->folder, step);
    Status status = checkpoint_begin(path, error);
    if (!status)
        status = checkpoint_write_vector(path, "weights.safetensors", &fixture->table, fixture->vectors.weights, step,
                                         metadata, &files[count++], error);
    if (!status && (how & WITH_EMA))
        status = checkpoint_write_vector(path, "ema.safetensors", &fixture->table, fixture->vectors.ema, step, metadata,
                                         &files[count++], error);
    for (int part = 0; !status && part < parts - (how & WITHOUT_LAST_PART ? 1 : 0); part++) {
        RunVectors slice = fixture->vectors;
        slice.begin = fixture->table.size * part / parts;
        slice.end = fixture->table.size * (part + 1) / parts;
        slice.moment1 += slice.begin;
        slice.moment2 += slice.begin;
        status = checkpoint_write_moments(path, &fixture->table, &slice, step, part, parts, &files[count++], error);
    }
    return status ? status : checkpoint_commit(path, &position, FIXTURE_CONFIG, "2 ranks", files, count, error);
}

static void save(Fixture *fixture, int64_t step, int parts, char *path)
{
    cr_assert_eq(save_as(fixture, step, parts, WITH_EMA, path), STATUS_OK, "%s", fixture->error.message);
}

Test(checkpoint, comes_back_bit_for_bit)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH];
    save(&fixture, 1250, 1, path);
    cr_expect(strstr(path, "/step-00001250"));
    fixture_check_loads(&fixture, path);
    Checkpoint checkpoint = fixture_opened(&fixture, path);
    RunPosition want = fixture_position(1250), got = checkpoint.position;
    cr_expect_eq(got.step, want.step);
    cr_expect_eq(got.epoch, want.epoch);
    cr_expect_eq(got.epoch_step, want.epoch_step);
    cr_expect_eq(got.global_batch, want.global_batch);
    cr_expect_eq(got.validated, want.validated);
    cr_expect_eq(got.best_epoch, want.best_epoch);
    cr_expect_eq(got.best_top1, want.best_top1);
    checkpoint_close(&checkpoint);
    fixture_free(&fixture);
}

Test(checkpoint, moments_in_parts_are_put_together_and_cut_anew)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH];
    save(&fixture, 8, 7, path);
    fixture_check_loads(&fixture, path);
    Checkpoint checkpoint = fixture_opened(&fixture, path);
    for (int part = 0; part < 3; part++) {
        RunVectors got = fixture_vectors(&fixture.table);
        got.begin = fixture.table.size * part / 3;
        got.end = fixture.table.size * (part + 1) / 3;
        cr_assert_eq(checkpoint_load(&checkpoint, &fixture.table, &got, &fixture.error), STATUS_OK, "%s",
                     fixture.error.message);
        for (int64_t i = 0; i < fixture.table.size; i++) {
            bool mine = i < got.end - got.begin;
            cr_assert_eq(got.moment2[i], mine ? fixture.vectors.moment2[got.begin + i] : 0, "element %ld", (long)i);
        }
        run_vectors_free(&got);
    }
    checkpoint_close(&checkpoint);
    fixture_free(&fixture);
}

Test(checkpoint, a_missing_part_of_the_moments_is_an_error)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH];
    cr_assert_eq(save_as(&fixture, 1, 2, WITH_EMA | WITHOUT_LAST_PART, path), STATUS_OK);
    Checkpoint checkpoint = fixture_opened(&fixture, path);
    RunVectors got = fixture_vectors(&fixture.table);
    cr_expect_eq(checkpoint_load(&checkpoint, &fixture.table, &got, &fixture.error), STATUS_DATA);
    cr_expect(strstr(fixture.error.message, "moment1."), "%s", fixture.error.message);
    checkpoint_close(&checkpoint);
    run_vectors_free(&got);
    fixture_free(&fixture);
}

Test(checkpoint, an_average_that_is_not_stored_starts_from_the_weights)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH];
    cr_assert_eq(save_as(&fixture, 1, 1, 0, path), STATUS_OK);
    Checkpoint checkpoint = fixture_opened(&fixture, path);
    RunVectors got = fixture_vectors(&fixture.table);
    cr_assert_eq(checkpoint_load(&checkpoint, &fixture.table, &got, &fixture.error), STATUS_OK);
    cr_expect(fixture_same(&fixture, got.ema, fixture.vectors.weights));
    checkpoint_close(&checkpoint);
    run_vectors_free(&got);
    fixture_free(&fixture);
}

/* ---- damage */

static void flip(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    cr_assert(file);
    fseek(file, at, SEEK_SET);
    int byte = fgetc(file);
    fseek(file, at, SEEK_SET);
    fputc(byte ^ 0x10, file);
    fclose(file);
}

static void check_refused(const char *path, const char *file, const char *what)
{
    Checkpoint checkpoint;
    Error error = {0};
    Status status = checkpoint_open(&checkpoint, path, &error);
    cr_expect_eq(status, STATUS_DATA, "%s: %s: opened all the same", file, what);
    cr_expect(strstr(error.message, file), "%s: %s: the message is: %s", file, what, error.message);
    checkpoint_close(&checkpoint);
}

Test(checkpoint, a_flipped_byte_anywhere_is_found)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH], file[CHECKPOINT_PATH + 64];
    save(&fixture, 5, 1, path);
    for (int f = 0; f < FILE_COUNT; f++) {
        snprintf(file, sizeof file, "%s/%s", path, FILES[f]);
        /* Every byte of the manifest; of the others the ends and a sample. */
        long size = (long)file_size(file), stride = f == MANIFEST ? 1 : (size - 1) / 23;
        for (long at = 0; at < size; at = at + stride < size || at == size - 1 ? at + stride : size - 1) {
            flip(file, at);
            check_refused(path, FILES[f], "flipped");
            flip(file, at);
        }
    }
    fixture_check_loads(&fixture, path);
    fixture_free(&fixture);
}

Test(checkpoint, truncated_and_missing_files_are_found)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH], file[CHECKPOINT_PATH + 64];
    for (int f = 0; f < FILE_COUNT; f++) {
        save(&fixture, 5, 1, path);
        snprintf(file, sizeof file, "%s/%s", path, FILES[f]);
        cr_assert_eq(truncate(file, (off_t)file_size(file) - 1), 0);
        check_refused(path, FILES[f], "truncated by a byte");
        cr_assert_eq(truncate(file, 0), 0);
        check_refused(path, FILES[f], "empty");
        cr_assert_eq(unlink(file), 0);
        check_refused(path, FILES[f], "missing");
    }
    fixture_free(&fixture);
}

Test(checkpoint, values_that_are_not_finite_are_never_written)
{
    Fixture fixture = fixture_make();
    char good[CHECKPOINT_PATH], bad[CHECKPOINT_PATH];
    save(&fixture, 5, 1, good);
    const Param *param = params_find(&fixture.table, "blocks.1.mlp.fc1.weight");
    cr_assert(param);
    float *value = &fixture.vectors.ema[param->offset + 3], kept = *value;
    *value = NAN;
    cr_expect_eq(save_as(&fixture, 6, 1, WITH_EMA, bad), STATUS_FAILED);
    cr_expect(strstr(fixture.error.message, "step 6"), "%s", fixture.error.message);
    cr_expect(strstr(fixture.error.message, "blocks.1.mlp.fc1.weight"), "%s", fixture.error.message);
    *value = kept;
    fixture.error = (Error){0};
    fixture_check_loads(&fixture, good);
    fixture_check_steps(&fixture, 1, (int64_t[]){5});
    fixture_free(&fixture);
}

/* ---- the folder */

Test(checkpoint, pruning_keeps_the_newest_and_removes_leftovers)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH], other[CHECKPOINT_PATH + 64];
    fixture_check_steps(&fixture, 0, NULL);
    for (int64_t step = 100; step <= 500; step += 100) save(&fixture, step, 1, path);
    save(&fixture, 100000000000, 1, path);
    fixture_check_steps(&fixture, 6, (int64_t[]){100000000000, 500, 400, 300, 200, 100});
    /* One that was never finished, and a file of the user's. */
    checkpoint_path(path, fixture.folder, 350);
    cr_assert_eq(checkpoint_begin(path, &fixture.error), STATUS_OK);
    snprintf(other, sizeof other, "%s/weights.safetensors.tmp.77", path);
    cr_assert_eq(file_write(other, "x", 1, &fixture.error), STATUS_OK);
    snprintf(other, sizeof other, "%s/notes.txt", fixture.folder);
    cr_assert_eq(file_write(other, "x", 1, &fixture.error), STATUS_OK);
    cr_assert_eq(checkpoint_prune(fixture.folder, 400, 2, &fixture.error), STATUS_OK, "%s", fixture.error.message);
    fixture_check_steps(&fixture, 2, (int64_t[]){400, 300});
    cr_expect_eq(fixture_names_in(fixture.folder, "step-"), 2);
    cr_assert_eq(checkpoint_prune(fixture.folder, 400, 1, &fixture.error), STATUS_OK);
    fixture_check_steps(&fixture, 1, (int64_t[]){400});
    cr_expect(file_exists(other));
    fixture_free(&fixture);
}

Test(checkpoint, writing_again_replaces_a_damaged_one_of_the_same_step)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH], file[CHECKPOINT_PATH + 64];
    save(&fixture, 5, 3, path);
    snprintf(file, sizeof file, "%s/weights.safetensors", path);
    flip(file, 1000);
    save(&fixture, 5, 1, path);
    fixture_check_loads(&fixture, path);
    cr_expect_eq(fixture_names_in(path, "-of-"), 0);
    fixture_free(&fixture);
}

/* ---- what is not ours */

Test(checkpoint, a_foreign_file_stays_and_does_not_keep_the_others)
{
    Fixture fixture = fixture_make();
    char path[4][CHECKPOINT_PATH];
    for (int i = 0; i < 4; i++) save(&fixture, 100 * (i + 1), 1, path[i]);
    fixture_leave(path[0], "notes.txt");
    fixture_leave(path[1], ".nfs0000000001");
    cr_expect_eq(checkpoint_prune(fixture.folder, 400, 1, &fixture.error), STATUS_FAILED);
    cr_expect(strstr(fixture.error.message, "step-00000100") || strstr(fixture.error.message, "step-00000200"), "%s",
              fixture.error.message);
    fixture.error = (Error){0};
    fixture_check_steps(&fixture, 1, (int64_t[]){400});
    cr_expect(file_exists(fixture_file(path[0], "notes.txt")));
    cr_expect_eq(fixture_names_in(path[0], ""), 1, "the checkpoint's own files are gone");
    cr_expect_not(file_exists(path[2]));
    /* When the network file system lets go, so does the folder. */
    cr_assert_eq(unlink(fixture_file(path[1], ".nfs0000000001")), 0);
    checkpoint_prune(fixture.folder, 400, 1, &fixture.error);
    cr_expect_not(file_exists(path[1]));
    cr_expect(file_exists(fixture_file(path[0], "notes.txt")));
    fixture_free(&fixture);
}

Test(checkpoint, a_folder_that_is_no_checkpoint_is_left_alone)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH], own[CHECKPOINT_PATH];
    save(&fixture, 400, 1, path);
    checkpoint_path(own, fixture.folder, 100);
    cr_assert_eq(file_make_folders(own, &fixture.error), STATUS_OK);
    fixture_leave(own, "thesis.tex");
    fixture_leave(own, "weights.safetensors");
    cr_expect_eq(checkpoint_prune(fixture.folder, 400, 1, &fixture.error), STATUS_FAILED);
    cr_expect(strstr(fixture.error.message, "thesis.tex"), "%s", fixture.error.message);
    cr_expect_eq(fixture_names_in(own, ""), 2);
    fixture_free(&fixture);
}

Test(checkpoint, pruning_never_follows_a_link)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH], moved[1024];
    save(&fixture, 100, 1, path);
    snprintf(moved, sizeof moved, "%.600s/elsewhere", temporary_folder());
    cr_assert_eq(rename(path, moved), 0);
    cr_assert_eq(symlink(moved, path), 0);
    checkpoint_path(path, fixture.folder, 200); /* without a manifest behind the link */
    cr_assert_eq(symlink(temporary_folder(), path), 0);
    save(&fixture, 300, 1, path);
    cr_assert_eq(unlink(fixture_file(path, "ema.safetensors")), 0);
    cr_assert_eq(symlink("../../elsewhere/ema.safetensors", fixture_file(path, "ema.safetensors")), 0);
    cr_assert(file_exists(fixture_file(path, "ema.safetensors")));
    save(&fixture, 400, 1, path);
    cr_expect_eq(checkpoint_prune(fixture.folder, 400, 1, &fixture.error), STATUS_OK, "%s", fixture.error.message);
    cr_expect_eq(fixture_names_in(moved, ""), FILE_COUNT, "the checkpoint on the other disk is whole");
    cr_expect(file_exists(moved) && fixture_names_in(temporary_folder(), "elsewhere") == 1);
    checkpoint_path(path, fixture.folder, 300);
    cr_expect_not(file_exists(path));
    cr_expect_neq(checkpoint_begin((checkpoint_path(path, fixture.folder, 100), path), &fixture.error), STATUS_OK);
    cr_expect_eq(fixture_names_in(moved, ""), FILE_COUNT);
    fixture_free(&fixture);
}

Test(checkpoint, writing_again_leaves_foreign_files)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH];
    save(&fixture, 5, 3, path);
    fixture_leave(path, "notes.txt");
    fixture_leave(path, "weights.safetensors.tmp.77");
    cr_assert_eq(mkdir(fixture_file(path, "plots"), 0777), 0);
    save(&fixture, 5, 1, path);
    fixture_check_loads(&fixture, path);
    cr_expect_eq(fixture_names_in(path, ""), FILE_COUNT + 2);
    fixture_free(&fixture);
}

Test(checkpoint, sweeping_takes_what_a_killed_process_left_in_whole_checkpoints)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH];
    save(&fixture, 5, 1, path);
    fixture_leave(path, "manifest.json.tmp.77");
    fixture_leave(path, "optimizer-001-of-002.safetensors.tmp.78");
    fixture_leave(path, "notes.txt.tmp.79");
    cr_assert_eq(checkpoint_sweep(fixture.folder, &fixture.error), STATUS_OK, "%s", fixture.error.message);
    cr_expect_eq(fixture_names_in(path, ".tmp."), 1);
    fixture_check_loads(&fixture, path);
    fixture_free(&fixture);
}

/* ---- positions */

/* A manifest like the one that is there, with one number changed and the right hash. */
static void check_position(Fixture *fixture, const char *path, const char *key, const char *value, Status want)
{
    char *bytes, text[1 << 16], word[64];
    size_t size;
    cr_assert_eq(file_read(fixture_file(path, "manifest.json"), sizeof text / 2, &bytes, &size, &fixture->error),
                 STATUS_OK);
    snprintf(word, sizeof word, "\"%s\": ", key);
    char *at = strstr(bytes, word) + strlen(word),
         *tail = bytes + size - strlen("  \"xxh3\": \"0123456789abcdef\"\n}\n");
    int length = snprintf(text, sizeof text, "%.*s%s%.*s", (int)(at - bytes), bytes, value,
                          (int)(tail - at - strcspn(at, ",\n")), at + strcspn(at, ",\n"));
    snprintf(text + length, sizeof text - (size_t)length, "  \"xxh3\": \"%016llx\"\n}\n",
             (unsigned long long)XXH3_64bits(text, (size_t)length));
    free(bytes);
    Checkpoint checkpoint;
    Error error = {0};
    Status status = checkpoint_manifest_parse(&checkpoint, "manifest.json", text, strlen(text), &error);
    cr_expect_eq(status, want, "%s: %s: %s", key, value, error.message);
    if (want) cr_expect(strstr(error.message, key), "%s", error.message);
    checkpoint_close(&checkpoint);
}

Test(checkpoint, positions_that_no_run_can_have_are_refused)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH];
    save(&fixture, 5, 1, path);
    check_position(&fixture, path, "step", "5", STATUS_OK);
    check_position(&fixture, path, "step", "-5", STATUS_DATA);
    check_position(&fixture, path, "step", "9223372036854775807", STATUS_DATA);
    check_position(&fixture, path, "epoch", "1000000000000", STATUS_DATA);
    check_position(&fixture, path, "validated", "4", STATUS_DATA); /* the epoch is 3 */
    check_position(&fixture, path, "epoch_step", "9223372036854775807", STATUS_DATA);
    check_position(&fixture, path, "epoch_step", "-1", STATUS_DATA);
    check_position(&fixture, path, "epoch_step", "999999999999", STATUS_OK);
    check_position(&fixture, path, "global_batch", "0", STATUS_DATA);
    check_position(&fixture, path, "global_batch", "1000000000", STATUS_OK);
    check_position(&fixture, path, "global_batch", "1000000001", STATUS_DATA);
    check_position(&fixture, path, "validated", "-1", STATUS_DATA);
    check_position(&fixture, path, "best_epoch", "-2", STATUS_DATA);
    check_position(&fixture, path, "best_epoch", "-1", STATUS_OK);
    check_position(&fixture, path, "best_top1", "1e300", STATUS_DATA);
    fixture_free(&fixture);
}
