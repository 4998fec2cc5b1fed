/* codec.h: what image.c asks of the two formats. Private to the codecs; the rest of data/ uses image.h. */
#ifndef DATA_IMAGE_CODEC_H
#define DATA_IMAGE_CODEC_H

#include "data/image/image.h"

/* info may end as `whole` asks: false stops at the frame header, true goes on to the end of the image. */
Status jpeg_scan(const uint8_t *bytes, size_t size, bool whole, ImageInfo *info, Error *error);
Status png_scan(const uint8_t *bytes, size_t size, bool whole, ImageInfo *info, Error *error);

/* box NULL: the whole image. The rest as image_stream. */
Status jpeg_stream(const uint8_t *bytes, size_t size, const ImageBox *box, int reduction, const ImageSink *sink,
                   Error *error);
Status png_decode(const uint8_t *bytes, size_t size, Image *image, Error *error);

#endif
