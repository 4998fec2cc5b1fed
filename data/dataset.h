/* dataset.h: a converted data set, for reading.
 *
 * A data set is a folder: `manifest.json` (written last, so a data set without it is not finished) and, per split,
 * LMDB files of one map each (`train-000.mdb` ...). manifest.json names splits, classes, per-shard counts, sizes and
 * content hashes. Images are numbered 0 .. count-1 through a split, shard after shard.
 *
 * A Dataset is shared by all threads and is read-only; each thread has its own DatasetReader (LMDB's transactions are
 * per thread). Records point into the map and are valid until the Dataset is closed.
 */
#ifndef DATA_DATASET_H
#define DATA_DATASET_H

#include <stddef.h>
#include <stdint.h>
#include "core/status.h"

typedef struct Dataset Dataset;
typedef struct DatasetReader DatasetReader;

typedef struct Record {
    int64_t label;
    int width, height;
    uint64_t hash; /* XXH3-64 of the bytes */
    const void *bytes;
    size_t size;
} Record;

/* Opens one split ("train" or "val"): reads the manifest, checks each shard's size before mapping it. */
Status dataset_open(Dataset **dataset, const char *folder, const char *split, Error *error);
void dataset_close(Dataset *dataset); /* accepts NULL; readers first */

int64_t dataset_count(const Dataset *dataset);
int dataset_classes(const Dataset *dataset);
const char *dataset_class_name(const Dataset *dataset, int label);
int dataset_shards(const Dataset *dataset);
int64_t dataset_shard_begin(const Dataset *dataset, int shard); /* first image; shard = shards gives count */

Status dataset_reader_create(DatasetReader **reader, const Dataset *dataset, Error *error);
void dataset_reader_free(DatasetReader *reader); /* accepts NULL */

/* Checks the hash: a record that lies is STATUS_DATA and names shard and key. */
Status dataset_read(DatasetReader *reader, int64_t index, Record *record, Error *error);

#endif
