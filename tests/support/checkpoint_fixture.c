#include "tests/support/checkpoint_fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/model/zoo.h"
#include "tests/support/command.h"

const char FIXTURE_CONFIG[] = "model: t2t_vit_7\n# \xc3\xa9 \"quoted\"\nlr: 0.001\n";

static float *vector_make(const ParamTable *table, float base, bool trainable_only)
{
    float *vector = calloc((size_t)table->size, sizeof *vector);
    for (int p = 0; p < table->count; p++)
        for (int64_t i = 0; i < table->items[p].numel; i++)
            if (!trainable_only || table->items[p].trainable)
                vector[table->items[p].offset + i] = base + 0.001f * (float)(p + 1) + 1e-6f * (float)(i % 997);
    return vector;
}

Fixture fixture_make(void)
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

void fixture_free(Fixture *fixture)
{
    run_vectors_free(&fixture->vectors);
    params_free(&fixture->table);
}

RunVectors fixture_vectors(const ParamTable *table)
{
    size_t size = (size_t)table->size, each = sizeof(float);
    return (RunVectors){calloc(size, each), calloc(size, each), calloc(size, each), calloc(size, each), 0, table->size};
}

RunPosition fixture_position(int64_t step)
{
    return (RunPosition){step, 3, 17, 64, 2, 1, 71.0 / 3};
}

Checkpoint fixture_opened(Fixture *fixture, const char *path)
{
    Checkpoint checkpoint;
    cr_assert_eq(checkpoint_open(&checkpoint, path, &fixture->error), STATUS_OK, "%s", fixture->error.message);
    return checkpoint;
}

bool fixture_same(const Fixture *fixture, const float *a, const float *b)
{
    return memcmp(a, b, (size_t)fixture->table.size * sizeof *a) == 0;
}

void fixture_check_loads(Fixture *fixture, const char *path)
{
    Checkpoint checkpoint = fixture_opened(fixture, path);
    RunVectors got = fixture_vectors(&fixture->table);
    cr_assert_eq(checkpoint_load(&checkpoint, &fixture->table, &got, &fixture->error), STATUS_OK, "%s",
                 fixture->error.message);
    cr_expect(fixture_same(fixture, got.weights, fixture->vectors.weights));
    cr_expect(fixture_same(fixture, got.ema, fixture->vectors.ema));
    cr_expect(fixture_same(fixture, got.moment1, fixture->vectors.moment1));
    cr_expect(fixture_same(fixture, got.moment2, fixture->vectors.moment2));
    cr_expect_str_eq(checkpoint.config, FIXTURE_CONFIG);
    checkpoint_close(&checkpoint);
    run_vectors_free(&got);
}

void fixture_check_steps(Fixture *fixture, int want, const int64_t *steps)
{
    int64_t *got;
    int count;
    cr_assert_eq(checkpoint_list(fixture->folder, &got, &count, &fixture->error), STATUS_OK);
    cr_assert_eq(count, want);
    for (int i = 0; i < want; i++) cr_expect_eq(got[i], steps[i]);
    free(got);
}

int fixture_names_in(const char *folder, const char *part)
{
    int count = 0;
    DIR *directory = opendir(folder);
    cr_assert(directory, "%s", folder);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.' && strstr(entry->d_name, part)) count++;
    closedir(directory);
    return count;
}

const char *fixture_file(const char *path, const char *name)
{
    static char file[CHECKPOINT_PATH + 64];
    snprintf(file, sizeof file, "%s/%s", path, name);
    return file;
}

void fixture_leave(const char *path, const char *name)
{
    Error error = {0};
    cr_assert_eq(file_write(fixture_file(path, name), "mine", 4, &error), STATUS_OK, "%s", error.message);
}
