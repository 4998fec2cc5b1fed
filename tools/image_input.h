/* image_input.h: image files through the evaluation pipeline, for predict and trace. */
#ifndef TOOLS_IMAGE_INPUT_H
#define TOOLS_IMAGE_INPUT_H

#include "data/augment/sample.h"

typedef struct Pictures {
    Preprocess preprocess;
    PreprocessScratch scratch;
    Canvas canvas;
} Pictures;

Status pictures_create(Pictures *pictures, const PipelineConfig *config, Error *error);
void pictures_free(Pictures *pictures); /* accepts a zeroed one */

/* One file: normalised into image (3, S, S), and as bytes into pixels (S, S, 3) unless that is NULL. */
Status pictures_read(Pictures *pictures, const char *path, float *image, uint8_t *pixels, Error *error);

#endif
