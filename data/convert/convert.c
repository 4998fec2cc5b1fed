#include "data/convert/convert.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/base/path.h"
#include "core/base/printable.h"
#include "data/convert/convert_lock.h"
#include "data/convert/convert_plan.h"

struct Convert {
    ConvertConfig config;
    Source source;
    Plan plan;
    ConvertLock folder; /* held by the first process, for all */
    bool done;

    /* while running */
    pthread_mutex_t lock; /* guards what follows */
    int next_shard;       /* of this process's */
    ConvertProgress progress;
    bool cancelled; /* read without the lock */
    Status status;
    Error error; /* the first one */
};

void convert_defaults(ConvertConfig *config)
{
    *config = (ConvertConfig){.shard_size = 1 << 30, .quality = 95, .threads = 1, .ranks = 1};
}

static Status check_config(const ConvertConfig *config, Error *error)
{
    if (config->quality < 1 || config->quality > 100)
        return error_set(error, STATUS_USAGE, "quality %d; 1 to 100 are possible", config->quality);
    if (config->shards < 0 || config->shard_size < 1)
        return error_set(error, STATUS_USAGE, "the number and the size of shards must be positive");
    if (config->threads < 1) return error_set(error, STATUS_USAGE, "%d threads; at least 1", config->threads);
    if (config->resize != 0 && (config->resize < 8 || config->resize > 65500))
        return error_set(error, STATUS_USAGE, "resize %d; 8 to 65500 are possible", config->resize);
    return STATUS_OK;
}

static Status check_shards(const Manifest *manifest, const char *dest, Error *error)
{
    for (int i = 0; i < manifest->split_count; i++)
        for (int j = 0; j < manifest->splits[i].shard_count; j++) {
            const ManifestShard *shard = &manifest->splits[i].shards[j];
            char path[PATH_SIZE];
            Status status = path_join(path, sizeof path, dest, shard->file, error);
            if (status) return status;
            if (shard_check_file(path, &shard->summary, error) == STATUS_OK) continue;
            return error_add(error, "  hint: or remove %s and run the same command again", dest);
        }
    return STATUS_OK;
}

/* DEST may hold nothing, an interrupted conversion of the same plan, or the finished one. */
static Status look_at_dest(Convert *convert, Error *error)
{
    const char *dest = convert->config.dest;
    char path[PATH_SIZE];
    Status status = path_join(path, sizeof path, dest, "manifest.json", error);
    if (status || !file_exists(path)) return status;
    Manifest manifest;
    status = manifest_read(&manifest, dest, error);
    if (status) return status;
    convert->done = strcmp(manifest.fingerprint, convert->plan.fingerprint) == 0;
    if (convert->done) {
        status = check_shards(&manifest, dest, error);
    } else {
        error_set(error, STATUS_USAGE, "%s: holds a finished data set of another source or with other options", dest);
        status = error_add(error, "  hint: convert into another folder, or remove this one first");
    }
    manifest_free(&manifest);
    return status;
}

/* ---- what an interrupted attempt, or a finished one, has left */

static bool is_left_over(const char *name)
{
    const char *end = strrchr(name, '.');
    return strstr(name, ".json.tmp.") || (end && (strcmp(end, ".json") == 0 || strcmp(end, ".mdb") == 0));
}

static bool is_temporary(const char *name)
{
    return strncmp(name, "manifest.json.tmp.", 18) == 0 || strncmp(name, "rejected.tsv.tmp.", 17) == 0;
}

static void remove_files(const char *path, bool (*chosen)(const char *name))
{
    DIR *folder = opendir(path);
    if (!folder) return;
    for (struct dirent *entry; (entry = readdir(folder));)
        if (chosen(entry->d_name)) unlinkat(dirfd(folder), entry->d_name, 0);
    closedir(folder);
}

/* With the lock held, and the manifest there. What cannot be removed does no harm. */
static void sweep(Convert *convert)
{
    remove_files(convert->folder.folder, is_left_over);
    remove_files(convert->config.dest, is_temporary);
    convert_lock_release(&convert->folder);
}

static Status sweep_finished(Convert *convert, Error *error)
{
    char path[PATH_SIZE];
    Error ignored = {0}; /* the data set is whole: who may not write there, or comes second, leaves it */
    Status status = path_join(path, sizeof path, convert->config.dest, ".partial", error);
    if (!status && access(path, W_OK) == 0 &&
        convert_lock_take(&convert->folder, convert->config.dest, &ignored) == STATUS_OK)
        sweep(convert);
    return status;
}

/* Only the first process takes the lock. */
static Status enter_dest(Convert *convert, Error *error)
{
    Status status = look_at_dest(convert, error);
    if (status) return status;
    if (convert->config.rank != 0) return convert->done ? status : convert_make_folder(convert->config.dest, error);
    if (convert->done) return sweep_finished(convert, error);
    status = convert_lock_take(&convert->folder, convert->config.dest, error);
    if (!status) status = look_at_dest(convert, error); /* another conversion may have ended meanwhile */
    if (!status && convert->done) sweep(convert);
    return status;
}

/* A manifest is JSON, which has no place for other bytes. */
static Status check_class_names(const Source *source, const char *file, Error *error)
{
    for (int i = 0; i < source->classes; i++) {
        if (is_utf8(source->class_names[i])) continue;
        error_set(error, STATUS_DATA, "%s: the name of class %d, '%s', is not UTF-8", file ? file : source->root, i,
                  source->class_names[i]);
        return error_add(error, "  hint: convert it (iconv -t UTF-8, convmv for folders), or rename the class");
    }
    return STATUS_OK;
}

Status convert_create(Convert **result, const ConvertConfig *config, Error *error)
{
    *result = NULL;
    Status status = check_config(config, error);
    if (status) return status;
    Convert *convert = memory_alloc(1, sizeof *convert, "a conversion", error);
    if (!convert) return STATUS_FAILED;
    convert->config = *config;
    pthread_mutex_init(&convert->lock, NULL);
    status = config->synthetic ? source_open_synthetic(&convert->source, config->synthetic, config->seed, error)
                               : source_open(&convert->source, config->source, error);
    if (!status && config->class_names) status = source_read_class_names(&convert->source, config->class_names, error);
    if (!status) status = check_class_names(&convert->source, config->class_names, error);
    if (!status) status = plan_create(&convert->plan, &convert->source, config, error);
    if (!status) status = enter_dest(convert, error);
    if (status) {
        convert_free(convert);
        return status;
    }
    *result = convert;
    return STATUS_OK;
}

void convert_free(Convert *convert)
{
    if (!convert) return;
    convert_lock_release(&convert->folder);
    plan_free(&convert->plan);
    source_close(&convert->source);
    pthread_mutex_destroy(&convert->lock);
    free(convert);
}

bool convert_is_done(const Convert *convert)
{
    return convert->done;
}

bool convert_is_locked(const Convert *convert)
{
    return convert->folder.works;
}

const char *convert_left_out(const Convert *convert, int index)
{
    const NameList *list = &convert->source.left_out;
    return index < list->count ? list->names[index] : NULL;
}

int64_t convert_images(const Convert *convert)
{
    int64_t images = 0;
    for (int split = 0; split < SOURCE_SPLITS; split++) images += convert->plan.counts[split];
    return images;
}

/* ---- running */

static void report(Convert *convert)
{
    if (convert->config.progress) convert->config.progress(convert->config.context, &convert->progress);
}

static void image_done(void *context, int64_t bytes, bool rejected)
{
    Convert *convert = context;
    pthread_mutex_lock(&convert->lock);
    convert->progress.images++;
    convert->progress.rejected += rejected;
    convert->progress.bytes += bytes;
    report(convert);
    pthread_mutex_unlock(&convert->lock);
}

/* Whether an earlier attempt finished this shard: its marker is of this plan, its file has the marker's hash. */
static Status is_finished(Convert *convert, const PlanShard *shard, bool *finished, Error *error)
{
    char path[PATH_SIZE], hash[33] = "";
    Status status = path_join(path, sizeof path, convert->config.dest, shard->file, error);
    if (status) return status;
    DoneMarker marker;
    status = done_marker_read(&marker, convert->config.dest, shard, convert->plan.fingerprint, convert->source.classes,
                              finished, error);
    if (status || !*finished) return status;
    *finished = file_exists(path) && file_size(path) == marker.shard.summary.size;
    if (*finished) status = shard_hash_file(path, hash, error);
    *finished = *finished && !status && strcmp(hash, marker.shard.summary.hash) == 0;
    if (*finished) {
        pthread_mutex_lock(&convert->lock);
        convert->progress.images += marker.shard.summary.count + marker.rejected_count;
        convert->progress.kept += marker.shard.summary.count + marker.rejected_count;
        convert->progress.rejected += marker.rejected_count;
        report(convert);
        pthread_mutex_unlock(&convert->lock);
    }
    done_marker_free(&marker);
    return status;
}

static Status run_shard(Convert *convert, const PlanShard *shard, Error *error)
{
    bool finished;
    Status status = is_finished(convert, shard, &finished, error);
    if (status || finished) return status;
    ShardJob job = {.source = &convert->source,
                    .plan = &convert->plan,
                    .config = &convert->config,
                    .shard = shard,
                    .cancelled = &convert->cancelled,
                    .done = image_done,
                    .context = convert};
    return convert_shard(&job, error);
}

static const PlanShard *next_shard(Convert *convert)
{
    pthread_mutex_lock(&convert->lock);
    int index = convert->config.rank + convert->config.ranks * convert->next_shard++;
    pthread_mutex_unlock(&convert->lock);
    return index < convert->plan.shard_count ? &convert->plan.shards[index] : NULL;
}

static void *work(void *context)
{
    Convert *convert = context;
    const PlanShard *shard;
    while (!__atomic_load_n(&convert->cancelled, __ATOMIC_RELAXED) && (shard = next_shard(convert))) {
        Error error = {0};
        Status status = run_shard(convert, shard, &error);
        if (!status) continue;
        pthread_mutex_lock(&convert->lock);
        if (!convert->status) {
            convert->status = status;
            convert->error = error;
        }
        __atomic_store_n(&convert->cancelled, true, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&convert->lock);
    }
    return NULL;
}

static int64_t own_images(const Convert *convert)
{
    int64_t images = 0;
    for (int i = convert->config.rank; i < convert->plan.shard_count; i += convert->config.ranks)
        images += convert->plan.shards[i].end - convert->plan.shards[i].begin;
    return images;
}

Status convert_run(Convert *convert, Error *error)
{
    if (convert->done) return STATUS_OK;
    int threads = convert->config.threads, started = 0;
    pthread_t *others = memory_alloc(threads, sizeof *others, "the threads", error);
    if (!others) return STATUS_FAILED;
    convert->progress = (ConvertProgress){.total = own_images(convert)};
    convert->next_shard = 0;
    while (started < threads - 1 && pthread_create(&others[started], NULL, work, convert) == 0) started++;
    work(convert);
    while (started > 0) pthread_join(others[--started], NULL);
    free(others);
    if (convert->status) *error = convert->error;
    return convert->status;
}

/* ---- finishing */

static Status add_finished_shard(Convert *convert, const PlanShard *shard, ManifestSplit *split, FILE *rejected,
                                 Error *error)
{
    DoneMarker marker;
    bool found;
    Status status = done_marker_read(&marker, convert->config.dest, shard, convert->plan.fingerprint,
                                     convert->source.classes, &found, error);
    if (status) return status;
    if (!found)
        return error_set(error, STATUS_FAILED,
                         "%s/.partial/%s.json: not there; does every process see the same folder %s?",
                         convert->config.dest, shard->file, convert->config.dest);
    split->shards[split->shard_count++] = marker.shard;
    split->count += marker.shard.summary.count;
    split->rejected += marker.rejected_count;
    dataset_stats_add(&split->stats, &marker.stats);
    for (int i = 0; i < marker.rejected_count; i++)
        fprintf(rejected, "%s\t%s\n", marker.rejected[2 * i], marker.rejected[2 * i + 1]);
    done_marker_free(&marker);
    return STATUS_OK;
}

static Status add_split(Convert *convert, Manifest *manifest, SourceSplitKind kind, FILE *rejected, Error *error)
{
    if (convert->source.splits[kind].count == 0) return STATUS_OK;
    ManifestSplit *split = &manifest->splits[manifest->split_count++];
    snprintf(split->name, sizeof split->name, "%s", source_split_name(kind));
    split->shards = memory_alloc(convert->plan.shard_count, sizeof *split->shards, "the manifest", error);
    if (!split->shards) return STATUS_FAILED;
    Status status = dataset_stats_create(&split->stats, convert->source.classes, error);
    for (int i = 0; i < convert->plan.shard_count && !status; i++)
        if (convert->plan.shards[i].split == kind)
            status = add_finished_shard(convert, &convert->plan.shards[i], split, rejected, error);
    return status;
}

static Status write_rejected(const Convert *convert, const char *text, size_t size, Error *error)
{
    char path[PATH_SIZE];
    Status status = path_join(path, sizeof path, convert->config.dest, "rejected.tsv", error);
    return status ? status : file_write(path, text, size, error);
}

Status convert_finish(Convert *convert, Error *error)
{
    if (convert->done) return STATUS_OK;
    Manifest manifest = {
        .seed = convert->config.seed, .resize = convert->config.resize, .quality = convert->config.quality};
    snprintf(manifest.source, sizeof manifest.source, "%s", convert->source.kind);
    snprintf(manifest.fingerprint, sizeof manifest.fingerprint, "%s", convert->plan.fingerprint);
    char *text = NULL;
    size_t size = 0;
    FILE *rejected = open_memstream(&text, &size);
    if (!rejected) return memory_failed("the list of rejected images", error);
    fputs("name\treason\n", rejected);
    Status status = STATUS_OK;
    for (int split = 0; split < SOURCE_SPLITS && !status; split++)
        status = add_split(convert, &manifest, (SourceSplitKind)split, rejected, error);
    if (fclose(rejected) != 0 && !status) status = memory_failed("the list of rejected images", error);
    if (!status) status = write_rejected(convert, text, size, error);
    free(text);
    Manifest complete = manifest; /* with the classes, which are the source's to free */
    complete.classes = convert->source.classes;
    complete.class_names = convert->source.class_names;
    complete.class_words = convert->source.class_words;
    if (!status) status = manifest_write(&complete, convert->config.dest, error);
    if (!status) sweep(convert);
    manifest_free(&manifest);
    return status;
}
