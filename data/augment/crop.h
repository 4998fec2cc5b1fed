/* crop.h: which part of an image a model sees. Numbers only; resize.h does the pixels. */
#ifndef DATA_AUGMENT_CROP_H
#define DATA_AUGMENT_CROP_H

#include "core/base/rng.h"
#include "data/image/image.h"
#include "data/image/resize.h"

/* The box of torchvision's and timm's random resized crop: area uniform in `scale` times the image, aspect log-uniform
 * in `ratio`; after ten boxes that do not fit, the largest centred one within the ratios. */
ImageBox crop_random(Rng *rng, int width, int height, const double scale[2], const double ratio[2]);

/* Evaluation: the shorter side becomes `side`, the longer follows truncated, and of that the centre `size` x `size`
 * (offset rounded half to even), as torchvision's Resize and CenterCrop. size <= side. */
ResizeTarget crop_centre(int width, int height, int side, int size);

#endif
