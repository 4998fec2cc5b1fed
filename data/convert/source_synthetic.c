/* source_synthetic.c: ten kinds of shapes, drawn with random place, size, turn, colours and noise. They prove an
 * installation where no data set is at hand: a small model learns them within a minute. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/memory.h"
#include "core/base/rng.h"
#include "data/convert/source.h"

enum { SIDE = 32, SAMPLES = 3 }; /* pixels; samples of a pixel along each axis */

static char *const SHAPES[] = {"disc", "ring",    "square",   "triangle", "plus",
                               "bars", "columns", "checkers", "diamond",  "pair of discs"};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof SHAPES[0] };

/* (u, v): in units of the shape's size, origin at its centre, v downwards. */
static bool is_inside(int shape, double u, double v)
{
    bool in_square = fabs(u) < 0.85 && fabs(v) < 0.85;
    switch (shape) {
    case 0:
        return u * u + v * v < 0.9;
    case 1:
        return u * u + v * v < 1 && u * u + v * v > 0.3;
    case 2:
        return fabs(u) < 0.8 && fabs(v) < 0.8;
    case 3:
        return v < 0.75 && v > 1.8 * fabs(u) - 1;
    case 4:
        return (fabs(u) < 0.3 && fabs(v) < 1) || (fabs(v) < 0.3 && fabs(u) < 1);
    case 5:
        return in_square && fmod(v + 2, 0.6) < 0.3;
    case 6:
        return in_square && fmod(u + 2, 0.6) < 0.3;
    case 7:
        return in_square && (fmod(u + 2, 0.84) < 0.42) != (fmod(v + 2, 0.84) < 0.42);
    case 8:
        return fabs(u) + fabs(v) < 1;
    default:
        return (u - 0.52) * (u - 0.52) + v * v < 0.21 || (u + 0.52) * (u + 0.52) + v * v < 0.21;
    }
}

typedef struct Drawing {
    int shape;
    double x, y, size, cosine, sine; /* size, x, y in pixels */
    double front[3], back[3], slope[3];
    double noise;
} Drawing;

static Drawing choose(int shape, Rng *rng)
{
    Drawing drawing = {.shape = shape};
    double turn = rng_range(rng, -0.2, 0.2), contrast = 0;
    drawing.size = rng_range(rng, 0.28, 0.45) * SIDE;
    drawing.x = rng_range(rng, drawing.size, SIDE - drawing.size);
    drawing.y = rng_range(rng, drawing.size, SIDE - drawing.size);
    drawing.cosine = cos(turn);
    drawing.sine = sin(turn);
    while (contrast < 110) { /* tell front and back apart */
        contrast = 0;
        for (int c = 0; c < 3; c++) {
            drawing.front[c] = rng_range(rng, 20, 235);
            drawing.back[c] = rng_range(rng, 20, 235);
            contrast += fabs(drawing.front[c] - drawing.back[c]);
        }
    }
    for (int c = 0; c < 3; c++) drawing.slope[c] = rng_range(rng, -0.8, 0.8);
    drawing.noise = rng_range(rng, 2, 12);
    return drawing;
}

/* The share of a pixel that the shape covers. */
static double coverage(const Drawing *drawing, int x, int y)
{
    int inside = 0;
    for (int sample = 0; sample < SAMPLES * SAMPLES; sample++) {
        double dx = (x + (sample % SAMPLES + 0.5) / SAMPLES - drawing->x) / drawing->size;
        double dy = (y + (sample / SAMPLES + 0.5) / SAMPLES - drawing->y) / drawing->size;
        inside += is_inside(drawing->shape, drawing->cosine * dx + drawing->sine * dy,
                            drawing->cosine * dy - drawing->sine * dx);
    }
    return (double)inside / (SAMPLES * SAMPLES);
}

static Status synthetic_read_image(const Source *source, const SourceItem *item, SourceImage *image, Error *error)
{
    const uint64_t *seed = source->state;
    Status status = image_reserve(&image->pixels, SIDE, SIDE, error);
    if (status) return status;
    Rng rng = rng_make(*seed, RNG_SYNTHETIC, (uint64_t)item->file, item->offset);
    Drawing drawing = choose(item->label, &rng);
    uint8_t *pixel = image->pixels.pixels;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            double share = coverage(&drawing, x, y);
            for (int c = 0; c < 3; c++) {
                double value = share * drawing.front[c] + (1 - share) * (drawing.back[c] + drawing.slope[c] * (x - y));
                value += drawing.noise * rng_normal(&rng);
                *pixel++ = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
            }
        }
    image->is_pixels = true;
    image->gray = false;
    return STATUS_OK;
}

static Status synthetic_add_split(Source *source, SourceSplitKind split, int64_t count, Error *error)
{
    Status status = STATUS_OK;
    for (int64_t i = 0; i < count && !status; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s/%08" PRId64, source_split_name(split), i);
        SourceItem item = {
            .offset = (uint64_t)i, .size = SIDE * SIDE * 3, .label = (int)(i % SHAPE_COUNT), .file = (int)split};
        status = source_add(source, split, name, &item, error);
    }
    return status;
}

Status source_open_synthetic(Source *source, int64_t train_images, uint64_t seed, Error *error)
{
    *source = (Source){.kind = "synthetic", .encode_as = IMAGE_JPEG, .read = synthetic_read_image, .free_state = free};
    snprintf(source->root, sizeof source->root, "the synthetic source");
    uint64_t *state = memory_alloc(1, sizeof *state, "a source", error);
    if (!state) return STATUS_FAILED;
    *state = seed;
    source->state = state;
    Status status = source_set_classes(source, SHAPES, SHAPE_COUNT, error);
    if (!status) status = synthetic_add_split(source, SPLIT_TRAIN, train_images, error);
    if (!status) status = synthetic_add_split(source, SPLIT_VAL, (train_images + 4) / 5, error);
    if (status) source_close(source);
    return status;
}
