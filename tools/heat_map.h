/* heat_map.h: numbers as colours: tiles on a page, which becomes a PNG. */
#ifndef TOOLS_HEAT_MAP_H
#define TOOLS_HEAT_MAP_H

#include "data/image/image.h"

/* `tiles` squares of `side` pixels, `columns` of them in a row, with gaps; the page is the caller's to free. */
typedef struct TilePage {
    Image image;
    int side, columns;
} TilePage;

Status tile_page_create(TilePage *page, int side, int columns, int tiles, Error *error);
void tile_page_free(TilePage *page); /* accepts a zeroed one */
Status tile_page_write(const TilePage *page, const char *path, Error *error);

/* The map (rows, cols), its floats `step` apart, fills tile number `tile`: its least value black, its largest light
 * yellow. photo (side, side, 3), or NULL, shows through. smooth: values are interpolated, else each is a rectangle. */
typedef struct HeatMap {
    const float *values;
    int rows, cols, step;
    const uint8_t *photo;
    bool smooth;
} HeatMap;

void tile_page_draw(TilePage *page, int tile, const HeatMap *map);
void tile_page_photo(TilePage *page, int tile, const uint8_t *photo); /* the photo (side, side, 3) alone */

#endif
