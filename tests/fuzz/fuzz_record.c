/* Any bytes as what a data set consists of: a record, or a manifest. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset/manifest.h"
#include "data/dataset/shard.h"

static void read_record(const uint8_t *data, size_t size)
{
    Record record;
    Error error = {0};
    Status status = record_parse(data, size, &record, &error);
    if (status == STATUS_OK && record_hash(record.bytes, record.size) != record.hash) abort();
    /* The hash stops nearly everything: so once more with the one that fits. */
    if (status == STATUS_OK || size < RECORD_HEADER) return;
    uint8_t *copy = malloc(size);
    if (!copy) return;
    memcpy(copy, data, size);
    uint64_t hash = record_hash(data + RECORD_HEADER, size - RECORD_HEADER);
    for (int i = 0; i < 8; i++) copy[24 + i] = (uint8_t)(hash >> 8 * i);
    error = (Error){0};
    if (record_parse(copy, size, &record, &error) == STATUS_OK && (record.width <= 0 || record.height <= 0)) abort();
    free(copy);
}

static void read_manifest(const uint8_t *data, size_t size)
{
    Manifest manifest;
    Error error = {0};
    if (manifest_parse(&manifest, (const char *)data, size, "manifest.json", &error) != STATUS_OK) return;
    for (int i = 0; i < manifest.split_count; i++) {
        int64_t count = 0;
        for (int j = 0; j < manifest.splits[i].shard_count; j++) count += manifest.splits[i].shards[j].summary.count;
        if (count != manifest.splits[i].count) abort();
    }
    manifest_free(&manifest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 1 && data[0] == '{')
        read_manifest(data, size);
    else
        read_record(data, size);
    return 0;
}
