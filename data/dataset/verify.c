#include "data/dataset/verify.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/base/path.h"
#include "data/dataset/manifest.h"

typedef struct Verify {
    const char *folder;
    const VerifyOptions *options;
    Manifest manifest;
    DatasetStats stats[MAX_DATA_SPLITS]; /* of what was found */
    pthread_mutex_t lock;                /* guards what follows, and the stats */
    int next_shard;
    VerifyCounts counts;
    Status status; /* of the machinery, not of the data */
    Error error;
} Verify;

/* Tells a problem; anything but STATUS_DATA, as no memory, ends the whole. */
static void tell(Verify *verify, const Error *why)
{
    pthread_mutex_lock(&verify->lock);
    if (why->status == STATUS_DATA) {
        verify->counts.problems++;
        if (verify->options->found) verify->options->found(verify->options->context, why->message);
    } else if (!verify->status) {
        verify->status = why->status;
        verify->error = *why;
    }
    pthread_mutex_unlock(&verify->lock);
}

static void count_image(Verify *verify)
{
    pthread_mutex_lock(&verify->lock);
    verify->counts.images++;
    if (verify->options->progress) verify->options->progress(verify->options->context, &verify->counts);
    pthread_mutex_unlock(&verify->lock);
}

static Status check_image(const Verify *verify, const Record *record, Image *image, ImageInfo *info, Error *error)
{
    Status status = image_check(record->bytes, record->size, info, error);
    if (status) return status;
    if (info->format != record->format || info->width != record->width || info->height != record->height)
        return error_set(error, STATUS_DATA, "the record says %d x %d pixels, its image %d x %d", record->width,
                         record->height, info->width, info->height);
    if (record->label >= verify->manifest.classes)
        return error_set(error, STATUS_DATA, "label %" PRId64 ", but manifest.json lists %d classes", record->label,
                         verify->manifest.classes);
    return verify->options->decode ? image_decode(record->bytes, record->size, image, error) : STATUS_OK;
}

static void check_records(Verify *verify, const ManifestShard *shard, ShardReader *reader, DatasetStats *stats)
{
    Image image = {0};
    for (int64_t key = 0; key < shard->summary.count; key++) {
        Error why = {0};
        Record record;
        ImageInfo info = {0};
        Status status = shard_read(reader, key, &record, &why);
        if (!status) {
            status = check_image(verify, &record, &image, &info, &why);
            if (status) error_add(&why, "  in %s/%s, key %" PRId64, verify->folder, shard->file, key);
        }
        if (status)
            tell(verify, &why);
        else
            dataset_stats_count(stats, (int)record.label, record.size, &info);
        count_image(verify);
    }
    image_free(&image);
}

/* A file that is not the one that was written cannot be read through LMDB, which trusts the numbers in it. Its records
 * begin with their magic on even offsets; those that do not keep what they say are where the damage is. */
static void find_damage(const char *path, Error *error)
{
    enum { TOLD = 3 };
    Error ignored = {0};
    char *bytes;
    size_t size;
    int damaged = 0;
    if (file_read(path, SIZE_MAX - 1, &bytes, &size, &ignored)) return;
    for (char *at = bytes; (at = memmem(at, size - (size_t)(at - bytes), "T2TR", 4)); at += 2) {
        size_t offset = (size_t)(at - bytes), left = size - offset, length = RECORD_HEADER;
        if (offset % 2 || left < RECORD_HEADER) continue;
        for (int i = 0; i < 4; i++) length += (size_t)(uint8_t)at[20 + i] << 8 * i;
        Error why = {0};
        Record record;
        if (length > left || record_parse(at, length, &record, &why) == STATUS_OK) continue;
        if (++damaged <= TOLD) error_add(error, "  at offset %zu: %s", offset, why.message);
    }
    if (damaged > TOLD) error_add(error, "  and %d more damaged records", damaged - TOLD);
    if (!damaged) error_add(error, "  the damage is outside the records");
    free(bytes);
}

static Status check_hash(const char *path, const ManifestShard *shard, Error *error)
{
    char hash[33] = "";
    Status status = shard_check_file(path, &shard->summary, error);
    if (!status) status = shard_hash_file(path, hash, error);
    if (status || strcmp(hash, shard->summary.hash) == 0) return status;
    error_set(error, STATUS_DATA, "%s: its bytes have hash %s, but manifest.json says %s; copy it again", path, hash,
              shard->summary.hash);
    find_damage(path, error);
    return STATUS_DATA;
}

static Status check_shard(Verify *verify, const ManifestShard *shard, DatasetStats *stats, Error *error)
{
    char path[PATH_SIZE];
    Shard *opened = NULL;
    ShardReader *reader = NULL;
    Status status = path_join(path, sizeof path, verify->folder, shard->file, error);
    if (!status) status = check_hash(path, shard, error);
    if (!status) status = shard_open(&opened, path, &shard->summary, false, error);
    if (!status) status = shard_reader_create(&reader, opened, error);
    if (!status) check_records(verify, shard, reader, stats);
    shard_reader_free(reader);
    shard_close(opened);
    return status;
}

/* The next shard of all splits; NULL when there is none left. */
static const ManifestShard *next_shard(Verify *verify, int *split)
{
    pthread_mutex_lock(&verify->lock);
    int index = verify->next_shard++;
    bool stop = verify->status;
    pthread_mutex_unlock(&verify->lock);
    for (*split = 0; *split < verify->manifest.split_count && !stop; ++*split) {
        const ManifestSplit *present = &verify->manifest.splits[*split];
        if (index < present->shard_count) return &present->shards[index];
        index -= present->shard_count;
    }
    return NULL;
}

static void *work(void *context)
{
    Verify *verify = context;
    const ManifestShard *shard;
    int split;
    while ((shard = next_shard(verify, &split))) {
        Error error = {0};
        DatasetStats stats;
        Status status = dataset_stats_create(&stats, verify->manifest.classes, &error);
        if (!status) status = check_shard(verify, shard, &stats, &error);
        if (status) tell(verify, &error);
        if (!stats.per_class) continue;
        pthread_mutex_lock(&verify->lock);
        dataset_stats_add(&verify->stats[split], &stats);
        pthread_mutex_unlock(&verify->lock);
        dataset_stats_free(&stats);
    }
    return NULL;
}

/* Only where no shard had anything to tell, for then this says nothing new. */
static void compare_stats(Verify *verify)
{
    for (int i = 0; i < verify->manifest.split_count && verify->counts.problems == 0; i++) {
        const DatasetStats *said = &verify->manifest.splits[i].stats, *found = &verify->stats[i];
        bool same = memcmp(said->sides, found->sides, sizeof said->sides) == 0 && said->bytes == found->bytes &&
                    memcmp(said->per_class, found->per_class, (size_t)said->classes * sizeof *said->per_class) == 0;
        Error why = {0};
        if (same) continue;
        error_set(&why, STATUS_DATA, "%s/manifest.json: the counts of split %s are not those of its records",
                  verify->folder, verify->manifest.splits[i].name);
        tell(verify, &why);
    }
}

static Status run_threads(Verify *verify, Error *error)
{
    int threads = verify->options->threads, started = 0;
    pthread_t *others = memory_alloc(threads, sizeof *others, "the threads", error);
    if (!others) return STATUS_FAILED;
    while (started < threads - 1 && pthread_create(&others[started], NULL, work, verify) == 0) started++;
    work(verify);
    while (started > 0) pthread_join(others[--started], NULL);
    free(others);
    return STATUS_OK;
}

Status dataset_verify(const char *folder, const VerifyOptions *options, VerifyCounts *counts, Error *error)
{
    Verify verify = {.folder = folder, .options = options};
    if (options->threads < 1) return error_set(error, STATUS_USAGE, "%d threads; at least 1", options->threads);
    Status status = manifest_read(&verify.manifest, folder, error);
    if (status) return status;
    pthread_mutex_init(&verify.lock, NULL);
    for (int i = 0; i < verify.manifest.split_count && !status; i++) {
        verify.counts.total += verify.manifest.splits[i].count;
        status = dataset_stats_create(&verify.stats[i], verify.manifest.classes, error);
    }
    if (!status) status = run_threads(&verify, error);
    if (!status) compare_stats(&verify);
    if (!status && verify.status) *error = verify.error, status = verify.status;
    if (!status && verify.counts.problems)
        status = error_set(error, STATUS_DATA, "%s: %" PRId64 " problem%s", folder, verify.counts.problems,
                           verify.counts.problems == 1 ? "" : "s");
    *counts = verify.counts;
    for (int i = 0; i < verify.manifest.split_count; i++) dataset_stats_free(&verify.stats[i]);
    pthread_mutex_destroy(&verify.lock);
    manifest_free(&verify.manifest);
    return status;
}
