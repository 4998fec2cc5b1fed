#include "tools/contact_sheet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "data/dataset/dataset.h"
#include "data/augment/sample.h"

enum {
    COLUMNS = 8,
    PAIRS = 3, /* of rows: stored, augmented */
    TILE = 144,
    GAP = 6,
    SCALE = 2,
    TEXT = GLYPH_HEIGHT * SCALE + 4,
    WIDTH = COLUMNS * (TILE + GAP) + GAP,
    PAIR = 2 * (TILE + GAP) + TEXT,
    GROUND = 40
};

typedef struct Sheet {
    Dataset *dataset;
    DatasetReader *reader;
    Preprocess preprocess;
    uint64_t seed;
    PreprocessScratch scratch;
    Canvas canvases[2];
    float *floats[2]; /* (3, S, S): of two neighbours */
    Image page, image, fitted;
} Sheet;

static void paste(Image *page, const Image *image, int left, int top)
{
    for (int y = 0; y < image->height; y++)
        memcpy(page->pixels + ((size_t)(top + y) * (size_t)page->width + (size_t)left) * 3,
               image->pixels + (size_t)y * (size_t)image->width * 3, (size_t)image->width * 3);
}

/* The whole of sheet->image, as large as a tile allows. */
static Status paste_fitted(Sheet *sheet, int left, int top, Error *error)
{
    int longer = sheet->image.width > sheet->image.height ? sheet->image.width : sheet->image.height;
    ResizeTarget target = {.width = sheet->image.width * TILE / longer, .height = sheet->image.height * TILE / longer};
    target.columns = target.width += target.width == 0;
    target.rows = target.height += target.height == 0;
    Status status = image_reserve(&sheet->fitted, target.width, target.height, error);
    if (status) return status;
    ResizeSource source = {sheet->image.pixels, sheet->image.width, sheet->image.height,
                           (ptrdiff_t)sheet->image.width * 3};
    status = resize(&sheet->scratch.resizer, source, target, INTERPOLATION_BICUBIC, sheet->fitted.pixels, error);
    if (status) return status;
    paste(&sheet->page, &sheet->fitted, left + (TILE - target.width) / 2, top + (TILE - target.height) / 2);
    return STATUS_OK;
}

/* What the model is fed, (3, S, S), back to bytes: what lies beyond them, as noise does, is cut off. */
static Status floats_to_image(Sheet *sheet, const float *floats, Error *error)
{
    const Preprocess *fed = &sheet->preprocess;
    const int size = sheet->preprocess.config.img_size;
    Status status = image_reserve(&sheet->image, size, size, error);
    for (int i = 0; !status && i < 3 * size * size; i++) {
        int channel = i % 3;
        float value = floats[channel * size * size + i / 3] * fed->scale[channel] + fed->shift[channel];
        sheet->image.pixels[i] = value < 0 ? 0 : value > 255 ? 255 : (uint8_t)(value + 0.5f);
    }
    return status;
}

/* Two neighbours through all of training's pipeline, each the other's partner where they are mixed. */
static Status augment(Sheet *sheet, const Record records[2], const int64_t indices[2], int count, Error *error)
{
    TrainImage images[2];
    int broken;
    for (int i = 0; i < 2; i++)
        images[i] = (TrainImage){.key = {.seed = sheet->seed, .position = (uint64_t)indices[i]}, .mix = {.lam = 1}};
    for (int i = 0; i < count; i++) {
        images[i].bytes = records[i].bytes;
        images[i].size = records[i].size;
        images[i].out = sheet->floats[i];
        if (count == 2)
            images[i].mix = preprocess_draw_mix(&sheet->preprocess, images[i].key, images[1 - i].key,
                                                (uint64_t)indices[0]); /* each pair a draw of its own */
    }
    return preprocess_pair(&sheet->preprocess, &sheet->scratch, sheet->canvases, images, &broken, error);
}

static void write_label(Sheet *sheet, int class, int left, int top)
{
    const char *words = dataset_class_words(sheet->dataset, class);
    char label[256];
    snprintf(label, sizeof label, "%d %s", class, words ? words : dataset_class_name(sheet->dataset, class));
    int row = sheet->page.width * 3;
    sheet_text(sheet->page.pixels + (size_t)top * (size_t)row + (size_t)left * 3, row, TILE, SCALE, label);
}

static Status draw_tile(Sheet *sheet, int number, const Record *record, const float *floats, Error *error)
{
    int left = GAP + number % COLUMNS * (TILE + GAP), top = GAP + number / COLUMNS * PAIR;
    Status status = image_decode(record->bytes, record->size, &sheet->image, error);
    if (!status) status = paste_fitted(sheet, left, top, error);
    if (!status) status = floats_to_image(sheet, floats, error);
    if (!status) status = paste_fitted(sheet, left, top + TILE + GAP / 2, error);
    if (!status) write_label(sheet, (int)record->label, left, top + 2 * TILE + GAP);
    return status;
}

/* The tiles `number` and, if it is one of them, the one after. */
static Status draw_two(Sheet *sheet, int number, int64_t tiles, Error *error)
{
    Record records[2];
    int64_t indices[2] = {0, 0}, images = dataset_count(sheet->dataset);
    int count = number + 1 < tiles ? 2 : 1;
    Status status = STATUS_OK;
    for (int i = 0; i < count && !status; i++) {
        indices[i] = (number + i) * images / tiles;
        status = dataset_read(sheet->reader, indices[i], &records[i], error);
    }
    if (!status) status = augment(sheet, records, indices, count, error);
    for (int i = 0; i < count && !status; i++)
        status = draw_tile(sheet, number + i, &records[i], sheet->floats[i], error);
    return status;
}

static Status draw(Sheet *sheet, Error *error)
{
    int64_t count = dataset_count(sheet->dataset), tiles = COLUMNS * PAIRS;
    if (tiles > count) tiles = count;
    int height = (int)((tiles + COLUMNS - 1) / COLUMNS) * PAIR + GAP;
    Status status = image_reserve(&sheet->page, WIDTH, height, error);
    if (status) return status;
    memset(sheet->page.pixels, GROUND, (size_t)WIDTH * (size_t)height * 3);
    for (int i = 0; i < tiles && !status; i += 2) status = draw_two(sheet, i, tiles, error);
    return status;
}

static Status open_sheet(Sheet *sheet, const char *folder, const PipelineConfig *pipeline, Error *error)
{
    Error no_train = {0};
    const int64_t floats = 3 * (int64_t)pipeline->img_size * pipeline->img_size;
    Status status = dataset_open(&sheet->dataset, folder, "train", &no_train);
    if (status) status = dataset_open(&sheet->dataset, folder, "val", error);
    if (!status) status = dataset_reader_create(&sheet->reader, sheet->dataset, error);
    if (!status) status = preprocess_init(&sheet->preprocess, pipeline, error);
    for (int i = 0; i < 2 && !status; i++) {
        status = canvas_create(&sheet->canvases[i], pipeline->img_size, error);
        sheet->floats[i] = memory_alloc(floats, sizeof(float), "an image", error);
        if (!sheet->floats[i]) status = STATUS_FAILED;
    }
    return status;
}

Status sheet_write(const char *folder, const PipelineConfig *pipeline, uint64_t seed, const char *path, Error *error)
{
    Sheet sheet = {.seed = seed};
    unsigned char *png = NULL;
    size_t size;
    Status status = open_sheet(&sheet, folder, pipeline, error);
    if (!status) status = draw(&sheet, error);
    if (!status) status = image_encode_png(&sheet.page, false, &png, &size, error);
    if (!status) status = file_write(path, png, size, error);
    free(png);
    image_free(&sheet.page);
    image_free(&sheet.image);
    image_free(&sheet.fitted);
    for (int i = 0; i < 2; i++) {
        canvas_free(&sheet.canvases[i]);
        free(sheet.floats[i]);
    }
    preprocess_scratch_free(&sheet.scratch);
    dataset_reader_free(sheet.reader);
    dataset_close(sheet.dataset);
    return status;
}
