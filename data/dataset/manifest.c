#include "data/dataset/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/base/path.h"

enum { MANIFEST_VERSION = 1, MANIFEST_LIMIT = 512 << 20 };
static const char FORMAT[] = "t2t dataset";

/* ---- writing */

json_t *manifest_shard_to_json(const ManifestShard *shard)
{
    return json_pack("{s:s, s:I, s:I, s:s}", "file", shard->file, "count", (json_int_t)shard->summary.count, "size",
                     (json_int_t)shard->summary.size, "xxh3_128", shard->summary.hash);
}

static json_t *split_to_json(const ManifestSplit *split)
{
    json_t *shards = json_array();
    for (int i = 0; i < split->shard_count; i++)
        json_array_append_new(shards, manifest_shard_to_json(&split->shards[i]));
    return json_pack("{s:I, s:I, s:o, s:o}", "count", (json_int_t)split->count, "rejected", (json_int_t)split->rejected,
                     "tally", dataset_stats_to_json(&split->stats), "shards", shards);
}

static json_t *classes_to_json(const Manifest *manifest)
{
    json_t *classes = json_array();
    for (int i = 0; i < manifest->classes; i++) {
        json_t *class = json_pack("{s:s, s:s*}", "name", manifest->class_names[i], "words", manifest->class_words[i]);
        if (json_array_append_new(classes, class) == 0) continue;
        json_decref(classes);
        return NULL; /* no memory, or a name that is not UTF-8 */
    }
    return classes;
}

Status manifest_write(const Manifest *manifest, const char *folder, Error *error)
{
    char path[PATH_SIZE];
    Status status = path_join(path, sizeof path, folder, "manifest.json", error);
    if (status) return status;
    json_t *splits = json_object();
    for (int i = 0; i < manifest->split_count; i++)
        json_object_set_new(splits, manifest->splits[i].name, split_to_json(&manifest->splits[i]));
    json_t *root = json_pack("{s:s, s:i, s:s, s:s, s:{s:I, s:i, s:i}, s:o, s:o}", "format", FORMAT, "version",
                             MANIFEST_VERSION, "source", manifest->source, "fingerprint", manifest->fingerprint,
                             "options", "seed", (json_int_t)manifest->seed, "resize", manifest->resize, "quality",
                             manifest->quality, "classes", classes_to_json(manifest), "splits", splits);
    char *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_ENSURE_ASCII) : NULL;
    json_decref(root);
    if (!text)
        return error_set(error, STATUS_FAILED, "%s: cannot be written as JSON: out of memory, or a name is not UTF-8",
                         path);
    status = file_write(path, text, strlen(text), error);
    free(text);
    return status;
}

/* ---- reading */

static Status refuse(Error *error, const char *name, const char *what)
{
    return error_set(error, STATUS_DATA, "%s: %s", name, what);
}

Status manifest_shard_from_json(ManifestShard *shard, json_t *json, const char *name, Error *error)
{
    const char *file, *hash;
    json_int_t count, size;
    json_error_t why;
    if (json_unpack_ex(json, &why, 0, "{s:s, s:I, s:I, s:s}", "file", &file, "count", &count, "size", &size, "xxh3_128",
                       &hash) != 0)
        return error_set(error, STATUS_DATA, "%s: shard: %s", name, why.text);
    if (!file[0] || file[0] == '.' || strchr(file, '/') || strlen(file) >= sizeof shard->file)
        return error_set(error, STATUS_DATA, "%s: '%.80s' is not the name of a shard", name, file);
    if (strlen(hash) != 32 || strspn(hash, "0123456789abcdef") != 32)
        return error_set(error, STATUS_DATA, "%s: %s: xxh3_128 is not 32 hexadecimal digits", name, file);
    if (count < 0 || size < 0)
        return error_set(error, STATUS_DATA, "%s: %s: count %" PRId64 ", size %" PRId64, name, file, (int64_t)count,
                         (int64_t)size);
    snprintf(shard->file, sizeof shard->file, "%s", file);
    shard->summary = (ShardSummary){.count = count, .size = (uint64_t)size};
    memcpy(shard->summary.hash, hash, 33);
    return STATUS_OK;
}

static Status check_counts(const ManifestSplit *split, const char *name, Error *error)
{
    int64_t in_shards = 0, in_classes = 0;
    for (int i = 0; i < split->shard_count; i++)
        if (__builtin_add_overflow(in_shards, split->shards[i].summary.count, &in_shards))
            return refuse(error, name, "impossible counts");
    for (int i = 0; i < split->stats.classes; i++) in_classes += split->stats.per_class[i];
    if (in_shards != split->count || in_classes != split->count)
        return error_set(error, STATUS_DATA,
                         "%s: split %s says %" PRId64 " images, its shards add up to %" PRId64
                         ", its classes to %" PRId64 "; convert again",
                         name, split->name, split->count, in_shards, in_classes);
    return STATUS_OK;
}

static Status read_split(ManifestSplit *split, const char *key, json_t *json, int classes, const char *name,
                         Error *error)
{
    json_int_t count, rejected;
    json_t *stats, *shards;
    json_error_t why;
    if (strlen(key) >= sizeof split->name || strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_-") != strlen(key))
        return error_set(error, STATUS_DATA, "%s: '%.80s' is not the name of a split", name, key);
    snprintf(split->name, sizeof split->name, "%s", key);
    if (json_unpack_ex(json, &why, 0, "{s:I, s:I, s:o, s:o}", "count", &count, "rejected", &rejected, "tally", &stats,
                       "shards", &shards) != 0)
        return error_set(error, STATUS_DATA, "%s: split %s: %s", name, key, why.text);
    split->count = count;
    split->rejected = rejected;
    Status status = dataset_stats_from_json(&split->stats, stats, classes, name, error);
    if (status) return status;
    if (!json_is_array(shards) || json_array_size(shards) > 1000000) return refuse(error, name, "shards is not a list");
    split->shard_count = (int)json_array_size(shards);
    split->shards = memory_alloc(split->shard_count, sizeof *split->shards, "a manifest", error);
    if (!split->shards) return STATUS_FAILED;
    for (int i = 0; i < split->shard_count && !status; i++)
        status = manifest_shard_from_json(&split->shards[i], json_array_get(shards, (size_t)i), name, error);
    return status ? status : check_counts(split, name, error);
}

static Status read_classes(Manifest *manifest, json_t *classes, const char *name, Error *error)
{
    size_t count = json_array_size(classes);
    if (!json_is_array(classes) || count == 0 || count > MAX_CLASSES)
        return refuse(error, name, "classes is not a list of at least one class");
    manifest->class_names = memory_alloc((int64_t)count, sizeof *manifest->class_names, "a manifest", error);
    manifest->class_words = memory_alloc((int64_t)count, sizeof *manifest->class_words, "a manifest", error);
    if (!manifest->class_names || !manifest->class_words) return STATUS_FAILED;
    manifest->classes = (int)count;
    for (size_t i = 0; i < count; i++) {
        const char *class_name, *words = NULL;
        json_error_t why;
        if (json_unpack_ex(json_array_get(classes, i), &why, 0, "{s:s, s?s}", "name", &class_name, "words", &words) !=
            0)
            return error_set(error, STATUS_DATA, "%s: class %zu: %s", name, i, why.text);
        manifest->class_names[i] = memory_copy_text(class_name, name, error);
        if (words) manifest->class_words[i] = memory_copy_text(words, name, error);
        if (!manifest->class_names[i] || (words && !manifest->class_words[i])) return STATUS_FAILED;
    }
    return STATUS_OK;
}

static Status read_root(Manifest *manifest, json_t *root, const char *name, Error *error)
{
    const char *format = "", *source, *fingerprint;
    int version = 0, resize, quality;
    json_int_t seed;
    json_t *classes, *splits;
    json_error_t why;
    if (json_unpack_ex(root, &why, 0, "{s:s, s:i}", "format", &format, "version", &version) != 0)
        return error_set(error, STATUS_DATA, "%s: not the manifest of a data set: %s", name, why.text);
    if (strcmp(format, FORMAT) != 0 || version != MANIFEST_VERSION)
        return error_set(error, STATUS_DATA, "%s: format '%.40s' version %d; this t2t reads '%s' version %d", name,
                         format, version, FORMAT, MANIFEST_VERSION);
    if (json_unpack_ex(root, &why, 0, "{s:s, s:s, s:{s:I, s:i, s:i}, s:o, s:o}", "source", &source, "fingerprint",
                       &fingerprint, "options", "seed", &seed, "resize", &resize, "quality", &quality, "classes",
                       &classes, "splits", &splits) != 0)
        return error_set(error, STATUS_DATA, "%s: %s", name, why.text);
    snprintf(manifest->source, sizeof manifest->source, "%s", source);
    snprintf(manifest->fingerprint, sizeof manifest->fingerprint, "%s", fingerprint);
    manifest->seed = (uint64_t)seed;
    manifest->resize = resize;
    manifest->quality = quality;
    Status status = read_classes(manifest, classes, name, error);
    if (status) return status;
    if (!json_is_object(splits) || json_object_size(splits) == 0 || json_object_size(splits) > MAX_DATA_SPLITS)
        return refuse(error, name, "splits is not an object of one to three splits");
    const char *key;
    json_t *split;
    json_object_foreach(splits, key, split)
    {
        status = read_split(&manifest->splits[manifest->split_count++], key, split, manifest->classes, name, error);
        if (status) return status;
    }
    return STATUS_OK;
}

Status manifest_parse(Manifest *manifest, const char *text, size_t size, const char *name, Error *error)
{
    *manifest = (Manifest){0};
    json_error_t why;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return error_set(error, STATUS_DATA,
                         "%s:%d: not JSON: %s; the copy is damaged: copy it again, or convert again", name, why.line,
                         why.text);
    Status status = read_root(manifest, root, name, error);
    json_decref(root);
    if (status) manifest_free(manifest);
    return status;
}

Status manifest_read(Manifest *manifest, const char *folder, Error *error)
{
    *manifest = (Manifest){0};
    char path[PATH_SIZE], *text;
    size_t size;
    Status status = path_join(path, sizeof path, folder, "manifest.json", error);
    if (status) return status;
    if (!file_exists(path)) {
        error_set(error, STATUS_DATA, "%s: not there, so %s is not a finished data set", path, folder);
        return error_add(error, "  hint: `t2t convert SOURCE %s` makes one, or goes on where it was interrupted",
                         folder);
    }
    status = file_read(path, MANIFEST_LIMIT, &text, &size, error);
    if (status) return status;
    status = manifest_parse(manifest, text, size, path, error);
    free(text);
    return status;
}

void manifest_free(Manifest *manifest)
{
    for (int i = 0; i < manifest->classes; i++) {
        if (manifest->class_names) free(manifest->class_names[i]);
        if (manifest->class_words) free(manifest->class_words[i]);
    }
    free(manifest->class_names);
    free(manifest->class_words);
    for (int i = 0; i < manifest->split_count; i++) {
        dataset_stats_free(&manifest->splits[i].stats);
        free(manifest->splits[i].shards);
    }
    *manifest = (Manifest){0};
}

const ManifestSplit *manifest_split(const Manifest *manifest, const char *name)
{
    for (int i = 0; i < manifest->split_count; i++)
        if (strcmp(manifest->splits[i].name, name) == 0) return &manifest->splits[i];
    return NULL;
}
