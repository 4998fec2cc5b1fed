/* sample.h: the bytes of one image file -> the pixels that a model is fed.
 *
 * Evaluation: resize the shorter side to floor(img_size / crop_pct), centre crop, normalise.
 * Training, in preprocess_pair: decode -> random resized crop (or pad and crop) -> flips -> RandAugment or colour jitter ->
 * mixup or cutmix, on bytes -> normalise -> random erasing. The order is that of timm with its prefetching loader.
 *
 *     Preprocess preprocess;                             // shared by threads, read-only
 *     preprocess_init(&preprocess, &config, error);
 *     PreprocessScratch scratch = {0};                   // one per thread
 *     Canvas canvas = {0};
 *     canvas_create(&canvas, config.img_size, error);
 *     preprocess_evaluate(&preprocess, &scratch, bytes, size, &canvas, error);   // canvas.pixels: (S, S, 3)
 *     preprocess_floats(&preprocess, canvas.pixels, out);                        // out: (3, S, S)
 */
#ifndef DATA_AUGMENT_SAMPLE_H
#define DATA_AUGMENT_SAMPLE_H

#include "data/image/image.h"
#include "data/augment/erase.h"
#include "data/augment/mix.h"
#include "data/augment/augment.h"
#include "data/augment/randaugment.h"
#include "data/image/resize.h"

typedef struct Preprocess {
    PipelineConfig config;
    RandAugment policy;
    float shift[3],
        scale[3]; /* 255 mean, 255 std: normalised is (x - shift) / scale, with the roundings of timm's loader */
    GaussianTable normal;
    uint8_t fill[3]; /* what geometric operations leave outside the image: the mean colour */
} Preprocess;

typedef struct PreprocessScratch { /* grows to the largest image met, then allocates no more */
    Image image;                   /* of a format that cannot be decoded in part */
    Resizer resizer;
} PreprocessScratch;

/* What every random choice of one image is keyed by. */
typedef struct SampleKey {
    uint64_t seed, epoch, position;
} SampleKey;

Status canvas_create(Canvas *canvas, int size, Error *error); /* square */
void canvas_free(Canvas *canvas);                             /* accepts a zeroed one */

/* STATUS_USAGE names the setting that cannot be. */
Status preprocess_init(Preprocess *preprocess, const PipelineConfig *config, Error *error);
void preprocess_scratch_free(PreprocessScratch *scratch); /* accepts a zeroed one */

/* Both fill canvas->pixels; the canvas has the size img_size. STATUS_DATA when the image cannot be decoded. */
Status preprocess_evaluate(const Preprocess *preprocess, PreprocessScratch *scratch, const void *bytes, size_t size,
                           Canvas *canvas, Error *error);
/* Up to the pixels that are mixed. */
Status preprocess_train(const Preprocess *preprocess, PreprocessScratch *scratch, const void *bytes, size_t size,
                        SampleKey key, Canvas *canvas, Error *error);

/* pixels: (S, S, 3) -> out: (3, S, S) */
void preprocess_floats(const Preprocess *preprocess, const uint8_t *pixels, float *out);
void preprocess_erase(const Preprocess *preprocess, SampleKey key, float *image); /* (3, S, S), in place */

typedef struct TrainImage { /* one of the two that may be mixed with each other */
    SampleKey key;
    Mix mix;           /* with the other one; lam 1: not mixed */
    const void *bytes; /* of the file; NULL: not wanted at all */
    size_t size;
    float *out; /* (3, S, S); NULL: wanted only as the other's partner */
} TrainImage;

/* What is drawn for `own` when it may be mixed with `partner`; `group` counts the groups of an epoch that mixup_mode
 * batch draws once for. */
Mix preprocess_draw_mix(const Preprocess *preprocess, SampleKey own, SampleKey partner, uint64_t group);

/* All of training's pipeline, for two images. STATUS_DATA: images[*broken] cannot be decoded; nothing is written then,
 * and the same call with another file in its place gives the same result for the other image. */
Status preprocess_pair(const Preprocess *preprocess, PreprocessScratch *scratch, Canvas canvases[2],
                       const TrainImage images[2], int *broken, Error *error);

#endif
