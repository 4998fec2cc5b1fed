#include "dist/checkpoint/checkpoint.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/base/file.h"
#include "dist/train/signals.h"
#include "dist/checkpoint/async_writer.h"
#include "tests/support/command.h"

/* A run of a tiny model whose vectors hold numbers that tell where they belong. */
typedef struct Fixture {
    ParamTable table;
    RunVectors vectors;
    char folder[512];
    Error error;
} Fixture;

static const char CONFIG[] = "model: t2t_vit_7\n# \xc3\xa9 \"quoted\"\nlr: 0.001\n";
static const char *const FILES[] = {"weights.safetensors", "ema.safetensors", "optimizer.safetensors", "manifest.json"};
enum { MANIFEST = 3, FILE_COUNT = 4 };

static float *vector_make(const ParamTable *table, float base, bool trainable_only)
{
    float *vector = calloc((size_t)table->size, sizeof *vector);
    for (int p = 0; p < table->count; p++)
        for (int64_t i = 0; i < table->items[p].numel; i++)
            if (!trainable_only || table->items[p].trainable)
                vector[table->items[p].offset + i] = base + 0.001f * (float)(p + 1) + 1e-6f * (float)(i % 997);
    return vector;
}

static Fixture fixture_make(void)
{
    Fixture fixture = {0};
    ModelConfig model;
    cr_assert_eq(zoo_find("t2t_vit_7", &model, &fixture.error), STATUS_OK);
    model.img_size = 32;
    model.embed_dim = 32;
    model.token_dim = 16;
    model.num_heads = 2;
    model.depth = 2;
    model.num_classes = 5;
    cr_assert_eq(params_build(&fixture.table, &model, &fixture.error), STATUS_OK, "%s", fixture.error.message);
    fixture.vectors = (RunVectors){.weights = vector_make(&fixture.table, 1, false),
                                   .ema = vector_make(&fixture.table, 2, false),
                                   .moment1 = vector_make(&fixture.table, -3, true),
                                   .moment2 = vector_make(&fixture.table, 4, true),
                                   .end = fixture.table.size};
    snprintf(fixture.folder, sizeof fixture.folder, "%.400s/checkpoints", temporary_folder());
    return fixture;
}

static void vectors_free(RunVectors *vectors)
{
    free(vectors->weights);
    free(vectors->ema);
    free(vectors->moment1);
    free(vectors->moment2);
}

static void fixture_free(Fixture *fixture)
{
    vectors_free(&fixture->vectors);
    params_free(&fixture->table);
}

static RunVectors vectors_empty(const ParamTable *table)
{
    size_t size = (size_t)table->size, each = sizeof(float);
    return (RunVectors){calloc(size, each), calloc(size, each), calloc(size, each), calloc(size, each), 0, table->size};
}

static bool same(const Fixture *fixture, const float *a, const float *b)
{
    return memcmp(a, b, (size_t)fixture->table.size * sizeof *a) == 0;
}

static RunPosition position_at(int64_t step)
{
    return (RunPosition){step, 3, 17, 64, 2, 1, 71.0 / 3};
}

/* What is written of the vectors: a bit each. */
enum { WITH_EMA = 1, WITHOUT_LAST_PART = 2 };

static Status save_as(Fixture *fixture, int64_t step, int parts, int how, char *path)
{
    Error *error = &fixture->error;
    CheckpointFile files[16];
    int count = 0;
    const char *metadata[] = {"class_names", "[\"a\", \"b\"]", NULL};
    const RunPosition position = position_at(step);
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
    return status ? status : checkpoint_commit(path, &position, CONFIG, "2 ranks", files, count, error);
}

static void save(Fixture *fixture, int64_t step, int parts, char *path)
{
    cr_assert_eq(save_as(fixture, step, parts, WITH_EMA, path), STATUS_OK, "%s", fixture->error.message);
}

static Checkpoint opened(Fixture *fixture, const char *path)
{
    Checkpoint checkpoint;
    cr_assert_eq(checkpoint_open(&checkpoint, path, &fixture->error), STATUS_OK, "%s", fixture->error.message);
    return checkpoint;
}

static void check_loads(Fixture *fixture, const char *path)
{
    Checkpoint checkpoint = opened(fixture, path);
    RunVectors got = vectors_empty(&fixture->table);
    cr_assert_eq(checkpoint_load(&checkpoint, &fixture->table, &got, &fixture->error), STATUS_OK, "%s",
                 fixture->error.message);
    cr_expect(same(fixture, got.weights, fixture->vectors.weights));
    cr_expect(same(fixture, got.ema, fixture->vectors.ema));
    cr_expect(same(fixture, got.moment1, fixture->vectors.moment1));
    cr_expect(same(fixture, got.moment2, fixture->vectors.moment2));
    cr_expect_str_eq(checkpoint.config, CONFIG);
    checkpoint_close(&checkpoint);
    vectors_free(&got);
}

Test(checkpoint, comes_back_bit_for_bit)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH];
    save(&fixture, 1250, 1, path);
    cr_expect(strstr(path, "/step-00001250"));
    check_loads(&fixture, path);
    Checkpoint checkpoint = opened(&fixture, path);
    RunPosition want = position_at(1250), got = checkpoint.position;
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
    check_loads(&fixture, path);
    Checkpoint checkpoint = opened(&fixture, path);
    for (int part = 0; part < 3; part++) {
        RunVectors got = vectors_empty(&fixture.table);
        got.begin = fixture.table.size * part / 3;
        got.end = fixture.table.size * (part + 1) / 3;
        cr_assert_eq(checkpoint_load(&checkpoint, &fixture.table, &got, &fixture.error), STATUS_OK, "%s",
                     fixture.error.message);
        for (int64_t i = 0; i < fixture.table.size; i++) {
            bool mine = i < got.end - got.begin;
            cr_assert_eq(got.moment2[i], mine ? fixture.vectors.moment2[got.begin + i] : 0, "element %ld", (long)i);
        }
        vectors_free(&got);
    }
    checkpoint_close(&checkpoint);
    fixture_free(&fixture);
}

Test(checkpoint, a_missing_part_of_the_moments_is_an_error)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH];
    cr_assert_eq(save_as(&fixture, 1, 2, WITH_EMA | WITHOUT_LAST_PART, path), STATUS_OK);
    Checkpoint checkpoint = opened(&fixture, path);
    RunVectors got = vectors_empty(&fixture.table);
    cr_expect_eq(checkpoint_load(&checkpoint, &fixture.table, &got, &fixture.error), STATUS_DATA);
    cr_expect(strstr(fixture.error.message, "moment1."), "%s", fixture.error.message);
    checkpoint_close(&checkpoint);
    vectors_free(&got);
    fixture_free(&fixture);
}

Test(checkpoint, an_average_that_is_not_stored_starts_from_the_weights)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH];
    cr_assert_eq(save_as(&fixture, 1, 1, 0, path), STATUS_OK);
    Checkpoint checkpoint = opened(&fixture, path);
    RunVectors got = vectors_empty(&fixture.table);
    cr_assert_eq(checkpoint_load(&checkpoint, &fixture.table, &got, &fixture.error), STATUS_OK);
    cr_expect(same(&fixture, got.ema, fixture.vectors.weights));
    checkpoint_close(&checkpoint);
    vectors_free(&got);
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
    check_loads(&fixture, path);
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

static void check_steps(Fixture *fixture, int want, const int64_t *steps)
{
    int64_t *got;
    int count;
    cr_assert_eq(checkpoint_list(fixture->folder, &got, &count, &fixture->error), STATUS_OK);
    cr_assert_eq(count, want);
    for (int i = 0; i < want; i++) cr_expect_eq(got[i], steps[i]);
    free(got);
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
    check_loads(&fixture, good);
    check_steps(&fixture, 1, (int64_t[]){5});
    fixture_free(&fixture);
}

/* ---- the folder */

static int names_in(const char *folder, const char *part)
{
    int count = 0;
    DIR *directory = opendir(folder);
    cr_assert(directory, "%s", folder);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.' && strstr(entry->d_name, part)) count++;
    closedir(directory);
    return count;
}

Test(checkpoint, pruning_keeps_the_newest_and_removes_leftovers)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH], other[CHECKPOINT_PATH + 64];
    check_steps(&fixture, 0, NULL);
    for (int64_t step = 100; step <= 500; step += 100) save(&fixture, step, 1, path);
    save(&fixture, 100000000000, 1, path);
    check_steps(&fixture, 6, (int64_t[]){100000000000, 500, 400, 300, 200, 100});
    /* One that was never finished, and a file of the user's. */
    checkpoint_path(path, fixture.folder, 350);
    cr_assert_eq(checkpoint_begin(path, &fixture.error), STATUS_OK);
    snprintf(other, sizeof other, "%s/weights.safetensors.tmp.77", path);
    cr_assert_eq(file_write(other, "x", 1, &fixture.error), STATUS_OK);
    snprintf(other, sizeof other, "%s/notes.txt", fixture.folder);
    cr_assert_eq(file_write(other, "x", 1, &fixture.error), STATUS_OK);
    cr_assert_eq(checkpoint_prune(fixture.folder, 400, 2, &fixture.error), STATUS_OK, "%s", fixture.error.message);
    check_steps(&fixture, 2, (int64_t[]){400, 300});
    cr_expect_eq(names_in(fixture.folder, "step-"), 2);
    cr_assert_eq(checkpoint_prune(fixture.folder, 400, 1, &fixture.error), STATUS_OK);
    check_steps(&fixture, 1, (int64_t[]){400});
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
    check_loads(&fixture, path);
    cr_expect_eq(names_in(path, "-of-"), 0);
    fixture_free(&fixture);
}

/* ---- what is not ours */

static const char *in_checkpoint(const char *path, const char *name)
{
    static char file[CHECKPOINT_PATH + 64];
    snprintf(file, sizeof file, "%s/%s", path, name);
    return file;
}

static void leave(const char *path, const char *name)
{
    Error error = {0};
    cr_assert_eq(file_write(in_checkpoint(path, name), "mine", 4, &error), STATUS_OK, "%s", error.message);
}

Test(checkpoint, a_foreign_file_stays_and_does_not_keep_the_others)
{
    Fixture fixture = fixture_make();
    char path[4][CHECKPOINT_PATH];
    for (int i = 0; i < 4; i++) save(&fixture, 100 * (i + 1), 1, path[i]);
    leave(path[0], "notes.txt");
    leave(path[1], ".nfs0000000001");
    cr_expect_eq(checkpoint_prune(fixture.folder, 400, 1, &fixture.error), STATUS_FAILED);
    cr_expect(strstr(fixture.error.message, "step-00000100") || strstr(fixture.error.message, "step-00000200"), "%s",
              fixture.error.message);
    fixture.error = (Error){0};
    check_steps(&fixture, 1, (int64_t[]){400});
    cr_expect(file_exists(in_checkpoint(path[0], "notes.txt")));
    cr_expect_eq(names_in(path[0], ""), 1, "the checkpoint's own files are gone");
    cr_expect_not(file_exists(path[2]));
    /* When the network file system lets go, so does the folder. */
    cr_assert_eq(unlink(in_checkpoint(path[1], ".nfs0000000001")), 0);
    checkpoint_prune(fixture.folder, 400, 1, &fixture.error);
    cr_expect_not(file_exists(path[1]));
    cr_expect(file_exists(in_checkpoint(path[0], "notes.txt")));
    fixture_free(&fixture);
}

Test(checkpoint, a_folder_that_is_no_checkpoint_is_left_alone)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH], own[CHECKPOINT_PATH];
    save(&fixture, 400, 1, path);
    checkpoint_path(own, fixture.folder, 100);
    cr_assert_eq(file_make_folders(own, &fixture.error), STATUS_OK);
    leave(own, "thesis.tex");
    leave(own, "weights.safetensors");
    cr_expect_eq(checkpoint_prune(fixture.folder, 400, 1, &fixture.error), STATUS_FAILED);
    cr_expect(strstr(fixture.error.message, "thesis.tex"), "%s", fixture.error.message);
    cr_expect_eq(names_in(own, ""), 2);
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
    cr_assert_eq(unlink(in_checkpoint(path, "ema.safetensors")), 0);
    cr_assert_eq(symlink("../../elsewhere/ema.safetensors", in_checkpoint(path, "ema.safetensors")), 0);
    cr_assert(file_exists(in_checkpoint(path, "ema.safetensors")));
    save(&fixture, 400, 1, path);
    cr_expect_eq(checkpoint_prune(fixture.folder, 400, 1, &fixture.error), STATUS_OK, "%s", fixture.error.message);
    cr_expect_eq(names_in(moved, ""), FILE_COUNT, "the checkpoint on the other disk is whole");
    cr_expect(file_exists(moved) && names_in(temporary_folder(), "elsewhere") == 1);
    checkpoint_path(path, fixture.folder, 300);
    cr_expect_not(file_exists(path));
    cr_expect_neq(checkpoint_begin((checkpoint_path(path, fixture.folder, 100), path), &fixture.error), STATUS_OK);
    cr_expect_eq(names_in(moved, ""), FILE_COUNT);
    fixture_free(&fixture);
}

Test(checkpoint, writing_again_leaves_foreign_files)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH];
    save(&fixture, 5, 3, path);
    leave(path, "notes.txt");
    leave(path, "weights.safetensors.tmp.77");
    cr_assert_eq(mkdir(in_checkpoint(path, "plots"), 0777), 0);
    save(&fixture, 5, 1, path);
    check_loads(&fixture, path);
    cr_expect_eq(names_in(path, ""), FILE_COUNT + 2);
    fixture_free(&fixture);
}

Test(checkpoint, sweeping_takes_what_a_killed_process_left_in_whole_checkpoints)
{
    Fixture fixture = fixture_make();
    char path[CHECKPOINT_PATH];
    save(&fixture, 5, 1, path);
    leave(path, "manifest.json.tmp.77");
    leave(path, "optimizer-001-of-002.safetensors.tmp.78");
    leave(path, "notes.txt.tmp.79");
    cr_assert_eq(checkpoint_sweep(fixture.folder, &fixture.error), STATUS_OK, "%s", fixture.error.message);
    cr_expect_eq(names_in(path, ".tmp."), 1);
    check_loads(&fixture, path);
    fixture_free(&fixture);
}

/* ---- positions */

/* A manifest like the one that is there, with one number changed and the right hash. */
static void check_position(Fixture *fixture, const char *path, const char *key, const char *value, Status want)
{
    char *bytes, text[1 << 16], word[64];
    size_t size;
    cr_assert_eq(file_read(in_checkpoint(path, "manifest.json"), sizeof text / 2, &bytes, &size, &fixture->error),
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

/* ---- the writer */

static CheckpointWriter *writer_make(Fixture *fixture)
{
    static const char *const METADATA[] = {"config", CONFIG, NULL};
    WriterConfig config = {.folder = fixture->folder,
                           .run = temporary_folder(),
                           .table = &fixture->table,
                           .config = CONFIG,
                           .layout = "",
                           .metadata = METADATA,
                           .keep = 2,
                           .ema = true,
                           .moment1 = true,
                           .moment2 = true,
                           .end = fixture->table.size,
                           .head = true,
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
    RunVectors moving = vectors_empty(&fixture.table);
    size_t bytes = (size_t)fixture.table.size * sizeof(float);
    memcpy(moving.weights, fixture.vectors.weights, bytes);
    memcpy(moving.ema, fixture.vectors.ema, bytes);
    memcpy(moving.moment1, fixture.vectors.moment1, bytes);
    memcpy(moving.moment2, fixture.vectors.moment2, bytes);
    RunPosition position = position_at(12);
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
    check_loads(&fixture, path);

    /* After a validation the same checkpoint says so; its files stay. */
    position.validated = 3;
    position.best_top1 = 80;
    writer_validated(writer, pool, fixture.vectors.ema, &position);
    report = finish(writer, WRITER_VALIDATED);
    cr_assert_eq(report.status, STATUS_OK, "%s", report.error.message);
    Checkpoint checkpoint = opened(&fixture, path);
    cr_expect_eq(checkpoint.position.validated, 3);
    cr_expect_eq(checkpoint.position.best_top1, 80);
    checkpoint_close(&checkpoint);
    check_loads(&fixture, path);
    cr_expect_eq(names_in(temporary_folder(), "best.safetensors"), 1);
    writer_free(writer);
    pool_free(pool);
    vectors_free(&moving);
    fixture_free(&fixture);
}

Test(writer, a_full_disk_leaves_the_last_good_one)
{
    Fixture fixture = fixture_make();
    CheckpointWriter *writer = writer_make(&fixture);
    Pool *pool;
    cr_assert_eq(pool_create(&pool, 1, &fixture.error), STATUS_OK);
    cr_assert_eq(signals_catch(&fixture.error), STATUS_OK);
    RunPosition position = position_at(1);
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
    check_steps(&fixture, 1, (int64_t[]){1});
    cr_expect_eq(names_in(fixture.folder, ""), 1); /* nothing half-written is left */
    char path[CHECKPOINT_PATH];
    checkpoint_path(path, fixture.folder, 1);
    check_loads(&fixture, path);

    /* With room again the next one is written. */
    position.step = 3;
    writer_checkpoint(writer, pool, &fixture.vectors, &position);
    cr_assert_eq(finish(writer, WRITER_CHECKPOINT).status, STATUS_OK);
    check_steps(&fixture, 2, (int64_t[]){3, 1});
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
        RunPosition position = position_at(step);
        writer_checkpoint(writer, pool, &fixture.vectors, &position);
        WriterReport report = finish(writer, WRITER_CHECKPOINT);
        cr_expect_eq(report.status, STATUS_OK, "step %d: %s", step, report.error.message);
        cr_expect_eq(report.unpruned[0] != 0, step == 3, "step %d: \"%s\"", step, report.unpruned);
        if (step == 3) cr_expect(strstr(report.unpruned, "notes.txt"), "%s", report.unpruned);
        if (step == 1) leave((checkpoint_path(path, fixture.folder, 1), path), "notes.txt");
        checkpoint_path(path, fixture.folder, step);
        check_loads(&fixture, path);
    }
    check_steps(&fixture, 2, (int64_t[]){5, 4});
    writer_free(writer);
    pool_free(pool);
    fixture_free(&fixture);
}
