#include "data/dataset/dataset.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/memory.h"
#include "core/base/path.h"
#include "data/dataset/manifest.h"

struct Dataset {
    Manifest manifest;
    const ManifestSplit *split;
    Shard **shards;  /* (split->shard_count) */
    int64_t *begins; /* (split->shard_count + 1) first image of each shard */
};

struct DatasetReader {
    const Dataset *dataset;
    ShardReader **shards; /* opened at first use */
};

static bool larger_than_memory(const ManifestSplit *split)
{
    double bytes = 0, memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < split->shard_count; i++) bytes += (double)split->shards[i].summary.size;
    return bytes > memory;
}

static Status choose_split(Dataset *dataset, const char *folder, const char *name, Error *error)
{
    dataset->split = manifest_split(&dataset->manifest, name);
    if (!dataset->split) {
        char names[256] = "";
        for (int i = 0; i < dataset->manifest.split_count; i++)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s'%s'", i ? ", " : "",
                     dataset->manifest.splits[i].name);
        return error_set(error, STATUS_DATA, "%s: has no split '%s'; manifest.json lists %s", folder, name, names);
    }
    if (dataset->split->count == 0)
        return error_set(error, STATUS_DATA, "%s: split '%s' is empty; see rejected.tsv for why", folder, name);
    return STATUS_OK;
}

static Status open_shards(Dataset *dataset, const char *folder, Error *error)
{
    const ManifestSplit *split = dataset->split;
    bool random = larger_than_memory(split);
    dataset->shards = memory_alloc(split->shard_count, sizeof *dataset->shards, "the shards of a data set", error);
    dataset->begins = memory_alloc(split->shard_count + 1, sizeof *dataset->begins, "the shards of a data set", error);
    if (!dataset->shards || !dataset->begins) return STATUS_FAILED;
    for (int i = 0; i < split->shard_count; i++) {
        char path[PATH_SIZE];
        Status status = path_join(path, sizeof path, folder, split->shards[i].file, error);
        if (!status) status = shard_open(&dataset->shards[i], path, &split->shards[i].summary, random, error);
        if (status) return status;
        dataset->begins[i + 1] = dataset->begins[i] + split->shards[i].summary.count;
    }
    return STATUS_OK;
}

Status dataset_open(Dataset **result, const char *folder, const char *split, Error *error)
{
    *result = NULL;
    Dataset *dataset = memory_alloc(1, sizeof *dataset, "a data set", error);
    if (!dataset) return STATUS_FAILED;
    Status status = manifest_read(&dataset->manifest, folder, error);
    if (!status) status = choose_split(dataset, folder, split, error);
    if (!status) status = open_shards(dataset, folder, error);
    if (status) {
        dataset_close(dataset);
        return status;
    }
    *result = dataset;
    return STATUS_OK;
}

void dataset_close(Dataset *dataset)
{
    if (!dataset) return;
    for (int i = 0; dataset->shards && i < dataset->split->shard_count; i++) shard_close(dataset->shards[i]);
    free(dataset->shards);
    free(dataset->begins);
    manifest_free(&dataset->manifest);
    free(dataset);
}

int64_t dataset_count(const Dataset *dataset)
{
    return dataset->split->count;
}

int dataset_classes(const Dataset *dataset)
{
    return dataset->manifest.classes;
}

const char *dataset_class_name(const Dataset *dataset, int label)
{
    return dataset->manifest.class_names[label];
}

const char *dataset_class_words(const Dataset *dataset, int label)
{
    return dataset->manifest.class_words[label];
}

int dataset_shards(const Dataset *dataset)
{
    return dataset->split->shard_count;
}

int64_t dataset_shard_begin(const Dataset *dataset, int shard)
{
    return dataset->begins[shard];
}

const char *dataset_shard_file(const Dataset *dataset, int shard)
{
    return dataset->split->shards[shard].file;
}

Status dataset_reader_create(DatasetReader **result, const Dataset *dataset, Error *error)
{
    *result = NULL;
    DatasetReader *reader = memory_alloc(1, sizeof *reader, "a reader of a data set", error);
    ShardReader **shards = memory_alloc(dataset->split->shard_count, sizeof *shards, "a reader of a data set", error);
    if (!reader || !shards) {
        free(reader);
        free(shards);
        return STATUS_FAILED;
    }
    reader->dataset = dataset;
    reader->shards = shards;
    *result = reader;
    return STATUS_OK;
}

void dataset_reader_free(DatasetReader *reader)
{
    if (!reader) return;
    for (int i = 0; i < reader->dataset->split->shard_count; i++) shard_reader_free(reader->shards[i]);
    free(reader->shards);
    free(reader);
}

static int shard_of(const Dataset *dataset, int64_t index)
{
    int low = 0, high = dataset->split->shard_count;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (dataset->begins[middle] <= index)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static Status open_reader(DatasetReader *reader, int shard, Error *error)
{
    if (reader->shards[shard]) return STATUS_OK;
    return shard_reader_create(&reader->shards[shard], reader->dataset->shards[shard], error);
}

Status dataset_read(DatasetReader *reader, int64_t index, Record *record, Error *error)
{
    const Dataset *dataset = reader->dataset;
    if (index < 0 || index >= dataset->split->count)
        return error_set(error, STATUS_FAILED, "image %" PRId64 " was asked for; the split has %" PRId64, index,
                         dataset->split->count);
    int shard = shard_of(dataset, index);
    int64_t key = index - dataset->begins[shard];
    Status status = open_reader(reader, shard, error);
    if (!status) status = shard_read(reader->shards[shard], key, record, error);
    if (status) return status;
    if (record->label >= dataset->manifest.classes)
        return error_set(error, STATUS_DATA,
                         "%s: key %" PRId64 " has label %" PRId64 ", but manifest.json lists %d classes",
                         dataset->split->shards[shard].file, key, record->label, dataset->manifest.classes);
    return STATUS_OK;
}

void dataset_prefetch(DatasetReader *reader, int64_t index)
{
    Error ignored = {0}; /* dataset_read will say it */
    if (index < 0 || index >= reader->dataset->split->count) return;
    int shard = shard_of(reader->dataset, index);
    if (open_reader(reader, shard, &ignored) == STATUS_OK)
        shard_prefetch(reader->shards[shard], index - reader->dataset->begins[shard]);
}
