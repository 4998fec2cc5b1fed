#include "tests/support/tiny.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/rng.h"
#include "core/model/safetensors.h"
#include "data/dataset/shard.h"
#include "dist/monitor/metrics.h"

enum { SIDE = 28, CLASSES = 10 };

const char TINY_SETTINGS[] =
    "--set model=t2t_vit_7 --set img_size=32 --set num_classes=10 --set token_dim=16 --set embed_dim=32 "
    "--set depth=2 --set num_heads=2 --set drop=0.1 --set drop_path=0.1 --set batch_size=8 --set lr=0.002 "
    "--set warmup_epochs=0 --set cooldown_epochs=0 --set log_interval=1 --set threads=1 --set workers=1 "
    "--set model_ema_warmup=true --set seed=7";

static void put_u32(unsigned char *out, uint32_t value)
{
    for (int i = 0; i < 4; i++) out[i] = (unsigned char)(value >> (24 - 8 * i));
}

/* A bright bar whose place is the class, on noise. */
static void draw(unsigned char *pixels, int label, Rng *rng)
{
    for (int i = 0; i < SIDE * SIDE; i++) pixels[i] = (unsigned char)rng_below(rng, 60);
    bool upright = label >= 5;
    int at = 1 + label % 5 * 5 + (int)rng_below(rng, 2);
    for (int along = 2; along < SIDE - 2; along++)
        for (int across = at; across < at + 4; across++)
            pixels[upright ? along * SIDE + across : across * SIDE + along] = (unsigned char)(180 + rng_below(rng, 70));
}

static void write_idx(const char *folder, const char *name, int count)
{
    size_t images_size = 16 + (size_t)count * SIDE * SIDE, labels_size = 8 + (size_t)count;
    unsigned char *images = malloc(images_size), *labels = malloc(labels_size);
    cr_assert(images && labels);
    put_u32(images, 0x803);
    put_u32(images + 4, (uint32_t)count);
    put_u32(images + 8, SIDE);
    put_u32(images + 12, SIDE);
    put_u32(labels, 0x801);
    put_u32(labels + 4, (uint32_t)count);
    Rng rng = rng_make(1, RNG_SYNTHETIC, (uint64_t)count, 0);
    for (int i = 0; i < count; i++) {
        labels[8 + i] = (unsigned char)(i % CLASSES);
        draw(images + 16 + (size_t)i * SIDE * SIDE, i % CLASSES, &rng);
    }
    char path[1200];
    Error error = {0};
    snprintf(path, sizeof path, "%.1000s/%s-images-idx3-ubyte", folder, name);
    cr_assert_eq(file_write(path, images, images_size, &error), STATUS_OK, "%s", error.message);
    snprintf(path, sizeof path, "%.1000s/%s-labels-idx1-ubyte", folder, name);
    cr_assert_eq(file_write(path, labels, labels_size, &error), STATUS_OK, "%s", error.message);
    free(labels);
    free(images);
}

void tiny_dataset(const char *folder, int train, int val)
{
    char idx[1024];
    Error error = {0};
    snprintf(idx, sizeof idx, "%.1000s.idx", folder);
    cr_assert_eq(file_make_folders(idx, &error), STATUS_OK, "%s", error.message);
    write_idx(idx, "train", train);
    write_idx(idx, "t10k", val);
    Command command = command_run(60, BUILD_FOLDER "/t2t convert %s %s", idx, folder);
    cr_assert_eq(command.exit_status, 0, "%s", command.output);
    command_free(&command);
}

void spoil_record(const char *shard, int place)
{
    enum { WITHIN_IMAGE = 100 }; /* the bytes of an image follow its header */
    char *bytes, *at;
    size_t size;
    Error error = {0};
    cr_assert_eq(file_read(shard, 1 << 24, &bytes, &size, &error), STATUS_OK, "%s", error.message);
    at = memmem(bytes, size, "T2TR", 4);
    for (int i = 0; i < place && at; i++) at = memmem(at + 4, size - (size_t)(at + 4 - bytes), "T2TR", 4);
    cr_assert(at);
    at[RECORD_HEADER + WITHIN_IMAGE] ^= 1;
    cr_assert_eq(file_write(shard, bytes, size, &error), STATUS_OK, "%s", error.message);
    free(bytes);
}

int64_t tiny_losses(const char *run, double *losses, int room)
{
    MetricsHistory history;
    Error error = {0};
    int64_t last = 0;
    for (int i = 0; i < room; i++) losses[i] = NAN;
    cr_assert_eq(metrics_read(&history, run, &error), STATUS_OK, "%s", error.message);
    for (int64_t i = 0; i < history.trains; i++) {
        int64_t step = history.train[i].step;
        cr_assert(step > last && step < room, "step %ld after step %ld", (long)step, (long)last);
        losses[step] = history.train[i].loss;
        last = step;
    }
    metrics_history_free(&history);
    return last;
}

/* Criterion hands on no message of a megabyte or more: it waits for ever. */
static const char *end_of(const char *output)
{
    enum { TOLD = 16384 };
    size_t length = strlen(output);
    return length > TOLD ? output + length - TOLD : output;
}

void command_expect(Command command, int exit_status, const char *const *texts)
{
    const char *told = end_of(command.output);
    cr_assert_eq(command.exit_status, exit_status, "exit status %d instead of %d:\n%s", command.exit_status,
                 exit_status, told);
    for (; texts && *texts; texts++)
        cr_expect(strstr(command.output, *texts), "\"%s\" is missing in:\n%s", *texts, told);
    command_free(&command);
}
bool same_tensors(const char *a, const char *b)
{
    Safetensors left, right;
    Error error = {0};
    cr_assert_eq(safetensors_open(&left, a, &error), STATUS_OK, "%s", error.message);
    cr_assert_eq(safetensors_open(&right, b, &error), STATUS_OK, "%s", error.message);
    bool same = left.count == right.count;
    for (int i = 0; same && i < left.count; i++) {
        const SafetensorsEntry *entry = &left.entries[i], *other = safetensors_find(&right, entry->name);
        size_t bytes = (size_t)(entry->end - entry->begin);
        char *mine = malloc(bytes + 1), *theirs = malloc(bytes + 1);
        same = other && other->end - other->begin == bytes &&
               safetensors_read(&left, entry, mine, &error) == STATUS_OK &&
               safetensors_read(&right, other, theirs, &error) == STATUS_OK && memcmp(mine, theirs, bytes) == 0;
        free(theirs);
        free(mine);
    }
    safetensors_close(&right);
    safetensors_close(&left);
    return same;
}

bool same_files(const char *a, const char *b)
{
    char *left = NULL, *right = NULL;
    size_t left_size, right_size;
    Error error = {0};
    bool same = file_read(a, 1 << 28, &left, &left_size, &error) == STATUS_OK &&
                file_read(b, 1 << 28, &right, &right_size, &error) == STATUS_OK && left_size == right_size &&
                memcmp(left, right, left_size) == 0;
    free(left);
    free(right);
    return same;
}

void tiny_train_data(void)
{
    char folder[600];
    snprintf(folder, sizeof folder, "%.500s/data", temporary_folder());
    tiny_dataset(folder, 97, 37); /* neither divides anything */
}

Command tiny_train(int ranks, const char *run, const char *options)
{
    char launcher[400] = "";
    if (ranks) snprintf(launcher, sizeof launcher, MPIRUN "%d ", ranks);
    return command_run(TINY_SECONDS, "%s" T2T " train %s --set data=%s/data --output %s/%s %s", launcher, TINY_SETTINGS,
                       temporary_folder(), temporary_folder(), run, options);
}

char *path_to(char *path, const char *format, ...)
{
    char name[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    snprintf(path, 1000, "%.500s/%s", temporary_folder(), name);
    return path;
}
