/* contact_sheet.h: a contact sheet: images of a data set with their classes, for a person to look at. */
#ifndef TOOLS_CONTACT_SHEET_H
#define TOOLS_CONTACT_SHEET_H

#include "data/augment/augment.h"

/* Writes a PNG: pairs of rows of the training split (or of what split there is), images as they are stored and, below,
 * as the training of `pipeline` shows them to the model in its first epoch: cropped, augmented, mixed with the neighbour,
 * erased. seed: the run's. */
Status sheet_write(const char *dataset, const PipelineConfig *pipeline, uint64_t seed, const char *path, Error *error);

/* The text in capitals of 3 x 5 cells, each `scale` pixels wide and high, cut at `width` pixels; pixels: (H, row/3,
 * 3). */
enum { GLYPH_WIDTH = 3, GLYPH_HEIGHT = 5 };
void sheet_text(unsigned char *pixels, int row_bytes, int width, int scale, const char *text);

#endif
