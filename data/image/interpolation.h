/* interpolation.h: how pixels are found between pixels. */
#ifndef DATA_IMAGE_INTERPOLATION_H
#define DATA_IMAGE_INTERPOLATION_H

/* INTERPOLATION_RANDOM: one of the others, drawn for each image. */
typedef enum Interpolation { INTERPOLATION_RANDOM, INTERPOLATION_BILINEAR, INTERPOLATION_BICUBIC } Interpolation;

#endif
