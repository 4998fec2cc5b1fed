#include "tools/heat_map.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"

enum { TILE_GAP = 4, PAGE_GROUND = 24 };

Status tile_page_create(TilePage *page, int side, int columns, int tiles, Error *error)
{
    int rows = (tiles + columns - 1) / columns;
    *page = (TilePage){.side = side, .columns = columns};
    int64_t width = columns * (int64_t)(side + TILE_GAP) + TILE_GAP,
            height = rows * (int64_t)(side + TILE_GAP) + TILE_GAP;
    Status status = image_check_size(width, height, error);
    if (!status) status = image_reserve(&page->image, (int)width, (int)height, error);
    if (!status) memset(page->image.pixels, PAGE_GROUND, (size_t)width * (size_t)height * 3);
    return status;
}

void tile_page_free(TilePage *page)
{
    image_free(&page->image);
    *page = (TilePage){0};
}

Status tile_page_write(const TilePage *page, const char *path, Error *error)
{
    unsigned char *png = NULL;
    size_t size;
    Status status = image_encode_png(&page->image, false, &png, &size, error);
    if (!status) status = file_write(path, png, size, error);
    free(png);
    return status;
}

static uint8_t *tile_row(TilePage *page, int tile, int y)
{
    size_t top = (size_t)(tile / page->columns * (page->side + TILE_GAP) + TILE_GAP + y);
    size_t left = (size_t)(tile % page->columns * (page->side + TILE_GAP) + TILE_GAP);
    return page->image.pixels + (top * (size_t)page->image.width + left) * 3;
}

void tile_page_photo(TilePage *page, int tile, const uint8_t *photo)
{
    size_t row = (size_t)page->side * 3;
    for (int y = 0; y < page->side; y++) memcpy(tile_row(page, tile, y), photo + (size_t)y * row, row);
}

/* Where pixel `at` of `side` falls among `count` values: the two neighbours and the second one's share. */
typedef struct Between {
    int low, high;
    float share;
} Between;

static Between between(int at, int side, int count, bool smooth)
{
    float place = ((float)at + 0.5f) * (float)count / (float)side;
    if (!smooth) return (Between){(int)place, (int)place, 0.0f};
    place = place < 0.5f ? 0.0f : place - 0.5f;
    int low = (int)place < count ? (int)place : count - 1, high = low + 1 < count ? low + 1 : low;
    return (Between){low, high, place - (float)low};
}

static float value_at(const HeatMap *map, Between y, Between x)
{
    const float *low = map->values + (long)y.low * map->cols * map->step;
    const float *high = map->values + (long)y.high * map->cols * map->step;
    float above = low[x.low * map->step] * (1 - x.share) + low[x.high * map->step] * x.share;
    float below = high[x.low * map->step] * (1 - x.share) + high[x.high * map->step] * x.share;
    return above * (1 - y.share) + below * y.share;
}

/* From black over violet and red to light yellow: brightness rises evenly, also for the colour-blind and in print. */
static void colour(float share, uint8_t rgb[3])
{
    static const uint8_t stops[][3] = {{0, 0, 4},     {40, 11, 84},   {101, 21, 110}, {159, 42, 99},
                                       {212, 72, 66}, {245, 125, 21}, {250, 193, 39}, {252, 255, 164}};
    enum { LAST = sizeof stops / sizeof stops[0] - 1 };
    float place = share <= 0 ? 0 : share >= 1 ? LAST : share * LAST;
    int low = place < LAST ? (int)place : LAST - 1;
    for (int c = 0; c < 3; c++)
        rgb[c] = (uint8_t)((float)stops[low][c] + (place - (float)low) * ((float)stops[low + 1][c] - stops[low][c]));
}

void tile_page_draw(TilePage *page, int tile, const HeatMap *map)
{
    float least = INFINITY, most = -INFINITY;
    for (int i = 0; i < map->rows * map->cols; i++) {
        least = fminf(least, map->values[(long)i * map->step]);
        most = fmaxf(most, map->values[(long)i * map->step]);
    }
    float factor = most > least ? 1 / (most - least) : 0;
    for (int y = 0; y < page->side; y++) {
        uint8_t *to = tile_row(page, tile, y);
        Between row = between(y, page->side, map->rows, map->smooth);
        for (int x = 0; x < page->side; x++, to += 3) {
            Between column = between(x, page->side, map->cols, map->smooth);
            colour((value_at(map, row, column) - least) * factor, to);
            if (!map->photo) continue;
            const uint8_t *photo = map->photo + ((size_t)y * (size_t)page->side + (size_t)x) * 3;
            for (int c = 0; c < 3; c++) to[c] = (uint8_t)((2 * to[c] + photo[c]) / 3);
        }
    }
}
