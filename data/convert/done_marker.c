#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/base/path.h"
#include "data/convert/convert_plan.h"

enum { DONE_MARKER_LIMIT = 512 << 20 };
static const char PURPOSE[] = "the list of rejected images";

Status done_marker_reject(DoneMarker *marker, const char *name, const char *reason, Error *error)
{
    size_t count = 2 * (size_t)marker->rejected_count;
    Status status =
        memory_resize((void **)&marker->rejected, (int64_t)count + 2, sizeof *marker->rejected, PURPOSE, error);
    if (status) return status;
    char **rejected = marker->rejected + count;
    /* A file's name may hold any bytes, but JSON and a text table may not. */
    rejected[0] = memory_copy_printable(name, PURPOSE, error);
    rejected[1] = memory_copy_printable(reason, PURPOSE, error);
    marker->rejected_count++;
    return rejected[0] && rejected[1] ? STATUS_OK : STATUS_FAILED;
}

void done_marker_free(DoneMarker *marker)
{
    for (int i = 0; i < 2 * marker->rejected_count; i++) free(marker->rejected[i]);
    free(marker->rejected);
    dataset_stats_free(&marker->stats);
    *marker = (DoneMarker){0};
}

static Status done_marker_path(char path[PATH_SIZE], const char *dest, const char *file, Error *error)
{
    char name[PATH_SIZE];
    snprintf(name, sizeof name, ".partial/%s.json", file);
    return path_join(path, PATH_SIZE, dest, name, error);
}

Status done_marker_write(const DoneMarker *marker, const char *dest, const char *fingerprint, Error *error)
{
    char path[PATH_SIZE];
    Status status = done_marker_path(path, dest, marker->shard.file, error);
    if (status) return status;
    json_t *rejected = json_array();
    for (int i = 0; i < 2 * marker->rejected_count; i++)
        json_array_append_new(rejected, json_string(marker->rejected[i]));
    json_t *root =
        json_pack("{s:s, s:o, s:o, s:o}", "fingerprint", fingerprint, "shard", manifest_shard_to_json(&marker->shard),
                  "tally", dataset_stats_to_json(&marker->stats), "rejected", rejected);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text) return memory_failed(path, error);
    status = file_write(path, text, strlen(text), error);
    free(text);
    return status;
}

static Status read_root(DoneMarker *marker, json_t *root, const char *path, const char *fingerprint, int classes,
                        Error *error)
{
    const char *found;
    json_t *shard, *stats, *rejected;
    json_error_t why;
    if (json_unpack_ex(root, &why, 0, "{s:s, s:o, s:o, s:o}", "fingerprint", &found, "shard", &shard, "tally", &stats,
                       "rejected", &rejected) != 0)
        return error_set(error, STATUS_DATA, "%s: %s", path, why.text);
    if (strcmp(found, fingerprint) != 0) {
        error_set(error, STATUS_USAGE, "%s: belongs to a conversion of another source or with other options", path);
        return error_add(error, "  hint: convert into another folder, or remove this one first");
    }
    Status status = manifest_shard_from_json(&marker->shard, shard, path, error);
    if (!status) status = dataset_stats_from_json(&marker->stats, stats, classes, path, error);
    for (size_t i = 0; i + 1 < json_array_size(rejected) && !status; i += 2) {
        const char *name = json_string_value(json_array_get(rejected, i));
        const char *reason = json_string_value(json_array_get(rejected, i + 1));
        if (!name || !reason) return error_set(error, STATUS_DATA, "%s: rejected is not a list of texts", path);
        status = done_marker_reject(marker, name, reason, error);
    }
    return status;
}

Status done_marker_read(DoneMarker *marker, const char *dest, const PlanShard *shard, const char *fingerprint,
                        int classes, bool *found, Error *error)
{
    *marker = (DoneMarker){0};
    char path[PATH_SIZE], *text;
    size_t size;
    Status status = done_marker_path(path, dest, shard->file, error);
    *found = !status && file_exists(path);
    if (!*found) return status;
    status = file_read(path, DONE_MARKER_LIMIT, &text, &size, error);
    if (status) return status;
    json_error_t why;
    json_t *root = json_loadb(text, size, 0, &why);
    free(text);
    if (!root) return error_set(error, STATUS_DATA, "%s:%d: not JSON: %s", path, why.line, why.text);
    status = read_root(marker, root, path, fingerprint, classes, error);
    json_decref(root);
    if (status) done_marker_free(marker);
    return status;
}
