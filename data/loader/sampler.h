/* sampler.h: which image stands at which position of an epoch.
 *
 * A pure function of (seed, epoch, position) and of the data set's shards: nothing is stored, and a run resumes in the
 * middle of an epoch, on any number of ranks, by asking for the next position.
 *
 * Shards are shuffled; then, along that order, images are shuffled within windows of ORDER_WINDOW images (several
 * shards of ImageNet, some 7 GB), so that a cluster reads its disks nearly in order and still mixes well, since the
 * images within the shards were shuffled once and for all by the conversion. The start of the order rotates with the
 * epoch, so that windows cut elsewhere each time. A data set of no more than ORDER_WINDOW images is shuffled as a
 * whole.
 *
 * The shuffle within a window is a keyed bijection (a Feistel network over the smallest even number of bits that holds
 * the window, walked until the value falls inside), not a table: the 5 MB and the pause of a table at each epoch's
 * start are saved.
 *
 * Repeated augmentation (Hoffer et al., CVPR 2020; timm's RepeatAugSampler): each image is taken `repeats` times and
 * the epoch still has as many positions as the data set has images, so it sees 1/repeats of them. The copies fall into
 * one step (or two, at its border) but far apart, since mixup pairs neighbours: side by side at most where the step is
 * no multiple of `repeats`, and there at most once per copy.
 */
#ifndef DATA_LOADER_SAMPLER_H
#define DATA_LOADER_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>
#include "core/base/status.h"

enum { ORDER_WINDOW = 65536 };

typedef struct OrderConfig {
    uint64_t seed;
    bool shuffle;
    int repeats;  /* 0 or 1: off */
    int64_t step; /* positions per step; matters to repeats only */
} OrderConfig;

typedef struct Order {
    OrderConfig config;
    int shards;
    int64_t count;
    int64_t *begin; /* (shards + 1) first image of each shard, in file order */
    int64_t epoch;  /* of the two below */
    int *shard;     /* (shards) in this epoch's order */
    int64_t *start; /* (shards + 1) position of each, before windows */
    int64_t rotation;
} Order;

/* begin: (shards + 1) as dataset_shard_begin gives them; copied. */
Status order_create(Order *order, const OrderConfig *config, const int64_t *begin, int shards, Error *error);
void order_free(Order *order); /* accepts a zeroed one */

void order_set_epoch(Order *order, int64_t epoch); /* O(shards) */

/* The image at a position of the epoch that was set; 0 <= position < count. */
int64_t order_at(const Order *order, int64_t position);

#endif
