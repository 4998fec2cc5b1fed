/* Sources that are arrays of pixels: IDX, CIFAR, drawn shapes. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/support/command.h"
#include "tests/support/sources.h"

static char folder[4096], dest[4096], dest2[4096];

static void make_names(void)
{
    snprintf(folder, sizeof folder, "%s/folder", temporary_folder());
    snprintf(dest, sizeof dest, "%s/dest", temporary_folder());
    snprintf(dest2, sizeof dest2, "%s/dest2", temporary_folder());
}

Test(convert_arrays, idx_may_be_compressed, .init = make_names)
{
    write_idx_source(folder, 50, 20);
    convert_or_fail(folder, dest, 1);
    run_or_fail("gzip %s/*-images-*", folder);
    convert_or_fail(folder, dest2, 1);
    run_or_fail("diff -r %s %s", dest, dest2);
}

Test(convert_arrays, what_is_wrong_with_idx_files, .init = make_names)
{
    write_idx_source(folder, 50, 20);
    run_or_fail("truncate -s -10 %s/train-images-idx3-ubyte", folder);
    Error error = convert_refused(folder, dest, STATUS_DATA);
    cr_assert(
        strstr(error.message, "train-images-idx3-ubyte: cut off: 4000 bytes expected after the header, 3990 found"),
        "%s", error.message);

    write_idx_source(folder, 50, 20);
    run_or_fail("printf '\\013' | dd of=%s/t10k-labels-idx1-ubyte bs=1 seek=12 conv=notrunc", folder);
    error = convert_refused(folder, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "image 4 has label 11; the training labels are 0 to 9"), "%s", error.message);

    write_idx_source(folder, 50, 20);
    run_or_fail("printf '\\011' | dd of=%s/train-images-idx3-ubyte bs=1 seek=2 conv=notrunc", folder);
    error = convert_refused(folder, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "not an IDX file of bytes"), "%s", error.message);

    write_idx_source(folder, 50, 20);
    run_or_fail("rm %s/train-labels-idx1-ubyte", folder);
    error = convert_refused(folder, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "labels-idx1"), "%s", error.message);
}

/* A header can claim any size: nothing is allocated for it before the file is known to be long enough. */
Test(convert_arrays, an_idx_header_that_lies_costs_no_memory, .init = make_names)
{
    static const struct {
        const char *dims, *said;
    } CASES[] = {
        {"\\000\\000\\002\\000\\000\\000\\020\\000\\000\\000\\020\\000", "cut off: 8589934592 bytes expected"},
        {"\\000\\377\\377\\377\\000\\000\\377\\377\\000\\000\\377\\377", "at most 17179869184 are read"},
        {"\\377\\377\\377\\377\\377\\377\\377\\377\\377\\377\\377\\377", "which is not possible"},
        {"\\000\\000\\000\\062\\000\\000\\000\\000\\377\\377\\377\\377", "dimension 2 of 3 is 0"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        write_idx_source(folder, 50, 20);
        run_or_fail("printf '%s' | dd of=%s/train-images-idx3-ubyte bs=1 seek=4 conv=notrunc 2>/dev/null",
                    CASES[i].dims, folder);
        for (int compressed = 0; compressed < 2; compressed++) {
            if (compressed) run_or_fail("gzip -f %s/train-images-idx3-ubyte", folder);
            Error error = convert_refused(folder, dest, STATUS_DATA);
            cr_assert(strstr(error.message, CASES[i].said), "%s", error.message);
        }
        run_or_fail("rm -f %s/*.gz", folder);
    }
}

/* 3 records a file; pixel i of channel c of record r of file f is a known byte. */
static uint8_t cifar_byte(int file, int record, int channel, int pixel)
{
    return (uint8_t)(file * 31 + record * 7 + channel * 85 + pixel);
}

static void write_cifar(const char *name, int file, int label_bytes)
{
    static uint8_t bytes[3 * 3074];
    size_t used = 0;
    for (int record = 0; record < 3; record++) {
        if (label_bytes == 2) bytes[used++] = 9;
        bytes[used++] = (uint8_t)((file + record) % 4);
        for (int c = 0; c < 3; c++)
            for (int i = 0; i < 1024; i++) bytes[used++] = cifar_byte(file, record, c, i);
    }
    write_file(folder, name, bytes, used);
}

static void check_cifar(int train_count)
{
    convert_or_fail(folder, dest, 1);
    OpenedSplit train = split_open(dest, "train");
    cr_assert_eq(dataset_count(train.dataset), train_count);
    split_close(&train);
    OpenedSplit val = split_open(dest, "val");
    cr_assert_eq(dataset_count(val.dataset), 3);
    cr_assert_str_eq(dataset_class_name(val.dataset, 2), "ship");
    Image image = {0};
    Error error = {0};
    for (int record = 0; record < 3; record++) {
        Record got = split_record(&val, record);
        cr_assert_eq(got.label, (9 + record) % 4);
        cr_assert_eq(image_decode(got.bytes, got.size, &image, &error), STATUS_OK);
        for (int i = 0; i < 1024; i++)
            for (int c = 0; c < 3; c++) cr_assert_eq(image.pixels[3 * i + c], cifar_byte(9, record, c, i));
    }
    image_free(&image);
    split_close(&val);
}

Test(convert_arrays, cifar_10_without_loss, .init = make_names)
{
    write_file(folder, "cifar-10-batches-bin/batches.meta.txt", "cat\ndog\nship\nfrog\n\n", 19);
    for (int file = 1; file <= 5; file++) {
        char name[64];
        snprintf(name, sizeof name, "cifar-10-batches-bin/data_batch_%d.bin", file);
        write_cifar(name, file, 1);
    }
    write_cifar("cifar-10-batches-bin/test_batch.bin", 9, 1);
    check_cifar(15);
}

Test(convert_arrays, cifar_100_takes_the_fine_label, .init = make_names)
{
    write_file(folder, "fine_label_names.txt", "cat\ndog\nship\nfrog\n", 18);
    write_cifar("train.bin", 1, 2);
    write_cifar("test.bin", 9, 2);
    check_cifar(3);
    run_or_fail("truncate -s -5 %s/train.bin", folder);
    Error error = convert_refused(folder, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "train.bin: 9217 bytes are not a multiple of 3074"), "%s", error.message);
}

Test(convert_arrays, drawn_shapes_are_labelled_and_seeded, .init = make_names)
{
    ConvertConfig config = convert_config(NULL, dest, 1);
    Error error = {0};
    config.synthetic = 100;
    cr_assert_eq(convert_all(&config, &error), STATUS_OK, "%s", error.message);
    Manifest manifest = convert_manifest(dest);
    cr_assert_eq(manifest.classes, 10);
    cr_assert_eq(manifest_split(&manifest, "train")->count, 100);
    cr_assert_eq(manifest_split(&manifest, "val")->count, 20);
    for (int i = 0; i < 10; i++) cr_assert_eq(manifest_split(&manifest, "train")->stats.per_class[i], 10);
    manifest_free(&manifest);
    config.dest = dest2;
    cr_assert_eq(convert_all(&config, &error), STATUS_OK, "%s", error.message);
    run_or_fail("diff -r %s %s && rm -r %s", dest, dest2, dest2);
    config.seed = 1;
    cr_assert_eq(convert_all(&config, &error), STATUS_OK, "%s", error.message);
    run_or_fail("! cmp -s %s/val-000.mdb %s/val-000.mdb", dest, dest2);
}

Test(convert_arrays, a_limit_takes_a_part_of_each_split, .init = make_names)
{
    ConvertConfig config = convert_config(NULL, dest, 1);
    Error error = {0};
    config.synthetic = 200;
    cr_assert_eq(convert_all(&config, &error), STATUS_OK, "%s", error.message);
    config.dest = dest2;
    config.limit = 20;
    cr_assert_eq(convert_all(&config, &error), STATUS_OK, "%s", error.message);
    OpenedSplit whole[2] = {split_open(dest, "train"), split_open(dest, "val")};
    OpenedSplit part[2] = {split_open(dest2, "train"), split_open(dest2, "val")};
    for (int split = 0; split < 2; split++) {
        cr_assert_eq(dataset_count(part[split].dataset), 20);
        /* training: the first of the shuffled order; validation: every second of the 40, in order */
        for (int64_t i = 0; i < 20; i++)
            cr_assert_eq(split_record(&part[split], i).hash, split_record(&whole[split], split == 0 ? i : 2 * i).hash);
        split_close(&whole[split]);
        split_close(&part[split]);
    }
    config.limit = 21;
    Error refused = {0};
    cr_assert_eq(convert_all(&config, &refused), STATUS_USAGE, "another limit is another conversion");
}
