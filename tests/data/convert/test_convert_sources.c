/* Every kind of source, its odd files, and what is wrong with it when something is. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/base/file.h"
#include "core/base/rng.h"
#include "data/dataset/dataset.h"
#include "data/dataset/imagenet_classes.h"
#include "data/dataset/manifest.h"
#include "data/image/resize.h"
#include "tests/support/command.h"
#include "tests/support/devkit.h"
#include "tests/support/sources.h"

static char folder[4096], tars[4096], dest[4096], dest2[4096];

static void make_names(void)
{
    snprintf(folder, sizeof folder, "%s/folder", temporary_folder());
    snprintf(tars, sizeof tars, "%s/tars", temporary_folder());
    snprintf(dest, sizeof dest, "%s/dest", temporary_folder());
    snprintf(dest2, sizeof dest2, "%s/dest2", temporary_folder());
}

static void make_folder(void)
{
    make_names();
    write_folder_source(folder);
}

static void make_tars(void)
{
    make_folder();
    write_tar_source(folder, tars);
}

static bool holds_file(const OpenedSplit *opened, const char *path, int label)
{
    char *bytes;
    size_t size;
    Error error = {0};
    bool found = false;
    cr_assert_eq(file_read(path, 1 << 24, &bytes, &size, &error), STATUS_OK, "%s", error.message);
    for (int64_t i = 0; i < dataset_count(opened->dataset); i++) {
        Record record = split_record(opened, i);
        found |= record.size == size && record.label == label && memcmp(record.bytes, bytes, size) == 0;
    }
    free(bytes);
    return found;
}

/* ---- folder */

Test(convert_sources, a_folder_keeps_the_original_bytes, .init = make_folder)
{
    convert_or_fail(folder, dest, 1);
    OpenedSplit train = split_open(dest, "train");
    cr_assert_eq(dataset_count(train.dataset), FOLDER_GOOD);
    cr_assert_str_eq(dataset_class_name(train.dataset, 0), "n02100735");
    cr_assert_str_eq(dataset_class_name(train.dataset, 1), "n02119789");
    for (int i = 1; i <= FOLDER_GOOD; i++) {
        char path[8192];
        int label = i > 3;
        snprintf(path, sizeof path, "%s/train/%s/n0%d_%d.JPEG", folder, dataset_class_name(train.dataset, label),
                 label + 1, label ? i - 3 : i);
        cr_assert(holds_file(&train, path, label), "%s is not in the data set with label %d", path, label);
    }
    split_close(&train);
    OpenedSplit val = split_open(dest, "val");
    cr_assert_eq(split_record(&val, 0).label, 0); /* in the order of the names, class first */
    cr_assert_eq(split_record(&val, 1).label, 1);
    split_close(&val);
}

Test(convert_sources, odd_files_are_counted_and_broken_ones_listed, .init = make_folder)
{
    convert_or_fail(folder, dest, 2);
    Manifest manifest = convert_manifest(dest);
    const ManifestSplit *train = manifest_split(&manifest, "train");
    cr_assert_eq(train->rejected, FOLDER_BROKEN);
    cr_assert_eq(train->stats.png, 1);
    cr_assert_eq(train->stats.jpeg, FOLDER_GOOD - 1);
    cr_assert_eq(train->stats.cmyk, 2);
    cr_assert_eq(train->stats.gray, 1);
    cr_assert_eq(train->stats.corrupt_exif, 1);
    cr_assert_eq(manifest_split(&manifest, "val")->stats.corrupt_exif, 0, "a sound EXIF block counts as damaged");
    manifest_free(&manifest);

    static const char *const REASONS[][2] = {
        {"train/n02100735/cut_off.JPEG\t", "truncated JPEG"},
        {"train/n02100735/empty.JPEG\t", "the file is empty"},
        {"train/n02119789/text.JPEG\t", "neither JPEG nor PNG"},
        {"train/n02119789/bomb.png\t", "100000 x 100000 pixels; the limit is 178956970"},
        {"train/n02119789/bomb.JPEG\t", "65535 x 65535 pixels; the limit is"}};
    char path[8192], *text;
    size_t size;
    Error error = {0};
    snprintf(path, sizeof path, "%s/rejected.tsv", dest);
    cr_assert_eq(file_read(path, 1 << 20, &text, &size, &error), STATUS_OK);
    for (int i = 0; i < FOLDER_BROKEN; i++) {
        const char *line = strstr(text, REASONS[i][0]);
        cr_assert(line, "%s is not listed in\n%s", REASONS[i][0], text);
        const char *end = strchr(line, '\n'), *reason = strstr(line, REASONS[i][1]);
        cr_assert(reason && reason < end, "%.*s", (int)(end - line), line);
    }
    free(text);
}

Test(convert_sources, strict_ends_at_the_first_broken_image, .init = make_folder)
{
    ConvertConfig config = convert_config(folder, dest, 1);
    config.strict = true;
    Error error = {0};
    cr_assert_eq(convert_all(&config, &error), STATUS_DATA);
    cr_assert(strstr(error.message, "train/n0") && strstr(error.message, "--strict"), "%s", error.message);
    run_or_fail("test ! -e %s/manifest.json", dest);
}

Test(convert_sources, decoding_finds_what_the_structure_does_not_show, .init = make_folder)
{
    /* A scan that asks for Huffman tables which are not there. */
    char path[8192], *bytes;
    size_t size;
    Error error = {0};
    snprintf(path, sizeof path, "%s/train/n02100735/n01_1.JPEG", folder);
    cr_assert_eq(file_read(path, 1 << 20, &bytes, &size, &error), STATUS_OK);
    char *scan = memmem(bytes, size, "\xff\xda", 2);
    cr_assert(scan);
    scan[6] = 0x33;
    cr_assert_eq(file_write(path, bytes, size, &error), STATUS_OK);
    free(bytes);
    convert_or_fail(folder, dest, 1);
    Manifest manifest = convert_manifest(dest);
    cr_assert_eq(manifest_split(&manifest, "train")->rejected, FOLDER_BROKEN);
    manifest_free(&manifest);
    ConvertConfig config = convert_config(folder, dest2, 1);
    config.decode = true;
    cr_assert_eq(convert_all(&config, &error), STATUS_OK, "%s", error.message);
    manifest = convert_manifest(dest2);
    cr_assert_eq(manifest_split(&manifest, "train")->rejected, FOLDER_BROKEN + 1);
    manifest_free(&manifest);
    run_or_fail("grep -q 'n01_1.JPEG.*broken JPEG: .*[Hh]uffman' %s/rejected.tsv", dest2);
}

Test(convert_sources, misplaced_files_are_named, .init = make_folder)
{
    run_or_fail("touch %s/train/loose.JPEG", folder);
    Error error = convert_refused(folder, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "train/loose.JPEG"), "%s", error.message);
    run_or_fail("rm %s/train/loose.JPEG && mkdir %s/train/n02100735/deeper", folder, folder);
    error = convert_refused(folder, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "train/n02100735/deeper"), "%s", error.message);
    run_or_fail("rmdir %s/train/n02100735/deeper && mkdir %s/val/n03", folder, folder);
    error = convert_refused(folder, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "val/n03: there is no such class in train/"), "%s", error.message);
}

Test(convert_sources, classes_are_in_the_order_of_their_bytes, .init = make_names)
{
    /* As Python's sorted(): capitals first, digits as text. */
    static const char *const NAMES[] = {"10", "9", "B", "_", "a", "a-", "a0", "\xc3\xa4"};
    enum { COUNT = sizeof NAMES / sizeof NAMES[0] };
    for (int i = 0; i < COUNT; i++) {
        run_or_fail("mkdir -p '%s/train/%s' && cp tests/goldens/data/images/full444_q95_64x48.JPEG '%s/train/%s/x'",
                    folder, NAMES[(i * 5 + 3) % COUNT], folder, NAMES[(i * 5 + 3) % COUNT]);
    }
    convert_or_fail(folder, dest, 1);
    Manifest manifest = convert_manifest(dest);
    cr_assert_eq(manifest.classes, COUNT);
    for (int i = 0; i < COUNT; i++) cr_assert_str_eq(manifest.class_names[i], NAMES[i]);
    manifest_free(&manifest);
}

Test(convert_sources, an_unknown_source_is_said_to_be_one, .init = make_names)
{
    run_or_fail("mkdir %s && touch %s/notes.txt", folder, folder);
    Error error = convert_refused(folder, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "not recognised") && strstr(error.message, "notes.txt"), "%s", error.message);
    error = convert_refused("Makefile", dest, STATUS_DATA);
    cr_assert(strstr(error.message, "give the folder in which it is"), "%s", error.message);
    run_or_fail("mkdir -p %s/train/a", folder);
    error = convert_refused(folder, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "not recognised") || strstr(error.message, "no images"), "%s", error.message);
}

/* ---- tars */

Test(convert_sources, tars_give_the_shards_of_the_unpacked_folder, .init = make_tars)
{
    convert_or_fail(folder, dest, 2);
    convert_or_fail(tars, dest2, 2);
    run_or_fail("cd %s && for f in train-*.mdb rejected.tsv; do cmp $f %s/$f || exit 1; done", dest, dest2);
}

Test(convert_sources, the_devkit_labels_and_names, .init = make_tars)
{
    convert_or_fail(tars, dest, 1);
    OpenedSplit val = split_open(dest, "val");
    cr_assert_eq(dataset_count(val.dataset), 2);
    /* Ground truth 1, 2; id 1 is n02119789, which is class 1; id 2 is n02100735, class 0. */
    cr_assert_eq(split_record(&val, 0).label, 1);
    cr_assert_eq(split_record(&val, 0).width, 67);
    cr_assert_eq(split_record(&val, 1).label, 0);
    cr_assert_str_eq(dataset_class_words(val.dataset, 0), "English setter");
    cr_assert_str_eq(dataset_class_words(val.dataset, 1), "kit fox, Vulpes macrotis");
    split_close(&val);
}

Test(convert_sources, validation_alone_has_the_classes_of_the_devkit, .init = make_tars)
{
    run_or_fail("rm %s/ILSVRC2012_img_train.tar", tars);
    convert_or_fail(tars, dest, 1);
    OpenedSplit val = split_open(dest, "val");
    cr_assert_eq(dataset_classes(val.dataset), IMAGENET_CLASSES);
    cr_assert_str_eq(dataset_class_name(val.dataset, split_record(&val, 0).label), "n02119789");
    split_close(&val);
}

static void write_devkit(int classes, int twisted, const char *truth)
{
    size_t size;
    unsigned char *meta = devkit_meta(classes, twisted, &size);
    cr_assert(meta);
    run_or_fail("rm -f %s/ILSVRC2012_devkit_t12.tar.gz", tars);
    write_file(tars, "ILSVRC2012_devkit_t12/data/meta.mat", meta, size);
    write_file(tars, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", truth, strlen(truth));
    free(meta);
}

Test(convert_sources, a_devkit_with_other_classes_is_refused, .init = make_tars)
{
    static const struct {
        int classes, twisted;
        const char *truth, *message;
    } CASES[] = {
        {IMAGENET_CLASSES, 2, "1\n2\n", "meta.mat: class 1 is n02100735, that of ILSVRC2012 is n02119789"},
        {IMAGENET_CLASSES, 1000, "1\n2\n", "meta.mat: class 999 is n03255030, that of ILSVRC2012 is n07831146"},
        {IMAGENET_CLASSES - 1, 0, "1\n2\n", "meta.mat: class 1000 is n00001740, that"},
        {10, 0, "1\n2\n", "meta.mat: class 11 is n00001740, that of ILSVRC2012 is n02125311"},
        {IMAGENET_CLASSES, 0, "1\n1001\n", "line 2 of the ground truth, '1001', is not the id of a class"},
        {IMAGENET_CLASSES, 0, "1\n2\n2\n", "holds 2 images, but there are labels for 3"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        write_devkit(CASES[i].classes, CASES[i].twisted, CASES[i].truth);
        Error error = convert_refused(tars, dest, STATUS_DATA);
        cr_assert(strstr(error.message, CASES[i].message), "%s", error.message);
    }
    write_file(tars, "ILSVRC2012_devkit_t12/data/meta.mat", "MATLAB 5.0", 10);
    Error error = convert_refused(tars, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "meta.mat: 0 classes; expected the 1000 of ILSVRC2012"), "%s", error.message);
}

/* As MATLAB's `save -v6` writes it. */
Test(convert_sources, a_devkit_need_not_be_compressed, .init = make_tars)
{
    enum { HEAD = 136, ROOM = 1 << 20 };
    size_t size;
    unsigned char *meta = devkit_meta(IMAGENET_CLASSES, 0, &size), *plain = calloc(1, HEAD + ROOM);
    uLongf length = ROOM;
    cr_assert(meta && plain);
    cr_assert_eq(uncompress(plain + HEAD, &length, meta + HEAD, size - HEAD), Z_OK);
    write_devkit(IMAGENET_CLASSES, 0, "1\n2\n");
    write_file(tars, "ILSVRC2012_devkit_t12/data/meta.mat", plain, HEAD + length);
    convert_or_fail(tars, dest, 1);
    free(meta);
    free(plain);
}

Test(convert_sources, labels_can_come_from_a_text_file, .init = make_tars)
{
    run_or_fail("cd %s && rm ILSVRC2012_devkit_t12.tar.gz && printf 'n02119789\\nn02100735\\n' >val_wnids.txt", tars);
    convert_or_fail(tars, dest, 1);
    OpenedSplit val = split_open(dest, "val");
    cr_assert_eq(split_record(&val, 0).label, 1);
    split_close(&val);
}

Test(convert_sources, validation_without_labels_is_refused, .init = make_tars)
{
    run_or_fail("cd %s && rm ILSVRC2012_devkit_t12.tar.gz", tars);
    Error error = convert_refused(tars, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "ILSVRC2012_devkit_t12.tar.gz") && strstr(error.message, "val_wnids.txt"), "%s",
              error.message);
    run_or_fail("cd %s && printf 'n02119789\\n' >val_wnids.txt", tars);
    error = convert_refused(tars, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "2 images, but there are labels for 1"), "%s", error.message);
}

Test(convert_sources, a_tar_that_was_cut_off_is_noticed_wherever, .init = make_tars)
{
    char path[8192];
    snprintf(path, sizeof path, "%s/ILSVRC2012_img_train.tar", tars);
    /* Ten spots; not the last 10 KB, where tar puts nothing but its end mark. */
    uint64_t size = file_size(path);
    Rng rng = rng_make(3, RNG_CONVERT, 0, 0);
    for (int i = 0; i < 10; i++) {
        uint64_t cut = i == 0 ? 512 : rng_below(&rng, size - 10240);
        run_or_fail("cd %s && mkdir -p cut && head -c %llu ILSVRC2012_img_train.tar >cut/train.tar", tars,
                    (unsigned long long)cut);
        char cut_folder[8192];
        snprintf(cut_folder, sizeof cut_folder, "%s/cut", tars);
        Error error = convert_refused(cut_folder, dest, STATUS_DATA);
        cr_assert(strstr(error.message, "cut/train.tar"), "%s", error.message);
    }
}

Test(convert_sources, links_are_refused_not_left_out, .init = make_tars)
{
    static const char *const ways[] = {"ln", "ln -s"}; /* a hard and a symbolic link */
    for (int i = 0; i < 2; i++) {
        run_or_fail(
            "cd %s/val/n02100735 && %s -f ILSVRC2012_val_00000002.JPEG ILSVRC2012_val_00000009.JPEG && mkdir -p "
            "%s/linked "
            "&& tar cf %s/linked/ILSVRC2012_img_val.tar ILSVRC2012_val_00000002.JPEG ILSVRC2012_val_00000009.JPEG "
            "&& cp %s/ILSVRC2012_devkit_t12.tar.gz %s/linked",
            folder, ways[i], tars, tars, tars, tars);
        char linked[4200];
        snprintf(linked, sizeof linked, "%s/linked", tars);
        Error error = convert_refused(linked, dest, STATUS_DATA);
        cr_assert(strstr(error.message, "ILSVRC2012_val_00000009.JPEG is a link to ILSVRC2012_val_00000002.JPEG"), "%s",
                  error.message);
    }
}

Test(convert_sources, the_same_name_twice_is_refused, .init = make_tars)
{
    run_or_fail("cd %s && tar rf ILSVRC2012_img_val.tar -C %s/val/n02100735 ILSVRC2012_val_00000002.JPEG", tars,
                folder);
    Error error = convert_refused(tars, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "two images named val/ILSVRC2012_val_00000002.JPEG"), "%s", error.message);
}

/* ---- names that are any bytes */

Test(convert_sources, class_names_that_are_not_utf_8_are_refused, .init = make_folder)
{
    run_or_fail(
        "cd %s && mv train/n02100735 train/\"$(printf 'caf\\351')\" && mv val/n02100735 val/\"$(printf 'caf\\351')\"",
        folder);
    Error error = convert_refused(folder, dest, STATUS_DATA);
    cr_assert(strstr(error.message, "the name of class 0, 'caf\\xE9', is not UTF-8"), "%s", error.message);
    run_or_fail("test ! -e %s/manifest.json", dest);
}

Test(convert_sources, the_list_of_rejected_images_is_text, .init = make_folder)
{
    run_or_fail("mv %s/train/n02119789/text.JPEG \"$(printf '%s/train/n02119789/\\033[31m\\351.JPEG')\"", folder,
                folder);
    convert_or_fail(folder, dest, 1);
    run_or_fail("grep -F 'train/n02119789/\\x1B[31m\\xE9.JPEG\t' %s/rejected.tsv", dest);
    run_or_fail("! LC_ALL=C grep -aP '[\\x00-\\x08\\x0b-\\x1f\\x7f-\\xff]' %s/rejected.tsv", dest);
}

/* ---- options */

Test(convert_sources, resize_makes_the_shorter_side_smaller_and_keeps_small_images, .init = make_folder)
{
    ConvertConfig config = convert_config(folder, dest, 1);
    Error error = {0};
    config.resize = 160;
    cr_assert_eq(convert_all(&config, &error), STATUS_OK, "%s", error.message);
    OpenedSplit train = split_open(dest, "train");
    char path[8192];
    snprintf(path, sizeof path, "%s/train/n02100735/n01_3.JPEG", folder); /* 200 x 150 */
    cr_assert(holds_file(&train, path, 0), "an image that is small enough has to stay as it is");
    int resized = 0;
    Image image = {0};
    for (int64_t i = 0; i < dataset_count(train.dataset); i++) {
        Record record = split_record(&train, i);
        int shorter = record.width < record.height ? record.width : record.height;
        cr_assert_leq(shorter, 160);
        cr_assert_eq(image_decode(record.bytes, record.size, &image, &error), STATUS_OK);
        cr_assert_eq(image.width, record.width);
        cr_assert_eq(image.height, record.height);
        if (shorter < 160) continue;
        resized++;
        if (record.width > 160) cr_assert(record.width == 213 || record.width == 212, "%d", record.width);
    }
    cr_assert_eq(resized, FOLDER_GOOD - 2);
    image_free(&image);
    split_close(&train);
    Manifest manifest = convert_manifest(dest);
    cr_assert_eq(manifest_split(&manifest, "train")->stats.gray, 1, "gray stays gray");
    cr_assert_eq(manifest_split(&manifest, "train")->stats.cmyk, 0, "CMYK becomes RGB");
    manifest_free(&manifest);
}

Test(convert_sources, what_resize_makes_is_the_bicubic_image_to_the_last_bit, .init = make_folder)
{
    ConvertConfig config = convert_config(folder, dest, 1);
    Error error = {0};
    config.resize = 100;
    config.encode = IMAGE_PNG; /* so that nothing hides behind a second JPEG */
    cr_assert_eq(convert_all(&config, &error), STATUS_OK, "%s", error.message);
    char path[8192], *bytes;
    size_t size;
    Image original = {0}, stored = {0};
    Resizer resizer = {0};
    snprintf(path, sizeof path, "%s/train/n02119789/n02_3.JPEG", folder); /* 333 x 500 */
    cr_assert_eq(file_read(path, 1 << 24, &bytes, &size, &error), STATUS_OK);
    cr_assert_eq(image_decode(bytes, size, &original, &error), STATUS_OK);
    ResizeSource from = {original.pixels, original.width, original.height, 3 * (ptrdiff_t)original.width};
    ResizeTarget to = {.width = 100, .height = 150, .columns = 100, .rows = 150};
    static uint8_t expected[100 * 150 * 3];
    cr_assert_eq(resize(&resizer, from, to, INTERPOLATION_BICUBIC, expected, &error), STATUS_OK);
    OpenedSplit train = split_open(dest, "train");
    int found = 0;
    for (int64_t i = 0; i < dataset_count(train.dataset); i++) {
        Record record = split_record(&train, i);
        if (record.width != 100 || record.height != 150) continue;
        cr_assert_eq(image_decode(record.bytes, record.size, &stored, &error), STATUS_OK);
        cr_assert_eq(memcmp(stored.pixels, expected, sizeof expected), 0);
        found++;
    }
    cr_assert_eq(found, 1);
    split_close(&train);
    resizer_free(&resizer);
    image_free(&original);
    image_free(&stored);
    free(bytes);
}

Test(convert_sources, class_names_can_be_given, .init = make_names)
{
    char names[8192];
    write_idx_source(folder, 50, 20);
    write_file(folder, "names.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n", 20);
    snprintf(names, sizeof names, "%s/names.txt", folder);
    ConvertConfig config = convert_config(folder, dest, 1);
    config.class_names = names;
    Error error = {0};
    cr_assert_eq(convert_all(&config, &error), STATUS_OK, "%s", error.message);
    Manifest manifest = convert_manifest(dest);
    cr_assert_str_eq(manifest.class_names[9], "j");
    manifest_free(&manifest);
    write_file(folder, "names.txt", "a\nb\n", 4);
    config.dest = dest2;
    cr_assert_eq(convert_all(&config, &error), STATUS_DATA);
    cr_assert(strstr(error.message, "2 names, but"), "%s", error.message);
}
