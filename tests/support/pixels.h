/* pixels.h: images, small data sets and golden bytes for the tests of data/. */
#ifndef TESTS_SUPPORT_PIXELS_H
#define TESTS_SUPPORT_PIXELS_H

#include "core/model/safetensors.h"
#include "data/image/image.h"
#include "data/augment/augment.h"

/* A U8 tensor and its shape (3 numbers, padded with 1); malloc'ed; a missing name fails the test. */
uint8_t *golden_bytes(const Safetensors *file, const char *name, int64_t shape[3]);

/* The rows of tests/goldens/data/hashes.tsv for one file; malloc'ed. */
typedef struct GoldenHash {
    char tensor[96];
    int height, width;
    double argument; /* NAN: none */
    uint64_t hash;   /* XXH3-64 of the pixels */
} GoldenHash;
GoldenHash *golden_hashes(const char *file, int *count);
Image golden_image(const char *name); /* decodes tests/goldens/data/images/<name> */

/* Smooth colour with noise on it, a function of `seed` alone; the caller's to free. */
Image test_image(int width, int height, uint64_t seed);

enum { TEST_CLASSES = 10 };
/* Writes a data set of one training split: `count` JPEGs of 40 .. 100 pixels a side in shards of `per_shard`; image i
 * has label i % TEST_CLASSES. corrupt >= 0: that image's bytes are no image. */
void test_dataset(const char *folder, int count, int per_shard, int corrupt);

/* The defaults of a training: timm's for ImageNet, with the T2T-ViT recipe's augmentation. */
PipelineConfig test_pipeline(int img_size);

#endif
