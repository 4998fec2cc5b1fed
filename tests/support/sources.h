/* sources.h: small sources of images for tests, and conversions of them. */
#ifndef TESTS_SUPPORT_SOURCES_H
#define TESTS_SUPPORT_SOURCES_H

#include "data/image.h"

/* IDX files of gray images, 10 wide, 8 high; each image carries its number in its brightness pattern, plainly enough to
 * survive JPEG. */
void write_idx_source(const char *folder, int train, int val);
int idx_image_number(const Image *image);
int idx_label(int number); /* 0 .. 9 */

/* Converts with default options but for the number of shards; a failure fails the test. */
void convert_or_fail(const char *source, const char *dest, int shards);

#endif
