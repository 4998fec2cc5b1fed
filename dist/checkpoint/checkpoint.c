/* checkpoint.c: the folder and its manifest. What the tensors' files hold is checkpoint_tensors.c. */
#include "dist/checkpoint/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "core/base/file.h"
#include "version.h"

enum { MANIFEST_LIMIT = 16 << 20, FORMAT_VERSION = 1 };

/* The manifest's last line, for the hash of all bytes before it. */
static int manifest_tail(char *tail, size_t size, uint64_t hash)
{
    return snprintf(tail, size, "  \"xxh3\": \"%016" PRIx64 "\"\n}\n", hash);
}

static Status join(char *out, const char *folder, const char *name, Error *error)
{
    int length = snprintf(out, CHECKPOINT_PATH, "%s/%s", folder, name);
    if (length < 0 || length >= CHECKPOINT_PATH)
        return error_set(error, STATUS_USAGE, "%.200s...: a path of %d bytes is too long", folder, length);
    return STATUS_OK;
}

void checkpoint_path(char *path, const char *folder, int64_t step)
{
    /* The precision leaves room for the name and the files in it; longer folders are refused by the run folder. */
    snprintf(path, CHECKPOINT_PATH, "%.3900s/step-%08" PRId64, folder, step);
}

void checkpoint_pending_path(char *path, const char *folder, int64_t epoch)
{
    snprintf(path, CHECKPOINT_PATH, "%.3900s/pending-%08" PRId64, folder, epoch);
}

/* ---- listing and removing */

/* The number of "step-NNNNNNNN" or "pending-NNNNNNNN"; -1: not such a name. */
static int64_t number_of_name(const char *name, const char *prefix)
{
    char *end;
    size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) != 0 || name[length] < '0' || name[length] > '9') return -1;
    errno = 0;
    long long number = strtoll(name + length, &end, 10);
    return *end || errno || strlen(name) < length + 8 ? -1 : (int64_t)number;
}

static int64_t step_of_name(const char *name)
{
    return number_of_name(name, "step-");
}

/* Calls `visit` for each name in the folder; a folder that is not there has none. */
static Status each_name(const char *folder, Status (*visit)(void *context, const char *name, Error *error),
                        void *context, Error *error)
{
    DIR *directory = opendir(folder);
    if (!directory && errno == ENOENT) return STATUS_OK;
    if (!directory) return error_set(error, STATUS_FAILED, "%s: cannot list: %s", folder, strerror(errno));
    Status status = STATUS_OK;
    for (struct dirent *entry; !status && (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = visit(context, entry->d_name, error);
    closedir(directory);
    return status;
}

static Status remove_file(void *folder, const char *name, Error *error)
{
    char path[CHECKPOINT_PATH];
    Status status = join(path, folder, name, error);
    if (status) return status;
    if (unlink(path) != 0 && errno != ENOENT)
        return error_set(error, STATUS_FAILED, "%s: cannot remove: %s", path, strerror(errno));
    return STATUS_OK;
}

/* What is left must never look like a checkpoint. */
static Status remove_manifest(const char *path, Error *error)
{
    char manifest[CHECKPOINT_PATH];
    Status status = join(manifest, path, "manifest.json", error);
    if (!status && unlink(manifest) == 0) status = file_sync_folder(manifest, error);
    return status;
}

Status checkpoint_remove(const char *path, Error *error)
{
    Status status = remove_manifest(path, error);
    if (!status) status = each_name(path, remove_file, (void *)path, error);
    if (!status && rmdir(path) != 0 && errno != ENOENT)
        status = error_set(error, STATUS_FAILED, "%s: cannot remove: %s", path, strerror(errno));
    return status;
}

typedef struct StepList {
    const char *folder;
    int64_t *steps;
    int count, room;
} StepList;

static Status collect_step(void *context, const char *name, Error *error)
{
    StepList *list = context;
    int64_t step = step_of_name(name);
    char path[CHECKPOINT_PATH], manifest[CHECKPOINT_PATH];
    if (step < 0) return STATUS_OK;
    Status status = join(path, list->folder, name, error);
    if (!status) status = join(manifest, path, "manifest.json", error);
    if (status || !file_exists(manifest)) return status;
    if (list->count == list->room) {
        int room = list->room ? 2 * list->room : 16;
        int64_t *steps = realloc(list->steps, (size_t)room * sizeof *steps);
        if (!steps) return error_set(error, STATUS_FAILED, "out of memory listing %s", list->folder);
        list->steps = steps;
        list->room = room;
    }
    list->steps[list->count++] = step;
    return STATUS_OK;
}

static int newest_first(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left < right) - (left > right);
}

Status checkpoint_list(const char *folder, int64_t **steps, int *count, Error *error)
{
    StepList list = {.folder = folder};
    Status status = each_name(folder, collect_step, &list, error);
    if (status) {
        free(list.steps);
        return status;
    }
    if (list.count) qsort(list.steps, (size_t)list.count, sizeof *list.steps, newest_first);
    *steps = list.steps;
    *count = list.count;
    return STATUS_OK;
}

typedef struct Pruning {
    const char *folder;
    int64_t oldest, newest; /* kept */
} Pruning;

static Status prune_one(void *context, const char *name, Error *error)
{
    const Pruning *pruning = context;
    int64_t step = step_of_name(name);
    if (step < 0) return STATUS_OK;
    char path[CHECKPOINT_PATH], manifest[CHECKPOINT_PATH];
    Status status = join(path, pruning->folder, name, error);
    if (!status) status = join(manifest, path, "manifest.json", error);
    if (status || (step >= pruning->oldest && step <= pruning->newest && file_exists(manifest))) return status;
    return checkpoint_remove(path, error);
}

Status checkpoint_prune(const char *folder, int64_t step, int keep, Error *error)
{
    int64_t *steps;
    int count, kept = 0;
    Status status = checkpoint_list(folder, &steps, &count, error);
    if (status) return status;
    Pruning pruning = {.folder = folder, .oldest = step, .newest = step};
    for (int i = 0; i < count && kept < (keep > 1 ? keep : 1); i++) {
        if (steps[i] > step) continue;
        pruning.oldest = steps[i];
        kept++;
    }
    free(steps);
    return each_name(folder, prune_one, &pruning, error);
}

static Status prune_pending(void *context, const char *name, Error *error)
{
    const Pruning *pruning = context;
    int64_t epoch = number_of_name(name, "pending-");
    if (epoch < 0) return STATUS_OK;
    char path[CHECKPOINT_PATH], manifest[CHECKPOINT_PATH];
    Status status = join(path, pruning->folder, name, error);
    if (!status) status = join(manifest, path, "manifest.json", error);
    if (status || (epoch >= pruning->oldest && file_exists(manifest))) return status;
    return checkpoint_remove(path, error);
}

Status checkpoint_prune_pending(const char *folder, int64_t validated, Error *error)
{
    Pruning pruning = {.folder = folder, .oldest = validated + 1};
    return each_name(folder, prune_pending, &pruning, error);
}

/* ---- writing */

static Status remove_all_but_parts(void *folder, const char *name, Error *error)
{
    return strncmp(name, "optimizer-", 10) == 0 ? STATUS_OK : remove_file(folder, name, error);
}

Status checkpoint_begin(const char *path, Error *error)
{
    Status status = file_make_folders(path, error);
    if (!status) status = remove_manifest(path, error);
    if (!status) status = each_name(path, remove_all_but_parts, (void *)path, error);
    return status ? status : file_sync_folder(path, error);
}

typedef struct Sweep {
    const char *path;
    const CheckpointFile *files;
    int count;
} Sweep;

/* Of an attempt that was cut, perhaps on another number of ranks. The manifest is replaced, not removed. */
static Status sweep_one(void *context, const char *name, Error *error)
{
    const Sweep *sweep = context;
    if (strcmp(name, "manifest.json") == 0) return STATUS_OK;
    for (int i = 0; i < sweep->count; i++)
        if (strcmp(name, sweep->files[i].name) == 0) return STATUS_OK;
    return remove_file((void *)sweep->path, name, error);
}

static json_t *manifest_object(const RunPosition *position, const char *config, const char *layout,
                               const CheckpointFile *files, int count)
{
    char written[32] = "", hash[20];
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc)) strftime(written, sizeof written, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        snprintf(hash, sizeof hash, "%016" PRIx64, files[i].hash);
        json_array_append_new(list, json_pack("{s:s, s:I, s:s}", "name", files[i].name, "bytes",
                                              (json_int_t)files[i].bytes, "xxh3", hash));
    }
    json_t *place = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "step", (json_int_t)position->step, "epoch",
                              (json_int_t)position->epoch, "epoch_step", (json_int_t)position->epoch_step, "sample",
                              (json_int_t)(position->epoch_step * position->global_batch), "global_batch",
                              (json_int_t)position->global_batch, "validated", (json_int_t)position->validated,
                              "best_epoch", (json_int_t)position->best_epoch, "best_top1", position->best_top1);
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:o, s:o, s:s}", "format", "t2t checkpoint", "version", FORMAT_VERSION,
                     "code", T2T_VERSION, "written", written, "layout", layout, "position", place, "files", list,
                     "config", config);
}

Status checkpoint_commit(const char *path, const RunPosition *position, const char *config, const char *layout,
                         const CheckpointFile *files, int count, Error *error)
{
    char name[CHECKPOINT_PATH], tail[64];
    Sweep sweep = {path, files, count};
    Status status = join(name, path, "manifest.json", error);
    if (!status) status = each_name(path, sweep_one, &sweep, error);
    if (status) return status;
    json_t *object = manifest_object(position, config, layout, files, count);
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    size_t length = text ? strlen(text) : 0;
    /* "...\n}" becomes "...,\n" and the tail closes the object. */
    char *whole = length > 2 ? malloc(length + sizeof tail) : NULL;
    if (!whole) {
        free(text);
        return error_set(error, STATUS_FAILED, "%s: cannot be put together: a text that is not UTF-8, or no memory",
                         name);
    }
    memcpy(whole, text, length - 2);
    memcpy(whole + length - 2, ",\n", 2);
    int added = manifest_tail(tail, sizeof tail, XXH3_64bits(whole, length));
    memcpy(whole + length, tail, (size_t)added);
    free(text);
    status = file_write(name, whole, length + (size_t)added, error);
    free(whole);
    return status;
}

/* ---- opening */

static Status manifest_prove(const char *name, const char *bytes, size_t size, Error *error)
{
    char tail[64];
    size_t length = (size_t)manifest_tail(tail, sizeof tail, 0);
    if (size > length) {
        manifest_tail(tail, sizeof tail, XXH3_64bits(bytes, size - length));
        if (memcmp(bytes + size - length, tail, length) == 0) return STATUS_OK;
    }
    return error_set(error, STATUS_DATA,
                     "%s: damaged: its last line should be the XXH3-64 of the %zu bytes before it, %.16s", name,
                     size > length ? size - length : 0, size > length ? strchr(tail, ':') + 3 : "but it is too short");
}

static Status manifest_parse(Checkpoint *checkpoint, const char *name, const char *bytes, size_t size, Error *error)
{
    json_error_t where;
    json_t *object = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &where);
    if (!object) return error_set(error, STATUS_DATA, "%s: line %d: %s", name, where.line, where.text);
    const char *format, *code, *config;
    int version;
    json_t *list;
    json_int_t step, epoch, epoch_step, global_batch, validated, best_epoch;
    double best_top1;
    Status status = STATUS_OK;
    if (json_unpack_ex(object, &where, 0, "{s:s, s:i, s:s, s:s, s:o, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:F}}", "format",
                       &format, "version", &version, "code", &code, "config", &config, "files", &list, "position",
                       "step", &step, "epoch", &epoch, "epoch_step", &epoch_step, "global_batch", &global_batch,
                       "validated", &validated, "best_epoch", &best_epoch, "best_top1", &best_top1) ||
        strcmp(format, "t2t checkpoint") != 0 || !json_is_array(list)) {
        status = error_set(error, STATUS_DATA, "%s: not a checkpoint's manifest: %s", name, where.text);
        goto free_object;
    }
    if (version != FORMAT_VERSION) {
        status = error_set(error, STATUS_DATA, "%s: format version %d; this program (%s) reads version %d", name,
                           version, T2T_VERSION, FORMAT_VERSION);
        goto free_object;
    }
    checkpoint->position = (RunPosition){step, epoch, epoch_step, global_batch, validated, best_epoch, best_top1};
    snprintf(checkpoint->code, sizeof checkpoint->code, "%s", code);
    checkpoint->count = (int)json_array_size(list);
    checkpoint->config = strdup(config);
    checkpoint->files = calloc((size_t)checkpoint->count + 1, sizeof *checkpoint->files);
    if (!checkpoint->config || !checkpoint->files) {
        status = error_set(error, STATUS_FAILED, "out of memory opening %s", name);
        goto free_object;
    }
    for (int i = 0; i < checkpoint->count; i++) {
        CheckpointFile *file = &checkpoint->files[i];
        const char *file_name, *hash;
        json_int_t size_bytes;
        if (json_unpack_ex(json_array_get(list, (size_t)i), &where, 0, "{s:s, s:I, s:s}", "name", &file_name, "bytes",
                           &size_bytes, "xxh3", &hash) ||
            strchr(file_name, '/') || strlen(file_name) >= sizeof file->name) {
            status = error_set(error, STATUS_DATA, "%s: entry %d of \"files\" is not a file: %s", name, i, where.text);
            goto free_object;
        }
        snprintf(file->name, sizeof file->name, "%s", file_name);
        file->bytes = (uint64_t)size_bytes;
        file->hash = strtoull(hash, NULL, 16);
    }
free_object:
    json_decref(object);
    return status;
}

static Status file_prove(const char *folder, const CheckpointFile *want, Error *error)
{
    char path[CHECKPOINT_PATH];
    CheckpointFile found = {0};
    Status status = join(path, folder, want->name, error);
    if (!status && file_exists(path) && file_size(path) != want->bytes)
        status = error_set(error, STATUS_DATA, "%s: %" PRIu64 " bytes, but manifest.json says %" PRIu64, path,
                           file_size(path), want->bytes);
    if (!status) status = checkpoint_hash_file(path, &found, error);
    if (!status && found.hash != want->hash)
        status =
            error_set(error, STATUS_DATA, "%s: damaged: XXH3-64 %016" PRIx64 ", but manifest.json says %016" PRIx64,
                      path, found.hash, want->hash);
    return status;
}

Status checkpoint_open_unproved(Checkpoint *checkpoint, const char *path, Error *error)
{
    *checkpoint = (Checkpoint){0};
    char name[CHECKPOINT_PATH], *bytes = NULL;
    size_t size;
    Status status = join(name, path, "manifest.json", error);
    if (status) return status;
    snprintf(checkpoint->path, sizeof checkpoint->path, "%s", path);
    status = file_read(name, MANIFEST_LIMIT, &bytes, &size, error);
    if (!status) status = manifest_prove(name, bytes, size, error);
    if (!status) status = manifest_parse(checkpoint, name, bytes, size, error);
    free(bytes);
    if (status) checkpoint_close(checkpoint);
    return status;
}

Status checkpoint_open(Checkpoint *checkpoint, const char *path, Error *error)
{
    Status status = checkpoint_open_unproved(checkpoint, path, error);
    for (int i = 0; !status && i < checkpoint->count; i++) status = file_prove(path, &checkpoint->files[i], error);
    if (status) checkpoint_close(checkpoint);
    return status;
}

void checkpoint_close(Checkpoint *checkpoint)
{
    free(checkpoint->config);
    free(checkpoint->files);
    *checkpoint = (Checkpoint){0};
}
