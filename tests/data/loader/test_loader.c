#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/loader/loader.h"
#include "tests/support/command.h"
#include "tests/support/pixels.h"
#include "tests/support/tiny.h"

enum { SIDE = 24, IMAGE = 3 * SIDE * SIDE };

static Dataset *open_dataset(int count, int per_shard, int corrupt)
{
    Error error = {0};
    Dataset *dataset;
    const char *folder = temporary_folder();
    test_dataset(folder, count, per_shard, corrupt);
    cr_assert_eq(dataset_open(&dataset, folder, "train", &error), STATUS_OK, "%s", error.message);
    return dataset;
}

static LoaderConfig training(int64_t global_batch, int64_t begin, int64_t end, int workers)
{
    return (LoaderConfig){.pipeline = test_pipeline(SIDE),
                          .training = true,
                          .seed = 7,
                          .shuffle = true,
                          .global_batch = global_batch,
                          .begin = begin,
                          .end = end,
                          .classes = TEST_CLASSES,
                          .workers = workers,
                          .depth = 3,
                          .max_bad_share = 0.0};
}

static Loader *create(const Dataset *dataset, const LoaderConfig *config)
{
    Error error = {0};
    Loader *loader;
    cr_assert_eq(loader_create(&loader, dataset, config, &error), STATUS_OK, "%s", error.message);
    return loader;
}

static void start(Loader *loader, int64_t epoch, int64_t step)
{
    Error error = {0};
    cr_assert_eq(loader_start(loader, epoch, step, &error), STATUS_OK, "%s", error.message);
}

static Batch *next(Loader *loader)
{
    Error error = {0};
    Batch *batch;
    cr_assert_eq(loader_next(loader, &batch, &error), STATUS_OK, "%s", error.message);
    return batch;
}

/* What a run of `steps` steps yields, over all parts: images, targets, labels, positions, indices. */
typedef struct Yield {
    int64_t count;
    float *images, *targets;
    int64_t *labels, *indices;
    uint64_t *samples;
} Yield;

static Yield yield_create(int64_t count)
{
    return (Yield){count,
                   calloc((size_t)(count * IMAGE), sizeof(float)),
                   calloc((size_t)(count * TEST_CLASSES), sizeof(float)),
                   calloc((size_t)count, sizeof(int64_t)),
                   calloc((size_t)count, sizeof(int64_t)),
                   calloc((size_t)count, sizeof(uint64_t))};
}

static void yield_free(Yield *yield)
{
    free(yield->images);
    free(yield->targets);
    free(yield->labels);
    free(yield->indices);
    free(yield->samples);
}

static void take(Yield *yield, int64_t at, const Batch *batch)
{
    size_t count = (size_t)batch->count;
    if (count == 0) return;
    memcpy(yield->images + at * IMAGE, batch->images, count * IMAGE * sizeof(float));
    memcpy(yield->targets + at * TEST_CLASSES, batch->targets, count * TEST_CLASSES * sizeof(float));
    memcpy(yield->labels + at, batch->labels, count * sizeof(int64_t));
    memcpy(yield->indices + at, batch->indices, count * sizeof(int64_t));
    memcpy(yield->samples + at, batch->samples, count * sizeof(uint64_t));
}

static void assert_same(const Yield *a, const Yield *b)
{
    size_t count = (size_t)a->count;
    cr_assert_eq(memcmp(a->indices, b->indices, count * sizeof(int64_t)), 0);
    cr_assert_eq(memcmp(a->samples, b->samples, count * sizeof(uint64_t)), 0);
    cr_assert_eq(memcmp(a->labels, b->labels, count * sizeof(int64_t)), 0);
    cr_assert_eq(memcmp(a->targets, b->targets, count * TEST_CLASSES * sizeof(float)), 0);
    cr_assert_eq(memcmp(a->images, b->images, count * IMAGE * sizeof(float)), 0);
}

/* The global batches of `steps` steps from (epoch, step), served by one loader per part of `bounds`. */
static Yield run(const Dataset *dataset, LoaderConfig config, const int64_t *bounds, int parts, int64_t epoch,
                 int64_t step, int steps)
{
    Yield yield = yield_create(config.global_batch * steps);
    for (int part = 0; part < parts; part++) {
        config.begin = bounds[part];
        config.end = bounds[part + 1];
        Loader *loader = create(dataset, &config);
        start(loader, epoch, step);
        for (int s = 0; s < steps; s++) {
            Batch *batch = next(loader);
            cr_assert_eq(batch->count, config.end - config.begin);
            cr_assert_eq(batch->epoch, epoch + (step + s) / loader_steps(loader));
            cr_assert_eq(batch->step, (step + s) % loader_steps(loader));
            take(&yield, s * config.global_batch + config.begin, batch);
            loader_release(loader, batch);
        }
        loader_free(loader);
    }
    return yield;
}

static void check_layouts(const Dataset *dataset, LoaderConfig config)
{
    const int64_t most = config.global_batch, whole[] = {0, most}, parts[] = {0, 0, 3, 5, 5, 6, most, most};
    const int steps = 8;
    config.workers = 0;
    Yield reference = run(dataset, config, whole, 1, 0, 0, steps);
    for (int workers = 0; workers <= 3; workers++) {
        config.workers = workers;
        Yield same = run(dataset, config, whole, 1, 0, 0, steps), split = run(dataset, config, parts, 7, 0, 0, steps);
        assert_same(&reference, &same);
        assert_same(&reference, &split);
        yield_free(&same);
        yield_free(&split);
    }
    yield_free(&reference);
}

Test(loader, pixels_do_not_depend_on_threads_or_ranks)
{
    Dataset *dataset = open_dataset(50, 17, -1);
    LoaderConfig config = training(12, 0, 12, 0);
    for (int mode = MIX_BATCH; mode <= MIX_ELEM; mode++) {
        config.pipeline.mixup_mode = (MixMode)mode;
        check_layouts(dataset, config);
    }
    config.pipeline.mixup_mode = MIX_BATCH;
    config.pipeline.mixup_group = 4;
    check_layouts(dataset, config);
    config.global_batch = 11; /* the last image of a step has no neighbour of its own */
    check_layouts(dataset, config);
    config.pipeline.aug_repeats = 3;
    check_layouts(dataset, config);
    dataset_close(dataset);
}

/* The lam that made the target of place i, whose partner is its neighbour; -1 when both are of one class. */
static double mixed_lam(const Yield *yield, int i)
{
    const int64_t own = yield->labels[i], partner = yield->labels[i ^ 1];
    return own == partner ? -1 : yield->targets[i * TEST_CLASSES + own];
}

/* The lams of all images of one group are one, and no two groups share theirs. */
static void check_groups(const Dataset *dataset, int group, int expected)
{
    enum { BATCH = 12, STEPS = 4 };
    LoaderConfig config = training(BATCH, 0, BATCH, 0);
    const int64_t whole[] = {0, BATCH};
    double lams[BATCH * STEPS];
    int groups = 0;
    config.pipeline.cutmix = 0;
    config.pipeline.mixup = config.pipeline.mixup_prob = 1;
    config.pipeline.smoothing = 0;
    config.pipeline.mixup_group = group;
    Yield yield = run(dataset, config, whole, 1, 0, 0, STEPS);
    for (int i = 0, last = -1; i < BATCH * STEPS; i++) {
        const int now = i / BATCH * BATCH + (group ? i % BATCH / group : 0);
        const double lam = mixed_lam(&yield, i);
        if (lam < 0) continue;
        if (now != last) lams[groups++] = lam;
        last = now;
        cr_assert_float_eq(lam, lams[groups - 1], 1e-6, "groups of %d: image %d has lam %g", group, i, lam);
    }
    cr_assert_eq(groups, expected, "groups of %d: %d lams", group, groups);
    for (int i = 0; i < groups; i++)
        for (int k = 0; k < i; k++) cr_assert_neq(lams[i], lams[k], "groups of %d: %d as %d", group, i, k);
    yield_free(&yield);
}

Test(loader, images_of_a_group_share_a_draw)
{
    Dataset *dataset = open_dataset(50, 17, -1);
    check_groups(dataset, 0, 4); /* 4 steps of 12 images */
    check_groups(dataset, 12, 4);
    check_groups(dataset, 6, 8);
    check_groups(dataset, 8, 8); /* 8 and the 4 that are left */
    dataset_close(dataset);
}

Test(loader, resumes_anywhere)
{
    Dataset *dataset = open_dataset(50, 17, -1);
    LoaderConfig config = training(12, 0, 12, 2);
    const int64_t whole[] = {0, 12};
    Yield all = run(dataset, config, whole, 1, 0, 0, 8);
    for (int first = 1; first < 8; first += 2) { /* 4 steps per epoch */
        Yield rest = run(dataset, config, whole, 1, first / 4, first % 4, 8 - first);
        Yield tail = {.count = rest.count,
                      .images = all.images + (int64_t)first * 12 * IMAGE,
                      .targets = all.targets + first * 12 * TEST_CLASSES,
                      .labels = all.labels + first * 12,
                      .indices = all.indices + first * 12,
                      .samples = all.samples + first * 12};
        assert_same(&tail, &rest);
        yield_free(&rest);
    }
    yield_free(&all);
    dataset_close(dataset);
}

Test(loader, starts_again_in_the_middle)
{
    Dataset *dataset = open_dataset(50, 17, -1);
    LoaderConfig config = training(10, 0, 10, 3);
    Loader *loader = create(dataset, &config);
    cr_assert_eq(loader_steps(loader), 5);
    start(loader, 0, 0);
    Batch *batch = next(loader);
    int64_t first = batch->indices[0];
    loader_release(loader, batch);
    start(loader, 3, 4);
    batch = next(loader);
    cr_assert_eq(batch->epoch, 3);
    cr_assert_eq(batch->step, 4);
    loader_release(loader, batch);
    batch = next(loader);
    cr_assert_eq(batch->epoch, 4);
    cr_assert_eq(batch->step, 0);
    loader_release(loader, batch);
    start(loader, 0, 0);
    batch = next(loader);
    cr_assert_eq(batch->indices[0], first);
    loader_release(loader, batch);
    loader_free(loader);
    dataset_close(dataset);
}

Test(loader, evaluation_sees_every_image_once)
{
    Dataset *dataset = open_dataset(47, 10, -1);
    bool seen[47] = {false};
    for (int part = 0; part < 3; part++) {
        LoaderConfig config = training(1, 0, 1, part);
        config.training = false;
        config.begin = 47 * part / 3;
        config.end = 47 * (part + 1) / 3;
        config.batch = 4;
        Loader *loader = create(dataset, &config);
        for (int pass = 0; pass < 2; pass++) {
            start(loader, 0, 0);
            for (Batch *batch; (batch = next(loader)); loader_release(loader, batch)) {
                for (int i = 0; i < batch->count; i++) {
                    int64_t index = batch->indices[i];
                    cr_assert_eq(batch->labels[i], index % TEST_CLASSES);
                    cr_assert_eq(seen[index], pass == 1);
                    seen[index] = true;
                }
            }
            cr_assert_null(next(loader)); /* the end stays the end */
            for (int i = (int)config.begin; pass == 0 && i < config.end; i++) cr_assert(seen[i]);
        }
        loader_free(loader);
    }
    dataset_close(dataset);
}

Test(loader, an_empty_part_of_an_evaluation_is_no_batch)
{
    Dataset *dataset = open_dataset(12, 12, -1);
    LoaderConfig config = training(1, 0, 1, 1);
    config.training = false;
    config.begin = config.end = 5;
    config.batch = 4;
    Loader *loader = create(dataset, &config);
    start(loader, 0, 0);
    cr_assert_null(next(loader));
    loader_free(loader);
    dataset_close(dataset);
}

Test(loader, a_bad_record_is_replaced_and_counted)
{
    Dataset *dataset = open_dataset(40, 16, 13);
    for (int workers = 0; workers <= 2; workers++) {
        LoaderConfig config = training(10, 0, 10, workers);
        config.max_bad_share = 0.1;
        Loader *loader = create(dataset, &config);
        start(loader, 0, 0);
        int stand_ins = 0;
        for (int s = 0; s < 4; s++) {
            Batch *batch = next(loader);
            for (int i = 0; i < batch->count; i++) {
                cr_assert_neq(batch->indices[i], 13);
                cr_assert_eq(batch->labels[i], batch->indices[i] % TEST_CLASSES);
                stand_ins += batch->indices[i] == 14;
            }
            loader_release(loader, batch);
        }
        LoaderCounts counts = loader_counts(loader);
        cr_assert_eq(stand_ins, 2);
        cr_assert_eq(counts.bad, 1);
        cr_assert_eq(counts.images, 40);
        cr_assert(strstr(counts.bad_example, "image 13"), "%s", counts.bad_example);
        loader_free(loader);
    }
    dataset_close(dataset);
}

Test(loader, a_record_with_a_wrong_hash_is_skipped_and_told)
{
    Dataset *dataset = open_dataset(40, 16, -1);
    dataset_close(dataset);
    char shard[600];
    Error error = {0};
    snprintf(shard, sizeof shard, "%.500s/train-001.mdb", temporary_folder());
    spoil_record(shard, 9); /* image 25 */
    cr_assert_eq(dataset_open(&dataset, temporary_folder(), "train", &error), STATUS_OK, "%s", error.message);
    LoaderConfig config = training(10, 0, 10, 2);
    config.max_bad_share = 0.1;
    Loader *loader = create(dataset, &config);
    start(loader, 0, 0);
    for (int s = 0; s < 8; s++) {
        Batch *batch = next(loader);
        for (int i = 0; i < batch->count; i++) cr_assert_neq(batch->indices[i], 25);
        loader_release(loader, batch);
    }
    LoaderCounts counts = loader_counts(loader);
    cr_assert_eq(counts.bad, 2, "once in each of two epochs, not %lld times", (long long)counts.bad);
    cr_assert(strstr(counts.bad_example, "hash") && strstr(counts.bad_example, "train-001.mdb") &&
                  strstr(counts.bad_example, "image 25"),
              "%s", counts.bad_example);
    loader_free(loader);
    dataset_close(dataset);
}

Test(loader, too_many_bad_records_are_an_error)
{
    Dataset *dataset = open_dataset(40, 16, 13);
    LoaderConfig config = training(10, 0, 10, 2);
    config.max_bad_share = 0.02;
    Loader *loader = create(dataset, &config);
    start(loader, 0, 0);
    Status status = STATUS_OK;
    Error error = {0};
    for (int s = 0; s < 4 && !status; s++) {
        Batch *batch;
        status = loader_next(loader, &batch, &error);
        if (!status) loader_release(loader, batch);
    }
    cr_assert_eq(status, STATUS_DATA);
    cr_assert(strstr(error.message, "1 of this rank's 40 images of epoch 1"), "%s", error.message);
    loader_free(loader);
    dataset_close(dataset);
}

Test(loader, evaluation_leaves_a_bad_record_out)
{
    Dataset *dataset = open_dataset(20, 20, 5);
    LoaderConfig config = training(1, 0, 20, 2);
    config.training = false;
    config.batch = 8;
    config.max_bad_share = 0.1;
    Loader *loader = create(dataset, &config);
    start(loader, 0, 0);
    int total = 0;
    for (Batch *batch; (batch = next(loader)); loader_release(loader, batch)) {
        for (int i = 0; i < batch->count; i++, total++) {
            cr_assert_eq(batch->indices[i], total + (total >= 5));
            cr_assert_eq(batch->labels[i], batch->indices[i] % TEST_CLASSES);
        }
    }
    cr_assert_eq(total, 19);
    cr_assert_eq(loader_counts(loader).bad, 1);
    loader_free(loader);
    dataset_close(dataset);
}

static void assert_refused(const Dataset *dataset, const LoaderConfig *config, const char *words)
{
    Error error = {0};
    Loader *loader;
    cr_assert_eq(loader_create(&loader, dataset, config, &error), STATUS_USAGE);
    cr_assert_null(loader);
    cr_assert(strstr(error.message, words), "%s", error.message);
}

Test(loader, refuses_what_cannot_be)
{
    Dataset *dataset = open_dataset(20, 20, -1);
    LoaderConfig config = training(21, 0, 21, 0);
    assert_refused(dataset, &config, "20 images, fewer than the global batch of 21");
    config = training(10, 0, 10, 0);
    config.classes = 9;
    assert_refused(dataset, &config, "10 classes, but num_classes is 9");
    config = training(10, 4, 11, 0);
    assert_refused(dataset, &config, "part 4 .. 11");
    config = training(10, 4, 3, 0);
    assert_refused(dataset, &config, "part 4 .. 3");
    config = training(10, 0, 10, 0);
    config.pipeline.scale[0] = 1.5;
    assert_refused(dataset, &config, "scale: 1.5 must not be more than its second number, 1");
    config = training(10, 0, 10, 0);
    snprintf(config.pipeline.aa, sizeof config.pipeline.aa, "augmix-m5");
    assert_refused(dataset, &config, "augmix");
    dataset_close(dataset);
}

Test(loader, targets_are_distributions)
{
    Dataset *dataset = open_dataset(40, 16, -1);
    LoaderConfig config = training(10, 0, 10, 1);
    config.pipeline.mixup_off_epoch = 1;
    Loader *loader = create(dataset, &config);
    start(loader, 0, 0);
    int mixed = 0;
    for (int s = 0; s < 8; s++) {
        Batch *batch = next(loader);
        for (int i = 0; i < batch->count; i++) {
            double sum = 0, top = 0;
            for (int c = 0; c < TEST_CLASSES; c++) {
                double value = batch->targets[i * TEST_CLASSES + c];
                sum += value;
                top = value > top ? value : top;
            }
            cr_assert_float_eq(sum, 1.0, 1e-5);
            mixed += top < 0.9;
            if (batch->epoch == 1) cr_assert_float_eq(batch->targets[i * TEST_CLASSES + batch->labels[i]], 0.91, 1e-6);
        }
        loader_release(loader, batch);
    }
    cr_assert_gt(mixed, 20);
    loader_free(loader);
    dataset_close(dataset);
}
