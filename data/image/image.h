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
 * inversion are converted as Pillow converts them; grayscale is repeated; alpha is dropped; EXIF orientation is
 * ignored, as torchvision ignores it. A truncated image is an error, never half an image.
 */
#ifndef DATA_IMAGE_IMAGE_H
#define DATA_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/base/status.h"

typedef struct Image {
    int width, height;
    uint8_t *pixels; /* (H, W, 3) */
    size_t capacity; /* bytes */
} Image;

typedef enum ImageFormat { IMAGE_UNKNOWN, IMAGE_JPEG, IMAGE_PNG } ImageFormat;

typedef struct ImageInfo {
    ImageFormat format;
    int width, height, components; /* components: 1 gray, 3 colour, 4 CMYK or (PNG) with alpha */
    bool corrupt_exif;             /* image_check only; harmless: t2t reads no EXIF */
} ImageInfo;

/* More pixels than this are refused before anything is allocated: a header can claim 65535 x 65535. */
enum { IMAGE_MAX_PIXELS = 178956970 }; /* Pillow's limit of a decompression bomb, twice over */

/* Refuses a size of zero or more than IMAGE_MAX_PIXELS. */
Status image_check_size(int64_t width, int64_t height, Error *error);
Status image_reserve(Image *image, int width, int height, Error *error); /* sets the size; content undefined */
void image_free(Image *image);                                           /* accepts a zeroed image */

/* Header only: format, size, components. */
Status image_probe(const void *bytes, size_t size, ImageInfo *info, Error *error);

/* The whole structure without decoding: every marker or chunk up to the end of the image, which must be there; about
 * 10 us per 100 KB. Finds truncation, not flipped bits inside a JPEG scan. */
Status image_check(const void *bytes, size_t size, ImageInfo *info, Error *error);

Status image_decode(const void *bytes, size_t size, Image *image, Error *error);

typedef struct ImageBox {
    int left, top, width, height;
} ImageBox;

/* Takes rows as they are decoded, a few at a time, so that they need not all lie in memory. */
typedef struct ImageSink {
    void *context;
    /* First: `covered` is where the rows lie in an image `reduction` times smaller than the stored one. */
    Status (*begin)(void *context, ImageBox covered, int reduction, Error *error);
    /* Then, from the top: the next `count` rows of covered.width pixels, 1 .. IMAGE_STRIP of them. They are the sink's
     * to read until it returns. */
    void (*take)(void *context, const uint8_t *const rows[], int count);
    /* Optional: memory for the next row, for a sink that keeps rows as they are. All rows go there if the codec can
     * write them as they are wanted: a JPEG in gray or colour whose box is as wide as what is decoded. Else all are
     * given to `take`. */
    uint8_t *(*place)(void *context);
} ImageSink;

enum { IMAGE_STRIP = 8 };

ImageSink image_sink(Image *image); /* keeps the rows in `image` */

/* Decodes little more than a crop needs, and gives it to a sink.
 *
 * box: in pixels of the stored image, inside it. reduction: 1, 2, 4 or 8 asks for an image that many times smaller (the
 * DCT does it: about the box average); PNG stays as it is. The sink is told which reduction it has become and which
 * part of the image of ceil(W / reduction) x ceil(H / reduction) pixels it gets: the whole box, rounded outwards. At
 * reduction 1 that is the box, and the pixels are those of image_decode, exactly. Rows below the box are not read, so a
 * truncation there goes unnoticed. scratch: memory for a format that cannot be decoded in part. After an error the sink
 * may have had some rows. */
Status image_stream(const void *bytes, size_t size, ImageBox box, int reduction, Image *scratch, const ImageSink *sink,
                    Error *error);

/* JPEG, 4:4:4 from quality 90 up, else 4:2:0; *bytes is malloc'ed, the caller's. gray: one component, from the first
 * channel (for sources that have only one). */
Status image_encode_jpeg(const Image *image, int quality, int gray, unsigned char **bytes, size_t *size, Error *error);

/* PNG, without loss; *bytes is malloc'ed, the caller's. gray: as above. */
Status image_encode_png(const Image *image, int gray, unsigned char **bytes, size_t *size, Error *error);

#endif
