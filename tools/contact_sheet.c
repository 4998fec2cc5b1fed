#include "tools/contact_sheet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "data/dataset/dataset.h"
#include "data/augment/sample.h"
#include "dist/config/config.h"

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
    PreprocessScratch scratch;
    Canvas canvas;
    Image page, image, fitted;
} Sheet;

static void paste(Image *page, const Image *image, int left, int top)
{
    for (int y = 0; y < image->height; y++)
        memcpy(page->pixels + ((size_t)(top + y) * (size_t)page->width + (size_t)left) * 3,
               image->pixels + (size_t)y * (size_t)image->width * 3, (size_t)image->width * 3);
}

/* The whole image, as large as a tile allows. */
static Status paste_stored(Sheet *sheet, const Record *record, int left, int top, Error *error)
{
    Status status = image_decode(record->bytes, record->size, &sheet->image, error);
    if (status) return status;
    int longer = sheet->image.width > sheet->image.height ? sheet->image.width : sheet->image.height;
    ResizeTarget target = {.width = sheet->image.width * TILE / longer, .height = sheet->image.height * TILE / longer};
    target.columns = target.width += target.width == 0;
    target.rows = target.height += target.height == 0;
    status = image_reserve(&sheet->fitted, target.width, target.height, error);
    if (status) return status;
    ResizeSource source = {sheet->image.pixels, sheet->image.width, sheet->image.height,
                           (ptrdiff_t)sheet->image.width * 3};
    status = resize(&sheet->scratch.resizer, source, target, INTERPOLATION_BICUBIC, sheet->fitted.pixels, error);
    if (status) return status;
    paste(&sheet->page, &sheet->fitted, left + (TILE - target.width) / 2, top + (TILE - target.height) / 2);
    return STATUS_OK;
}

static Status paste_augmented(Sheet *sheet, const Record *record, int64_t index, int left, int top, Error *error)
{
    SampleKey key = {.position = (uint64_t)index};
    Status status =
        preprocess_train(&sheet->preprocess, &sheet->scratch, record->bytes, record->size, key, &sheet->canvas, error);
    if (status) return status;
    Image tile = {.width = TILE, .height = TILE, .pixels = sheet->canvas.pixels};
    paste(&sheet->page, &tile, left, top);
    return STATUS_OK;
}

static Status draw_pair(Sheet *sheet, int number, int64_t index, Error *error)
{
    int left = GAP + number % COLUMNS * (TILE + GAP), top = GAP + number / COLUMNS * PAIR;
    Record record;
    Status status = dataset_read(sheet->reader, index, &record, error);
    if (!status) status = paste_stored(sheet, &record, left, top, error);
    if (!status) status = paste_augmented(sheet, &record, index, left, top + TILE + GAP / 2, error);
    if (status) return status;
    const char *words = dataset_class_words(sheet->dataset, (int)record.label);
    char label[256];
    snprintf(label, sizeof label, "%d %s", (int)record.label,
             words ? words : dataset_class_name(sheet->dataset, (int)record.label));
    int row = sheet->page.width * 3;
    sheet_text(sheet->page.pixels + (size_t)(top + 2 * TILE + GAP) * (size_t)row + (size_t)left * 3, row, TILE, SCALE,
               label);
    return STATUS_OK;
}

static Status draw(Sheet *sheet, Error *error)
{
    int64_t count = dataset_count(sheet->dataset), tiles = COLUMNS * PAIRS;
    if (tiles > count) tiles = count;
    int height = (int)((tiles + COLUMNS - 1) / COLUMNS) * PAIR + GAP;
    Status status = image_reserve(&sheet->page, WIDTH, height, error);
    if (status) return status;
    memset(sheet->page.pixels, GROUND, (size_t)WIDTH * (size_t)height * 3);
    for (int i = 0; i < tiles && !status; i++) status = draw_pair(sheet, i, i * count / tiles, error);
    return status;
}

static Status open_sheet(Sheet *sheet, const char *folder, Error *error)
{
    Config config;
    config_defaults(&config);
    config.pipeline.img_size = TILE;
    Error no_train = {0};
    Status status = dataset_open(&sheet->dataset, folder, "train", &no_train);
    if (status) status = dataset_open(&sheet->dataset, folder, "val", error);
    if (!status) status = dataset_reader_create(&sheet->reader, sheet->dataset, error);
    if (!status) status = preprocess_init(&sheet->preprocess, &config.pipeline, error);
    return status ? status : canvas_create(&sheet->canvas, TILE, error);
}

Status sheet_write(const char *folder, const char *path, Error *error)
{
    Sheet sheet = {0};
    unsigned char *png = NULL;
    size_t size;
    Status status = open_sheet(&sheet, folder, error);
    if (!status) status = draw(&sheet, error);
    if (!status) status = image_encode_png(&sheet.page, false, &png, &size, error);
    if (!status) status = file_write(path, png, size, error);
    free(png);
    image_free(&sheet.page);
    image_free(&sheet.image);
    image_free(&sheet.fitted);
    canvas_free(&sheet.canvas);
    preprocess_scratch_free(&sheet.scratch);
    dataset_reader_free(sheet.reader);
    dataset_close(sheet.dataset);
    return status;
}
