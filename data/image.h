/* image.h: pixels, and the codecs between them and bytes.
 *
 * An Image is 8-bit RGB, interleaved, rows without padding: pixels (H, W, 3). It grows when needed and is reused:
 *
 *     Image image = {0};
 *     image_decode(bytes, size, &image, error);     // JPEG or PNG, told by content
 *     ...
 *     image_free(&image);
 *
 * Decoding is libjpeg's default (accurate integer DCT, fancy upsampling), as Pillow's; CMYK and YCCK with Adobe's
 * inversion are converted as Pillow converts them; grayscale is repeated; EXIF orientation is ignored, as torchvision
 * ignores it. A truncated image is an error, never half an image.
 */
#ifndef DATA_IMAGE_H
#define DATA_IMAGE_H

#include <stddef.h>
#include <stdint.h>
#include "core/status.h"

typedef struct Image {
    int width, height;
    uint8_t *pixels; /* (H, W, 3) */
    size_t capacity; /* bytes */
} Image;

typedef enum ImageFormat { IMAGE_UNKNOWN, IMAGE_JPEG, IMAGE_PNG } ImageFormat;

typedef struct ImageInfo {
    ImageFormat format;
    int width, height, components;
} ImageInfo;

/* More pixels than this are refused before anything is allocated: a header can claim 65535 x 65535. */
enum { IMAGE_MAX_PIXELS = 178956970 }; /* Pillow's limit of a decompression bomb, twice over */

Status image_reserve(Image *image, int width, int height, Error *error); /* sets the size; content undefined */
void image_free(Image *image);                                           /* accepts a zeroed image */

Status image_probe(const void *bytes, size_t size, ImageInfo *info, Error *error); /* header only */
Status image_decode(const void *bytes, size_t size, Image *image, Error *error);

/* JPEG, 4:4:4 from quality 90 up, else 4:2:0; *bytes is malloc'ed, the caller's. gray: one component, from the first
 * channel (for sources that have only one). */
Status image_encode_jpeg(const Image *image, int quality, int gray, unsigned char **bytes, size_t *size, Error *error);

#endif
