/* dataset.h: a converted data set, for reading.
 *
 * A data set is a folder: `manifest.json` (manifest.h; written last, so a data set without it is not finished) and, per
 * split, LMDB files of one map each (shard.h: `train-000.mdb` ...). Images are numbered 0 .. count-1 through a split,
 * shard after shard. The training split was shuffled over all classes when it was converted; the validation split is in
 * the source's order.
 *
 * A Dataset is shared by all threads and is read-only; each thread has its own DatasetReader (LMDB's transactions are
 * per thread). Records point into the map and are valid until the Dataset is closed.
 */
#ifndef DATA_DATASET_DATASET_H
#define DATA_DATASET_DATASET_H

#include <stddef.h>
#include <stdint.h>
#include "core/base/status.h"
#include "data/dataset/shard.h"

typedef struct Dataset Dataset;
typedef struct DatasetReader DatasetReader;

/* Opens one split ("train" or "val"): reads the manifest, checks each shard's size before mapping it. */
Status dataset_open(Dataset **dataset, const char *folder, const char *split, Error *error);
void dataset_close(Dataset *dataset); /* accepts NULL; readers first */

int64_t dataset_count(const Dataset *dataset); /* at least 1 */
int dataset_classes(const Dataset *dataset);
const char *dataset_class_name(const Dataset *dataset, int label);
const char *dataset_class_words(const Dataset *dataset, int label); /* NULL when unknown */
int dataset_shards(const Dataset *dataset);
int64_t dataset_shard_begin(const Dataset *dataset, int shard);    /* first image; shard = shards gives count */
const char *dataset_shard_file(const Dataset *dataset, int shard); /* its name in the folder */

Status dataset_reader_create(DatasetReader **reader, const Dataset *dataset, Error *error);
void dataset_reader_free(DatasetReader *reader); /* accepts NULL */

/* Checks hash and label: a record that lies is STATUS_DATA and names shard and key. */
Status dataset_read(DatasetReader *reader, int64_t index, Record *record, Error *error);

/* Asks the kernel to fetch an image that will be read soon; returns at once. */
void dataset_prefetch(DatasetReader *reader, int64_t index);

#endif
