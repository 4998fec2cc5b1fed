/* checkpoint.c: the folder and its manifest. What the tensors' files hold is checkpoint_tensors.c. */
#include "dist/checkpoint/checkpoint.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "dist/checkpoint/checkpoint_internal.h"
#include "version.h"

enum { FORMAT_VERSION = 1 };

/* Of positions in a manifest; far above what any run reaches, and far below what a sum or product of two could overflow. */
static const int64_t LARGEST_STEP = INT64_C(1000000000000), LARGEST_EPOCH = 2000000, LARGEST_BATCH = 1000000000;
static const int64_t LARGEST_SAMPLE = INT64_C(1000000000000000); /* of an epoch */

/* The manifest's last line, for the hash of all bytes before it. */
static int manifest_tail(char *tail, size_t size, uint64_t hash)
{
    return snprintf(tail, size, "  \"xxh3\": \"%016" PRIx64 "\"\n}\n", hash);
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
    char name[PATH_SIZE], tail[64];
    Status status = path_join(name, sizeof name, path, CHECKPOINT_MANIFEST, error);
    if (!status) status = checkpoint_clear(path, files, count, error);
    if (status) return status;
    json_t *object = manifest_object(position, config, layout, files, count);
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    size_t length = text ? strlen(text) : 0;
    /* "...\n}" becomes "...,\n" and the tail closes the object. */
    char *whole = length > 2 ? memory_alloc((int64_t)(length + sizeof tail), 1, name, error) : NULL;
    if (!whole) {
        free(text);
        return error_set(error, STATUS_FAILED, "%s: cannot be put together: a text that is not UTF-8, or out of memory",
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

static Status manifest_verify(const char *name, const char *bytes, size_t size, Error *error)
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

static bool within(int64_t value, int64_t least, int64_t most)
{
    return value >= least && value <= most;
}

static Status position_check(const RunPosition *position, const char *name, Error *error)
{
    const struct {
        const char *key;
        int64_t value, least, most;
    } rows[] = {
        {"step", position->step, 0, LARGEST_STEP},
        {"epoch", position->epoch, 0, LARGEST_EPOCH},
        {"epoch_step", position->epoch_step, 0, LARGEST_STEP},
        {"global_batch", position->global_batch, 1, LARGEST_BATCH},
        {"validated", position->validated, 0, position->epoch},
        {"best_epoch", position->best_epoch, -1, position->epoch},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!within(rows[i].value, rows[i].least, rows[i].most))
            return error_set(error, STATUS_DATA,
                             "%s: \"%s\" is %" PRId64 "; %" PRId64 " to %" PRId64 " are possible: the file was written "
                             "by hand, or by a faulty program",
                             name, rows[i].key, rows[i].value, rows[i].least, rows[i].most);
    if (position->epoch_step > LARGEST_SAMPLE / position->global_batch)
        return error_set(error, STATUS_DATA,
                         "%s: \"epoch_step\" %" PRId64 " of \"global_batch\" %" PRId64 " images is more than an epoch "
                         "can have, %" PRId64 " images",
                         name, position->epoch_step, position->global_batch, LARGEST_SAMPLE);
    if (!(position->best_top1 >= 0 && position->best_top1 <= 100))
        return error_set(error, STATUS_DATA, "%s: \"best_top1\" is %g; percent are expected, 0 to 100", name,
                         position->best_top1);
    return STATUS_OK;
}

static bool hash_parse(const char *text, uint64_t *hash)
{
    *hash = strtoull(text, NULL, 16);
    return strlen(text) == 16 && strspn(text, "0123456789abcdef") == 16;
}

static Status files_parse(Checkpoint *checkpoint, const char *name, const json_t *list, Error *error)
{
    json_error_t where = {.text = ""};
    checkpoint->count = (int)json_array_size(list);
    checkpoint->files = memory_alloc(checkpoint->count, sizeof *checkpoint->files, "a checkpoint's manifest", error);
    if (!checkpoint->files) return STATUS_FAILED;
    for (int i = 0; i < checkpoint->count; i++) {
        CheckpointFile *file = &checkpoint->files[i];
        const char *file_name, *hash;
        json_int_t size;
        if (json_unpack_ex(json_array_get(list, (size_t)i), &where, 0, "{s:s, s:I, s:s}", "name", &file_name, "bytes",
                           &size, "xxh3", &hash) ||
            strchr(file_name, '/') || file_name[0] == '.' || !file_name[0] || strlen(file_name) >= sizeof file->name ||
            size < 0 || !hash_parse(hash, &file->hash))
            return error_set(error, STATUS_DATA, "%s: entry %d of \"files\" is not a file: %s", name, i, where.text);
        snprintf(file->name, sizeof file->name, "%s", file_name);
        file->bytes = (uint64_t)size;
    }
    return STATUS_OK;
}

static Status manifest_read(Checkpoint *checkpoint, const char *name, json_t *object, Error *error)
{
    const char *format, *code, *config;
    int version;
    json_t *list;
    json_error_t where;
    json_int_t step, epoch, epoch_step, global_batch, validated, best_epoch;
    double best_top1;
    if (json_unpack_ex(object, &where, 0, "{s:s, s:i, s:s, s:s, s:o, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:F}}", "format",
                       &format, "version", &version, "code", &code, "config", &config, "files", &list, "position",
                       "step", &step, "epoch", &epoch, "epoch_step", &epoch_step, "global_batch", &global_batch,
                       "validated", &validated, "best_epoch", &best_epoch, "best_top1", &best_top1) ||
        strcmp(format, "t2t checkpoint") != 0 || !json_is_array(list))
        return error_set(error, STATUS_DATA, "%s: not a checkpoint's manifest: %s", name, where.text);
    if (version != FORMAT_VERSION)
        return error_set(error, STATUS_DATA, "%s: format version %d; this program (%s) reads version %d", name, version,
                         T2T_VERSION, FORMAT_VERSION);
    checkpoint->position = (RunPosition){step, epoch, epoch_step, global_batch, validated, best_epoch, best_top1};
    snprintf(checkpoint->code, sizeof checkpoint->code, "%s", code);
    checkpoint->config = memory_copy_text(config, "a checkpoint's configuration", error);
    if (!checkpoint->config) return STATUS_FAILED;
    Status status = position_check(&checkpoint->position, name, error);
    return status ? status : files_parse(checkpoint, name, list, error);
}

Status checkpoint_manifest_parse(Checkpoint *checkpoint, const char *name, const char *bytes, size_t size, Error *error)
{
    json_error_t where;
    *checkpoint = (Checkpoint){0};
    Status status = manifest_verify(name, bytes, size, error);
    if (status) return status;
    json_t *object = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &where);
    if (!object) return error_set(error, STATUS_DATA, "%s: line %d: %s", name, where.line, where.text);
    status = manifest_read(checkpoint, name, object, error);
    json_decref(object);
    if (status) checkpoint_close(checkpoint);
    return status;
}

static Status file_verify(const char *folder, const CheckpointFile *want, Error *error)
{
    char path[PATH_SIZE];
    CheckpointFile found = {0};
    Status status = path_join(path, sizeof path, folder, want->name, error);
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

Status checkpoint_open_unverified(Checkpoint *checkpoint, const char *path, Error *error)
{
    *checkpoint = (Checkpoint){0};
    char name[PATH_SIZE], *bytes = NULL;
    size_t size;
    Status status = path_join(name, sizeof name, path, CHECKPOINT_MANIFEST, error);
    if (!status) status = file_read(name, CHECKPOINT_MANIFEST_LIMIT, &bytes, &size, error);
    if (!status) status = checkpoint_manifest_parse(checkpoint, name, bytes, size, error);
    free(bytes);
    if (!status) snprintf(checkpoint->path, sizeof checkpoint->path, "%s", path);
    return status;
}

Status checkpoint_open(Checkpoint *checkpoint, const char *path, Error *error)
{
    Status status = checkpoint_open_unverified(checkpoint, path, error);
    for (int i = 0; !status && i < checkpoint->count; i++) status = file_verify(path, &checkpoint->files[i], error);
    if (status) checkpoint_close(checkpoint);
    return status;
}

void checkpoint_close(Checkpoint *checkpoint)
{
    free(checkpoint->config);
    free(checkpoint->files);
    *checkpoint = (Checkpoint){0};
}

Status checkpoint_set_validated(const char *path, const RunPosition *position, const char *layout, Error *error)
{
    Checkpoint checkpoint = {0};
    Status status = checkpoint_open_unverified(&checkpoint, path, error);
    if (!status) {
        RunPosition known = checkpoint.position;
        known.validated = position->validated;
        known.best_epoch = position->best_epoch;
        known.best_top1 = position->best_top1;
        status = checkpoint_commit(path, &known, checkpoint.config, layout, checkpoint.files, checkpoint.count, error);
    }
    checkpoint_close(&checkpoint);
    return status;
}
