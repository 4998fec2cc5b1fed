#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/model/weights.h"
#include "tests/support/command.h"
#include "tests/support/models.h"

/* The converter is the one part of t2t in Python, which a machine may lack. Then these tests are listed as skipped. */
static void need_python(void)
{
    Command command = command_run(20, "python3 -c 'import zipfile, pickletools'");
    int status = command.exit_status;
    command_free(&command);
    if (status == 0) return;
    /* Criterion is silent about skipped tests. */
    fprintf(stderr, "SKIPPED: python3 is not installed: tools/pth2safetensors is not tested\n");
    cr_skip_test("python3 is not installed");
}

static const char *in_folder(const char *name)
{
    static char paths[4][4096];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", temporary_folder(), name);
    return path;
}

typedef struct Case {
    ParamTable table;
    float *weights, *loaded;
    size_t bytes;
} Case;

/* Weights of a tiny model, saved, and a .pth of every kind beside them. */
static Case write_files(void)
{
    need_python();
    ModelConfig config = golden_model("tiny_ghost");
    Case c;
    Error error = {0};
    cr_assert_eq(params_build(&c.table, &config, &error), STATUS_OK);
    c.bytes = (size_t)c.table.size * sizeof(float);
    c.weights = malloc(c.bytes);
    c.loaded = malloc(c.bytes);
    params_init(&c.table, 4, c.weights);
    params_init(&c.table, 5, c.loaded);
    cr_assert_eq(weights_save(in_folder("given.safetensors"), &c.table, c.weights, NULL, &error), STATUS_OK);
    Command command =
        command_run(60, "python3 tests/tools/write_pth.py %s %s", temporary_folder(), in_folder("given.safetensors"));
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    command_free(&command);
    return c;
}

static void release(Case *c)
{
    free(c->weights), free(c->loaded);
    params_free(&c->table);
}

static void convert(const char *name, const char *options, int exit_status, const char *part)
{
    char file[64];
    snprintf(file, sizeof file, "%s.pth", name);
    Command command =
        command_run(60, "tools/pth2safetensors %s %s %s", in_folder(file), in_folder("out.safetensors"), options);
    cr_assert_eq(command.exit_status, exit_status, "%s: %s", name, command.output);
    cr_assert(strstr(command.output, part), "%s: '%s' lacks '%s'", name, command.output, part);
    cr_assert(!strstr(command.output, "Traceback"), "%s: %s", name, command.output);
    command_free(&command);
}

Test(pth2safetensors, a_training_checkpoint_becomes_the_model_s_weights)
{
    Case c = write_files();
    Error error = {0};
    WeightsReport report;
    convert("checkpoint", "", 0, "70 tensors from state_dict_ema");
    cr_assert_eq(weights_load(in_folder("out.safetensors"), &c.table, c.loaded, &report, &error), STATUS_OK, "%s",
                 error.message);
    cr_assert_eq(memcmp(c.weights, c.loaded, c.bytes), 0, "every byte comes back");
    convert("checkpoint", "--key state_dict", 0, "70 tensors from state_dict\n");
    cr_assert_eq(weights_load(in_folder("out.safetensors"), &c.table, c.loaded, &report, &error), STATUS_OK,
                 "module. is dropped: %s", error.message);
    memset(c.weights, 0, c.bytes);
    cr_assert_eq(memcmp(c.weights, c.loaded, c.bytes), 0, "the raw weights are zeros");
    convert("official_cifar", "", 0, "1 tensors from net");
    convert("checkpoint", "--key optimizer", 3, "holds no tensors");
    convert("checkpoint", "--key model", 3, "has no dictionary 'model'; its keys: epoch, arch, state_dict");
    release(&c);
}

static void expect_floats(const Safetensors *file, const char *name, Dtype dtype, int ndim, const int64_t *shape,
                          const float *values)
{
    const SafetensorsEntry *entry = safetensors_find(file, name);
    float read[8];
    Error error = {0};
    cr_assert(entry, "%s", name);
    cr_assert_eq(entry->dtype, dtype, "%s is %s", name, dtype_name(entry->dtype));
    cr_assert_eq(entry->ndim, ndim, "%s", name);
    for (int i = 0; i < ndim; i++) cr_assert_eq(entry->shape[i], shape[i], "%s", name);
    cr_assert_eq(safetensors_read_f32(file, entry, read, &error), STATUS_OK, "%s", error.message);
    for (int i = 0; i < entry->numel; i++) cr_assert_eq(read[i], values[i], "%s[%d]: %g", name, i, read[i]);
}

Test(pth2safetensors, every_layout_and_type_of_a_tensor)
{
    Case c = write_files();
    convert("layouts", "", 0, "8 tensors from the dictionary itself");
    Safetensors file;
    Error error = {0};
    cr_assert_eq(safetensors_open(&file, in_folder("out.safetensors"), &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(file.count, 8);
    expect_floats(&file, "transposed", DTYPE_F32, 2, (int64_t[]){3, 2}, (float[]){0, 3, 1, 4, 2, 5});
    expect_floats(&file, "slice", DTYPE_F32, 2, (int64_t[]){2, 2}, (float[]){1, 2, 4, 5});
    expect_floats(&file, "parameter", DTYPE_F32, 1, (int64_t[]){1}, (float[]){7});
    expect_floats(&file, "half", DTYPE_F16, 1, (int64_t[]){2}, (float[]){1.5f, -2});
    expect_floats(&file, "brain", DTYPE_BF16, 1, (int64_t[]){1}, (float[]){1.5f});
    expect_floats(&file, "scalar", DTYPE_F32, 0, NULL, (float[]){2.5f});
    expect_floats(&file, "empty", DTYPE_F32, 2, (int64_t[]){0, 5}, NULL);
    int64_t number;
    cr_assert_eq(safetensors_read(&file, safetensors_find(&file, "long"), &number, &error), STATUS_OK);
    cr_assert_eq(number, -9);
    safetensors_close(&file);
    release(&c);
}

Test(pth2safetensors, a_pickle_that_wants_to_call_anything_is_refused_and_calls_nothing)
{
    static const char *const CASES[][2] = {{"call_system", "wants to call posix.system"},
                                           {"call_eval", "wants to call __builtin__.eval"},
                                           {"call_inst", "opcode INST"}};
    Case c = write_files();
    for (int i = 0; i < 3; i++) {
        char called[64];
        snprintf(called, sizeof called, "%s.pth.called", CASES[i][0]);
        convert(CASES[i][0], "", 3, CASES[i][1]);
        cr_assert(!file_exists(in_folder(called)), "%s was run", CASES[i][0]);
        cr_assert(!file_exists(in_folder("out.safetensors")));
    }
    release(&c);
}

Test(pth2safetensors, bad_files_are_refused_with_a_reason)
{
    static const char *const CASES[][2] = {
        {"legacy", "torch.save(torch.load("},
        {"no_zip", "not a zip file"},
        {"beyond_storage", "beyond the 2 elements of its storage"},
        {"expanded", "beyond the 1 elements"},
        {"negative", "not made of a storage, an offset, a shape and strides"},
        {"short_storage", "has 8 bytes, not 12"},
        {"huge_storage", "has 8 bytes, not 18446744073709551616"},
        {"unknown_type", "a storage of type 'ComplexStorage'"},
        {"compressed", "is compressed"},
        {"big_endian", "big-endian"},
        {"no_tensors", "holds no tensors; its keys: epoch"},
        {"not_a_dictionary", "holds a list"},
        {"same_names", "two tensors are named w"},
        {"broken_pickle", "its pickle is broken"},
        {"empty_stack", "its pickle"},
        {"no_memo", "its pickle is broken"},
        {"mark_robbery", "takes more than it has put down"},
        {"nested", "holds a list"},
        {"shared", "its 3000 tensors share storages: 120000000 bytes would come out of a file of"},
        {"alternating", "its 200 tensors share storages: 209715200 bytes of a file of"},
        {"copies", "copies lists of more than 4194304 elements"},
        {"long_name", "no text of at most 256 letters"},
        {"dimensions", "a tensor of 9 dimensions; at most 8"},
        {"large_pickle", "at most 4194304 are expected"},
        {"escape", "its keys: a?[31mb"},
    };
    Case c = write_files();
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        convert(CASES[i][0], "", 3, CASES[i][1]);
        cr_assert(!file_exists(in_folder("out.safetensors")), "%s", CASES[i][0]);
    }
    release(&c);
}

Test(pth2safetensors, a_checkpoint_cut_anywhere_is_refused)
{
    Case c = write_files();
    char *bytes;
    size_t size;
    Error error = {0};
    cr_assert_eq(file_read(in_folder("layouts.pth"), 1 << 20, &bytes, &size, &error), STATUS_OK);
    for (size_t i = 0; i < 8; i++) {
        cr_assert_eq(file_write(in_folder("cut.pth"), bytes, size * i / 8, &error), STATUS_OK);
        convert("cut", "", 3, "cut.pth: ");
    }
    free(bytes);
    release(&c);
}

Test(pth2safetensors, tied_weights_come_out_each_for_itself)
{
    Case c = write_files();
    convert("tied", "", 0, "3 tensors");
    release(&c);
}

Test(pth2safetensors, wrong_usage_and_files_that_are_not_there)
{
    need_python();
    convert("none", "", 3, "No such file");
    convert("none", "--nonsense", 2, "usage:");
    Command command = command_run(20, "tools/pth2safetensors --help");
    cr_assert_eq(command.exit_status, 0);
    command_free(&command);
}
