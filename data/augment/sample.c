#include "data/augment/sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "data/augment/crop.h"
#include "data/augment/color_jitter.h"
#include "data/image/pixel_kernels.h"
#include "data/image/pixel_ops.h"

Status canvas_create(Canvas *canvas, int size, Error *error)
{
    int64_t bytes = 3 * (int64_t)size * size;
    *canvas = (Canvas){.width = size, .height = size};
    canvas->pixels = memory_alloc_aligned(64, bytes, 1, "the pixels of an image", error);
    canvas->spare = memory_alloc_aligned(64, bytes, 1, "the pixels of an image", error);
    if (canvas->pixels && canvas->spare) return STATUS_OK;
    canvas_free(canvas);
    return STATUS_FAILED;
}

void canvas_free(Canvas *canvas)
{
    free(canvas->pixels);
    free(canvas->spare);
    *canvas = (Canvas){0};
}

Status preprocess_init(Preprocess *preprocess, const PipelineConfig *config, Error *error)
{
    *preprocess = (Preprocess){.config = *config};
    Status status = augment_check(config, error);
    if (!status) status = randaugment_parse(&preprocess->policy, config->aa, error);
    if (status) return status;
    gaussian_table(&preprocess->normal);
    for (int c = 0; c < 3; c++) {
        preprocess->shift[c] = (float)(config->mean[c] * 255);
        preprocess->scale[c] = (float)(config->std[c] * 255);
        preprocess->fill[c] = (uint8_t)fmin(255.0, rint(255.0 * config->mean[c]));
    }
    return STATUS_OK;
}

void preprocess_scratch_free(PreprocessScratch *scratch)
{
    image_free(&scratch->image);
    resizer_free(&scratch->resizer);
}

/* An image that is resized while it is decoded. */
typedef struct Fit {
    PreprocessScratch *scratch;
    Canvas *canvas;
    Interpolation filter;
    int side; /* 0: all of it on the canvas; else its centre, when the shorter side is `side` pixels */
    bool mirror;
} Fit;

static Status fit_begin(void *context, ImageBox covered, int reduction, Error *error)
{
    const Fit *fit = context;
    const int size = fit->canvas->width, width = covered.width, height = covered.height;
    (void)reduction;
    ResizeTarget target = {.width = size, .height = size, .columns = size, .rows = size};
    if (fit->side > 0) target = crop_centre(width, height, fit->side, size);
    target.mirror = fit->mirror;
    return resize_begin(&fit->scratch->resizer, width, height, target, fit->filter, fit->canvas->pixels, error);
}

static void fit_take(void *context, const uint8_t *const rows[], int count)
{
    const Fit *fit = context;
    resize_take(&fit->scratch->resizer, rows, count);
}

static Status fit_image(Fit fit, const void *bytes, size_t size, ImageBox box, int reduction, Error *error)
{
    const ImageSink sink = {.context = &fit, .begin = fit_begin, .take = fit_take};
    return image_stream(bytes, size, box, reduction, &fit.scratch->image, &sink, error);
}

static Status fit_centre(Fit fit, const void *bytes, size_t size, Error *error)
{
    ImageInfo info;
    Status status = image_probe(bytes, size, &info, error);
    return status ? status : fit_image(fit, bytes, size, (ImageBox){0, 0, info.width, info.height}, 1, error);
}

Status preprocess_evaluate(const Preprocess *preprocess, PreprocessScratch *scratch, const void *bytes, size_t size,
                           Canvas *canvas, Error *error)
{
    const PipelineConfig *config = &preprocess->config;
    const int side = (int)floor(config->img_size / config->crop_pct);
    return fit_centre((Fit){scratch, canvas, config->interpolation, .side = side}, bytes, size, error);
}

static Interpolation choose_filter(Interpolation filter, Rng *rng)
{
    bool cubic = rng_uniform(rng) >= 0.5;
    if (filter != INTERPOLATION_RANDOM) return filter;
    return cubic ? INTERPOLATION_BICUBIC : INTERPOLATION_BILINEAR;
}

/* A crop that is to shrink by 2 or more is decoded at a half, a quarter or an eighth of its size, which the DCT does
 * for next to nothing, as long as it keeps at least the pixels that the model gets. The result differs from the full
 * decode by a level or two here and there, which is far less than the augmentation that follows; evaluation does not do
 * it. */
static int choose_reduction(ImageBox box, int size)
{
    int reduction = 1;
    while (reduction < 8 && box.width / (2 * reduction) >= size && box.height / (2 * reduction) >= size) reduction *= 2;
    return reduction;
}

static Status resized_crop(const Preprocess *preprocess, PreprocessScratch *scratch, const void *bytes, size_t size,
                           Rng *rng, bool mirror, Canvas *canvas, Error *error)
{
    const PipelineConfig *config = &preprocess->config;
    ImageInfo info;
    Status status = image_probe(bytes, size, &info, error);
    if (status) return status;
    ImageBox box = crop_random(rng, info.width, info.height, config->scale, config->ratio);
    Interpolation filter = choose_filter(config->train_interpolation, rng);
    return fit_image((Fit){scratch, canvas, filter, .mirror = mirror}, bytes, size, box,
                     choose_reduction(box, config->img_size), error);
}

/* Small-image recipes (CIFAR): a black border, then a crop of the original size. */
static Status padded_crop(const Preprocess *preprocess, PreprocessScratch *scratch, const void *bytes, size_t size,
                          Rng *rng, bool mirror, Canvas *canvas, Error *error)
{
    const PipelineConfig *config = &preprocess->config;
    const int side = config->img_size, pad = config->crop_padding;
    int dy = (int)rng_below(rng, 2 * (uint64_t)pad + 1) - pad, dx = (int)rng_below(rng, 2 * (uint64_t)pad + 1) - pad;
    Interpolation filter = choose_filter(config->train_interpolation, rng);
    Status status = fit_centre((Fit){scratch, canvas, filter, .side = side}, bytes, size, error);
    if (status) return status;
    const size_t row = 3 * (size_t)side;
    memset(canvas->spare, 0, row * (size_t)side);
    int from = dx > 0 ? dx : 0, to = dx < 0 ? -dx : 0, columns = side - abs(dx);
    for (int y = 0; y < side; y++) {
        if (y + dy < 0 || y + dy >= side || columns <= 0) continue;
        memcpy(canvas->spare + (size_t)y * row + 3 * (size_t)to,
               canvas->pixels + (size_t)(y + dy) * row + 3 * (size_t)from, 3 * (size_t)columns);
    }
    uint8_t *keep = canvas->pixels;
    canvas->pixels = canvas->spare;
    canvas->spare = keep;
    if (mirror) imageops_flip_horizontal(canvas->pixels, side, side);
    return STATUS_OK;
}

static Rng key_rng(SampleKey key, RngPurpose purpose)
{
    return rng_make(key.seed, purpose, key.epoch, key.position);
}

static void augment(const Preprocess *preprocess, SampleKey key, Canvas *canvas)
{
    const PipelineConfig *config = &preprocess->config;
    if (preprocess->policy.layers > 0) {
        AugmentStep steps[AUGMENT_MAX_LAYERS];
        Rng rng = key_rng(key, RNG_AUGMENT);
        int count = randaugment_sample(&preprocess->policy, &rng, config->train_interpolation, steps);
        for (int i = 0; i < count; i++) augment_apply(&steps[i], preprocess->fill, canvas);
    } else if (config->color_jitter > 0.0) {
        Rng rng = key_rng(key, RNG_JITTER);
        ColorJitter jitter = color_jitter_sample(&rng, config->color_jitter);
        color_jitter_apply(&jitter, canvas->pixels, (int64_t)canvas->width * canvas->height);
    }
}

/* Vertical flips are rare, mirroring is not: that is done by the resizer on the way. */
static Status decode_crop_flip(const Preprocess *preprocess, PreprocessScratch *scratch, const void *bytes, size_t size,
                               SampleKey key, Canvas *canvas, Error *error)
{
    const PipelineConfig *config = &preprocess->config;
    Rng crops = key_rng(key, RNG_CROP), flips = key_rng(key, RNG_FLIP);
    bool mirror = rng_uniform(&flips) < config->hflip, turn = rng_uniform(&flips) < config->vflip;
    Status status = config->crop_padding > 0
                        ? padded_crop(preprocess, scratch, bytes, size, &crops, mirror, canvas, error)
                        : resized_crop(preprocess, scratch, bytes, size, &crops, mirror, canvas, error);
    if (!status && turn) imageops_flip_vertical(canvas->pixels, canvas->width, canvas->height);
    return status;
}

Status preprocess_train(const Preprocess *preprocess, PreprocessScratch *scratch, const void *bytes, size_t size,
                        SampleKey key, Canvas *canvas, Error *error)
{
    if (preprocess->config.no_aug) return preprocess_evaluate(preprocess, scratch, bytes, size, canvas, error);
    Status status = decode_crop_flip(preprocess, scratch, bytes, size, key, canvas, error);
    if (!status) augment(preprocess, key, canvas);
    return status;
}

/* Rows first .. first+rows-1: pixels (rows, S, 3) -> their place in out. */
static void normalise_rows(const Preprocess *preprocess, const uint8_t *pixels, int first, int rows, float *out)
{
    const int64_t size = preprocess->config.img_size;
    for (int c = 0; c < 3; c++)
        pixel_kernels()->normalise(pixels + c, rows * size, preprocess->shift[c], preprocess->scale[c],
                                   out + (c * size + first) * size);
}

void preprocess_floats(const Preprocess *preprocess, const uint8_t *pixels, float *out)
{
    normalise_rows(preprocess, pixels, 0, preprocess->config.img_size, out);
}

/* Mixes and normalises a few rows at a time, which stay in the first cache in between. */
static void mix_and_normalise(const Preprocess *preprocess, const Canvas *canvas, const uint8_t *partner,
                              const Mix *mix, float *out)
{
    enum { STRIP = 8 };
    const int size = canvas->width;
    for (int first = 0; first < size; first += STRIP) {
        int rows = size - first < STRIP ? size - first : STRIP;
        int64_t at = 3 * (int64_t)first * size;
        const Mix part = mix_rows(mix, first, rows);
        const uint8_t *pixels = canvas->pixels + at;
        bool mixed = mix->lam < 1.0 && (!part.cutmix || part.top < part.bottom);
        if (mixed) mix_pixels(&part, rows, size, pixels, partner + at, canvas->spare);
        normalise_rows(preprocess, mixed ? canvas->spare : pixels, first, rows, out);
    }
}

void preprocess_erase(const Preprocess *preprocess, SampleKey key, float *image)
{
    const PipelineConfig *config = &preprocess->config;
    if (config->no_aug || config->reprob <= 0.0) return;
    EraseBox boxes[ERASE_MAX_COUNT];
    Rng rng = key_rng(key, RNG_ERASE);
    int count = erase_sample(&rng, config->img_size, config->reprob, config->recount, boxes);
    for (int i = 0; i < count; i++)
        erase_fill(&preprocess->normal, &rng, image, config->img_size, boxes[i], config->remode);
}

/* Who is mixed with whom never depends on ranks: timm mixes position i of a loader's batch with its mirror image, which
 * would; here the two images of a pair are neighbours in the global batch. Order being random, that is the same in
 * distribution. What is drawn is keyed by group (batch mode), by the pair's first position (pair) or by position. */
Mix preprocess_draw_mix(const Preprocess *preprocess, SampleKey own, SampleKey partner, uint64_t group)
{
    const PipelineConfig *config = &preprocess->config;
    if (config->mixup_off_epoch > 0 && own.epoch >= (uint64_t)config->mixup_off_epoch) return (Mix){.lam = 1.0};
    uint64_t drawn_by = own.position;
    if (config->mixup_mode == MIX_BATCH) drawn_by = group;
    if (config->mixup_mode == MIX_PAIR && partner.position < own.position) drawn_by = partner.position;
    Rng rng = rng_make(own.seed, RNG_MIX, own.epoch, drawn_by);
    return mix_sample(config, &rng, config->img_size);
}

Status preprocess_pair(const Preprocess *preprocess, PreprocessScratch *scratch, Canvas canvases[2],
                       const TrainImage images[2], int *broken, Error *error)
{
    for (int i = 0; i < 2; i++) {
        const TrainImage *image = &images[i];
        if (!image->bytes) continue;
        *broken = i;
        Status status =
            preprocess_train(preprocess, scratch, image->bytes, image->size, image->key, &canvases[i], error);
        if (status) return status;
    }
    for (int i = 0; i < 2; i++) {
        const TrainImage *image = &images[i];
        if (!image->out) continue;
        mix_and_normalise(preprocess, &canvases[i], canvases[1 - i].pixels, &image->mix, image->out);
        preprocess_erase(preprocess, image->key, image->out);
    }
    return STATUS_OK;
}
