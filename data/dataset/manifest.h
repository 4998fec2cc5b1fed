/* manifest.h: what a data set says about itself: DATASET/manifest.json, written last.
 *
 *     {"format": "t2t dataset", "version": 1,
 *      "source": "folder", "fingerprint": "<XXH3-128 of source list and options>",
 *      "options": {"seed": 0, "resize": 0, "quality": 95},
 *      "classes": [{"name": "n01440764", "words": "tench, Tinca tinca"}, ...],
 *      "splits": {"train": {"count": ..., "rejected": ..., "tally": {...},
 *                           "shards": [{"file": "train-000.mdb", "count": ..., "size": ..., "xxh3_128": "..."}, ...]},
 *                 "val": {...}}}
 *
 * Nothing in it depends on time, place or machine, so equal conversions are equal files. Every number read from it is
 * checked before it is used.
 */
#ifndef DATA_DATASET_MANIFEST_H
#define DATA_DATASET_MANIFEST_H

#include <jansson.h>

#include "data/dataset/shard.h"

enum { MAX_CLASSES = 1 << 20, SIDE_BINS = 12 };

/* Counts over a split, or over one shard of it. */
typedef struct DatasetStats {
    int classes;
    int64_t *per_class;            /* (classes) */
    int64_t sides[SIDE_BINS];      /* images by shorter side: see dataset_stats_side_bound */
    int64_t bytes;                 /* of all images */
    int64_t jpeg, png, gray, cmyk; /* by content */
    int64_t corrupt_exif;
} DatasetStats;

Status dataset_stats_create(DatasetStats *stats, int classes, Error *error);
void dataset_stats_free(DatasetStats *stats); /* accepts a zeroed one */
void dataset_stats_count(DatasetStats *stats, int label, size_t size, const ImageInfo *info);
void dataset_stats_add(DatasetStats *total, const DatasetStats *part);
int dataset_stats_side_bound(
    int bin); /* bin holds sides below this and not below the one before; INT_MAX for the last */
json_t *dataset_stats_to_json(const DatasetStats *stats);
Status dataset_stats_from_json(DatasetStats *stats, json_t *json, int classes, const char *name, Error *error);

typedef struct ManifestShard {
    char file[64]; /* a plain name inside the data set's folder */
    ShardSummary summary;
} ManifestShard;

typedef struct ManifestSplit {
    char name[16];
    int64_t count, rejected;
    DatasetStats stats;
    ManifestShard *shards;
    int shard_count;
} ManifestSplit;

enum { MAX_DATA_SPLITS = 3 };

typedef struct Manifest {
    char source[16];
    char fingerprint[33];
    uint64_t seed;
    int resize, quality;
    int classes;
    char **class_names; /* (classes) */
    char **class_words; /* (classes), each NULL when unknown */
    ManifestSplit splits[MAX_DATA_SPLITS];
    int split_count;
} Manifest;

Status manifest_read(Manifest *manifest, const char *folder, Error *error);
/* The parser alone; `name` is for messages. */
Status manifest_parse(Manifest *manifest, const char *text, size_t size, const char *name, Error *error);
Status manifest_write(const Manifest *manifest, const char *folder, Error *error); /* atomic */
void manifest_free(Manifest *manifest);                                            /* accepts a zeroed one */
const ManifestSplit *manifest_split(const Manifest *manifest, const char *name);   /* NULL when there is none */

json_t *manifest_shard_to_json(const ManifestShard *shard);
Status manifest_shard_from_json(ManifestShard *shard, json_t *json, const char *name, Error *error);

#endif
