/* sources.h: small sources of images for tests, and conversions of them. */
#ifndef TESTS_SUPPORT_SOURCES_H
#define TESTS_SUPPORT_SOURCES_H

#include <stddef.h>
#include "data/convert/convert.h"
#include "data/dataset/dataset.h"
#include "data/dataset/manifest.h"
#include "data/image/image.h"

/* IDX files of gray images, 10 wide, 8 high; each image carries its number in its brightness pattern, plainly enough to
 * survive JPEG. */
void write_idx_source(const char *folder, int train, int val);
int idx_image_number(const Image *image);
int idx_label(int number); /* 0 .. 9 */

/* A folder of two classes, n02100735 and n02119789, from tests/goldens/data/images: train has 7 good images (a CMYK and a YCCK one,
 * a PNG named .JPEG, a gray one) and 5 broken ones (cut off, empty, text, a header of 100,000 x 100,000, one of 65,535
 * x 65,535), val 2; one has damaged EXIF data. */
void write_folder_source(const char *folder);
enum { FOLDER_GOOD = 7, FOLDER_BROKEN = 5, FOLDER_VAL = 2 };

/* The same images as ILSVRC2012 distributes its own: tar of tars, tar, and a devkit whose ids are not in the order of
 * the WordNet ids. `folder` has to be there already. */
void write_tar_source(const char *folder, const char *tars);

void write_file(const char *folder, const char *name, const void *bytes, size_t size); /* makes folders as needed */
void run_or_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));       /* a shell command */

/* Default options but for source, destination and number of shards. */
ConvertConfig convert_config(const char *source, const char *dest, int shards);
/* All of a conversion, in this process. */
Status convert_all(const ConvertConfig *config, Error *error);
void convert_or_fail(const char *source, const char *dest, int shards);
Error convert_refused(const char *source, const char *dest, Status expected); /* fails the test unless it ends so */

/* Looking at what was made; each fails the test when it cannot. */
Manifest convert_manifest(const char *path);
typedef struct OpenedSplit {
    Dataset *dataset;
    DatasetReader *reader;
} OpenedSplit;
OpenedSplit split_open(const char *path, const char *split);
void split_close(OpenedSplit *opened);
Record split_record(const OpenedSplit *opened, int64_t index);

#endif
