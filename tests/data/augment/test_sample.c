#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "data/image/pixel_kernels.h"
#include "data/image/pixel_ops.h"
#include "data/augment/sample.h"
#include "data/dataset/shard.h"
#include "tests/support/golden.h"
#include "tests/support/pixels.h"
#include "tests/support/statistics.h"

static Preprocess prepare(const PipelineConfig *config)
{
    Preprocess preprocess;
    Error error = {0};
    cr_assert_eq(preprocess_init(&preprocess, config, &error), STATUS_OK, "%s", error.message);
    return preprocess;
}

static Canvas canvas(int size)
{
    Canvas made;
    Error error = {0};
    cr_assert_eq(canvas_create(&made, size, &error), STATUS_OK, "%s", error.message);
    return made;
}

static char *image_bytes(const char *name, size_t *size)
{
    char path[512], *bytes;
    Error error = {0};
    snprintf(path, sizeof path, "tests/goldens/data/images/%s", name);
    cr_assert_eq(file_read(path, 1 << 24, &bytes, size, &error), STATUS_OK, "%s", error.message);
    return bytes;
}

static uint8_t *evaluate(PreprocessScratch *scratch, const char *name, int img_size)
{
    size_t size;
    char *bytes = image_bytes(name, &size);
    PipelineConfig config = test_pipeline(img_size);
    Preprocess preprocess = prepare(&config);
    Canvas made = canvas(img_size);
    Error error = {0};
    cr_assert_eq(preprocess_evaluate(&preprocess, scratch, bytes, size, &made, &error), STATUS_OK, "%s", error.message);
    free(bytes);
    free(made.spare);
    return made.pixels;
}

Test(pipeline, evaluation_equals_pillow_in_every_byte)
{
    int count;
    GoldenHash *rows = golden_hashes("eval", &count);
    Safetensors file = golden_open("data/eval");
    PreprocessScratch scratch = {0};
    cr_assert_eq(count, 12);
    for (int i = 0; i < count; i++) {
        int img_size = strncmp(rows[i].tensor, "eval384", 7) == 0 ? 384 : 224, side = rows[i].width;
        uint8_t *pixels = evaluate(&scratch, strchr(rows[i].tensor, '.') + 1, img_size);
        /* eval384_top_left_128: a part, moved together in place */
        for (int y = 0; y < side; y++) memmove(pixels + 3 * y * side, pixels + 3 * y * img_size, 3 * (size_t)side);
        if (safetensors_find(&file, rows[i].tensor)) {
            int64_t shape[3];
            uint8_t *want = golden_bytes(&file, rows[i].tensor, shape);
            for (int j = 0; j < 3 * side * side; j++)
                cr_assert_eq(pixels[j], want[j], "%s at byte %d", rows[i].tensor, j);
            free(want);
        }
        cr_assert_eq(record_hash(pixels, 3 * (size_t)side * (size_t)side), rows[i].hash, "%s", rows[i].tensor);
        free(pixels);
    }
    preprocess_scratch_free(&scratch);
    safetensors_close(&file);
    free(rows);
}

Test(pipeline, normalises_as_timm)
{
    Safetensors file = golden_open("data/normalise");
    PipelineConfig config = test_pipeline(16);
    Preprocess preprocess = prepare(&config);
    int64_t count;
    float *want = golden_floats(&file, "prefetch", &count), out[3 * 256]; /* want: (256, 3); out: (3, 256) */
    uint8_t pixels[3 * 256];
    for (int x = 0; x < 256; x++) memset(pixels + 3 * x, x, 3);
    preprocess_floats(&preprocess, pixels, out);
    for (int x = 0; x < 256; x++)
        for (int c = 0; c < 3; c++) cr_assert_eq(out[c * 256 + x], want[3 * x + c], "byte %d, channel %d", x, c);
    free(want);
    safetensors_close(&file);
}

#if defined(__x86_64__)
Test(pipeline, vector_and_portable_normalisation_agree)
{
    enum { MOST = 100 };
    float slow[MOST], fast[MOST + 8];
    if (!__builtin_cpu_supports("avx2")) return;
    for (int count = 0; count <= MOST; count++) {
        uint8_t *pixels = malloc(3 * (size_t)count + 1); /* exactly, so that a sanitizer sees what is read */
        for (int i = 0; i < 3 * count; i++) pixels[i] = (uint8_t)(37 * i + 11 * count);
        for (int c = 0; c < 3 && count > 0; c++) {
            float *out = fast + (count + c) % 8;
            pixel_kernels_portable.normalise(pixels + c, count, 123.675f, 58.395f, slow);
            pixel_kernels_avx2.normalise(pixels + c, count, 123.675f, 58.395f, out);
            cr_assert_eq(memcmp(slow, out, (size_t)count * sizeof(float)), 0, "%d values", count);
        }
        free(pixels);
    }
}
#endif

Test(pipeline, the_fill_is_the_mean_colour)
{
    PipelineConfig config = test_pipeline(16);
    Preprocess preprocess = prepare(&config);
    cr_assert(preprocess.fill[0] == 124 && preprocess.fill[1] == 116 && preprocess.fill[2] == 104);
}

typedef struct Encoded {
    unsigned char *bytes;
    size_t size;
} Encoded;

static Encoded encode(int width, int height, uint64_t seed)
{
    Encoded encoded;
    Error error = {0};
    Image image = test_image(width, height, seed);
    cr_assert_eq(image_encode_png(&image, 0, &encoded.bytes, &encoded.size, &error), STATUS_OK, "%s", error.message);
    image_free(&image);
    return encoded;
}

static void train(const PipelineConfig *config, Encoded encoded, uint64_t position, Canvas *made)
{
    Preprocess preprocess = prepare(config);
    PreprocessScratch scratch = {0};
    Error error = {0};
    SampleKey key = {1, 2, position};
    cr_assert_eq(preprocess_train(&preprocess, &scratch, encoded.bytes, encoded.size, key, made, &error), STATUS_OK,
                 "%s", error.message);
    preprocess_scratch_free(&scratch);
}

Test(pipeline, training_depends_on_its_key_alone)
{
    PipelineConfig config = test_pipeline(32);
    Encoded encoded = encode(90, 70, 1);
    Canvas a = canvas(32), b = canvas(32);
    int changed = 0;
    for (uint64_t position = 0; position < 20; position++) {
        train(&config, encoded, position, &a);
        memset(b.pixels, 77, 32 * 32 * 3);
        train(&config, encoded, position, &b);
        cr_assert_eq(memcmp(a.pixels, b.pixels, 32 * 32 * 3), 0);
        train(&config, encoded, position + 1, &b);
        changed += memcmp(a.pixels, b.pixels, 32 * 32 * 3) != 0;
    }
    cr_assert_eq(changed, 20);
    canvas_free(&a);
    canvas_free(&b);
    free(encoded.bytes);
}

/* Filter and flips are seen in what comes out: it is what one fixed filter gives for the same key, flipped or not. */
Test(pipeline, filters_and_flips_are_drawn_as_set)
{
    enum { SIDE = 8, N = 2000, BYTES = 3 * SIDE * SIDE };
    static const Interpolation FILTERS[2] = {INTERPOLATION_BILINEAR, INTERPOLATION_BICUBIC};
    PipelineConfig config = test_pipeline(SIDE), plain;
    config.aa[0] = '\0';
    config.color_jitter = 0;
    config.vflip = 0.25;
    config.scale[0] = 0.5; /* every crop is made smaller, so that the filter shows */
    plain = config;
    plain.hflip = plain.vflip = 0;
    Encoded encoded = encode(40, 30, 5);
    Canvas made = canvas(SIDE), want = canvas(SIDE);
    double seen[8] = {0}, expected[8];
    for (uint64_t position = 0; position < N; position++) {
        int matches = 0;
        train(&config, encoded, position, &made);
        for (int kind = 0; kind < 8; kind++) {
            plain.train_interpolation = FILTERS[kind / 4];
            train(&plain, encoded, position, &want);
            if (kind & 1) imageops_flip_horizontal(want.pixels, SIDE, SIDE);
            if (kind & 2) imageops_flip_vertical(want.pixels, SIDE, SIDE);
            const bool same = memcmp(made.pixels, want.pixels, BYTES) == 0;
            matches += same;
            seen[kind] += same;
        }
        cr_assert_eq(matches, 1, "position %d looks like %d of 8 kinds", (int)position, matches);
    }
    for (int kind = 0; kind < 8; kind++) expected[kind] = N * 0.5 * 0.5 * (kind & 2 ? 0.25 : 0.75);
    assert_chi_square("filters and flips", seen, expected, 8);
    canvas_free(&made);
    canvas_free(&want);
    free(encoded.bytes);
}

/* Pads with black and moves by up to the padding: every offset appears, evenly, and the pixels are the source's. */
Test(pipeline, padded_crop_moves_evenly)
{
    enum { SIDE = 16, PAD = 2, N = 2500, OFFSETS = 2 * PAD + 1 };
    PipelineConfig config = test_pipeline(SIDE);
    config.aa[0] = '\0';
    config.color_jitter = 0;
    config.hflip = 0;
    config.crop_padding = PAD;
    Encoded encoded = encode(SIDE, SIDE, 3);
    Image image = test_image(SIDE, SIDE, 3);
    Canvas made = canvas(SIDE);
    double seen[OFFSETS * OFFSETS] = {0}, want[OFFSETS * OFFSETS];
    for (uint64_t position = 0; position < N; position++) {
        int matches = 0;
        train(&config, encoded, position, &made);
        for (int offset = 0; offset < OFFSETS * OFFSETS; offset++) {
            int dy = offset / OFFSETS - PAD, dx = offset % OFFSETS - PAD, same = 1;
            for (int i = 0; i < SIDE * SIDE && same; i++) {
                int y = i / SIDE + dy, x = i % SIDE + dx;
                bool inside = y >= 0 && y < SIDE && x >= 0 && x < SIDE;
                for (int c = 0; c < 3; c++)
                    same &= made.pixels[3 * i + c] == (inside ? image.pixels[3 * (y * SIDE + x) + c] : 0);
            }
            matches += same;
            seen[offset] += same;
        }
        cr_assert_eq(matches, 1);
    }
    for (int i = 0; i < OFFSETS * OFFSETS; i++) want[i] = (double)N / (OFFSETS * OFFSETS);
    assert_chi_square("offsets", seen, want, OFFSETS * OFFSETS);
    canvas_free(&made);
    image_free(&image);
    free(encoded.bytes);
}

Test(pipeline, without_augmentation_is_the_evaluation_crop)
{
    PipelineConfig config = test_pipeline(32);
    config.no_aug = true;
    Encoded encoded = encode(90, 70, 1);
    Preprocess preprocess = prepare(&config);
    PreprocessScratch scratch = {0};
    Error error = {0};
    Canvas a = canvas(32), b = canvas(32);
    train(&config, encoded, 5, &a);
    cr_assert_eq(preprocess_evaluate(&preprocess, &scratch, encoded.bytes, encoded.size, &b, &error), STATUS_OK);
    cr_assert_eq(memcmp(a.pixels, b.pixels, 32 * 32 * 3), 0);
    float image[3 * 32 * 32], same[3 * 32 * 32];
    preprocess_floats(&preprocess, a.pixels, image);
    memcpy(same, image, sizeof image);
    for (uint64_t p = 0; p < 20; p++) preprocess_erase(&preprocess, (SampleKey){1, 1, p}, image);
    cr_assert_eq(memcmp(same, image, sizeof image), 0);
    preprocess_scratch_free(&scratch);
    canvas_free(&a);
    canvas_free(&b);
    free(encoded.bytes);
}

/* Large crops are decoded at reduced size (sample.c says why): close to the full decode, and only in training. */
Test(pipeline, reduced_decoding_stays_close)
{
    size_t size;
    char *bytes = image_bytes("large420_q75_1200x800.JPEG", &size);
    Encoded jpeg = {(unsigned char *)bytes, size}, png;
    Error error = {0};
    Image image = golden_image("large420_q75_1200x800.JPEG"); /* as PNG it cannot be decoded at reduced size */
    cr_assert_eq(image_encode_png(&image, 0, &png.bytes, &png.size, &error), STATUS_OK);
    PipelineConfig config = test_pipeline(224);
    config.aa[0] = '\0';
    config.color_jitter = 0;
    config.scale[0] = 0.7;
    Canvas reduced = canvas(224), full = canvas(224);
    double total = 0;
    for (uint64_t position = 0; position < 10; position++) {
        double sum = 0;
        train(&config, jpeg, position, &reduced);
        train(&config, png, position, &full);
        cr_assert_neq(memcmp(reduced.pixels, full.pixels, 224 * 224 * 3), 0, "not reduced");
        for (int i = 0; i < 224 * 224 * 3; i++) sum += abs(reduced.pixels[i] - full.pixels[i]);
        total += sum / (224 * 224 * 3) / 10;
    }
    cr_assert_lt(total, 2.0, "mean difference %g levels", total);
    canvas_free(&reduced);
    canvas_free(&full);
    image_free(&image);
    free(png.bytes);
    free(bytes);
}

Test(pipeline, a_broken_image_is_bad_data)
{
    size_t size;
    char *bytes = image_bytes("truncated_500x375.JPEG", &size);
    PipelineConfig config = test_pipeline(32);
    Preprocess preprocess = prepare(&config);
    PreprocessScratch scratch = {0};
    Canvas made = canvas(32);
    Error error = {0}, other = {0};
    cr_assert_eq(preprocess_evaluate(&preprocess, &scratch, bytes, size, &made, &error), STATUS_DATA);
    cr_assert_eq(preprocess_train(&preprocess, &scratch, "", 0, (SampleKey){0}, &made, &other), STATUS_DATA);
    preprocess_scratch_free(&scratch);
    canvas_free(&made);
    free(bytes);
}

Test(pipeline, refuses_impossible_settings)
{
    enum { COUNT = 6 };
    PipelineConfig bad[COUNT];
    const char *const words[COUNT] = {"interpolation: evaluation takes bilinear or bicubic",
                                      "scale: 2 must not be more than its second number, 1",
                                      "ratio: 0.75 must not be more than its second number, 0.5",
                                      "crop_padding: 33 must not be more than img_size, 32",
                                      "mixup_group: 3 is odd",
                                      "aa: 'augmix-m5'"};
    for (int i = 0; i < COUNT; i++) bad[i] = test_pipeline(32);
    bad[0].interpolation = INTERPOLATION_RANDOM;
    bad[1].scale[0] = 2;
    bad[2].ratio[1] = 0.5;
    bad[3].crop_padding = 33;
    bad[4].mixup_group = 3;
    snprintf(bad[5].aa, sizeof bad[5].aa, "augmix-m5");
    for (int i = 0; i < COUNT; i++) {
        Preprocess preprocess;
        Error error = {0};
        cr_assert_eq(preprocess_init(&preprocess, &bad[i], &error), STATUS_USAGE);
        cr_assert(strstr(error.message, words[i]), "%s", error.message);
    }
}
