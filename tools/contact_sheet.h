/* contact_sheet.h: a contact sheet: images of a data set with their classes, for a person to look at. */
#ifndef TOOLS_CONTACT_SHEET_H
#define TOOLS_CONTACT_SHEET_H

#include "core/base/status.h"

/* Writes a PNG: pairs of rows of the training split (or of what split there is), images as they are stored and, below,
 * as the published recipe's augmentation shows them to the model. */
Status sheet_write(const char *dataset, const char *path, Error *error);

/* The text in capitals of 3 x 5 cells, each `scale` pixels wide and high, cut at `width` pixels; pixels: (H, row/3,
 * 3). */
enum { GLYPH_WIDTH = 3, GLYPH_HEIGHT = 5 };
void sheet_text(unsigned char *pixels, int row_bytes, int width, int scale, const char *text);

#endif
