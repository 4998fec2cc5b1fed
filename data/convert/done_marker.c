#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/printable.h"
#include "data/convert/convert_plan.h"

enum { RECEIPT_LIMIT = 512 << 20 };

/* Names of files are any bytes; JSON and a table in a text file are not. */
static char *copy_printable(const char *text)
{
    size_t size = 4 * strlen(text) + 1;
    char *copy = malloc(size);
    return copy ? printable(copy, size, text) : NULL;
}

Status receipt_reject(Receipt *receipt, const char *name, const char *reason, Error *error)
{
    size_t count = 2 * (size_t)receipt->rejected_count;
    char **rejected = realloc(receipt->rejected, (count + 2) * sizeof *rejected);
    if (!rejected) return error_set(error, STATUS_FAILED, "no memory for the list of rejected images");
    receipt->rejected = rejected;
    rejected[count] = copy_printable(name);
    rejected[count + 1] = copy_printable(reason);
    receipt->rejected_count++;
    if (!rejected[count] || !rejected[count + 1]) return error_set(error, STATUS_FAILED, "no memory for a name");
    return STATUS_OK;
}

void receipt_free(Receipt *receipt)
{
    for (int i = 0; i < 2 * receipt->rejected_count; i++) free(receipt->rejected[i]);
    free(receipt->rejected);
    tally_free(&receipt->tally);
    *receipt = (Receipt){0};
}

static void receipt_path(char path[4096], const char *dest, const char *file)
{
    snprintf(path, 4096, "%s/.partial/%s.json", dest, file);
}

Status receipt_write(const Receipt *receipt, const char *dest, const char *fingerprint, Error *error)
{
    char path[4096];
    receipt_path(path, dest, receipt->shard.file);
    json_t *rejected = json_array();
    for (int i = 0; i < 2 * receipt->rejected_count; i++)
        json_array_append_new(rejected, json_string(receipt->rejected[i]));
    json_t *root =
        json_pack("{s:s, s:o, s:o, s:o}", "fingerprint", fingerprint, "shard", manifest_shard_to_json(&receipt->shard),
                  "tally", tally_to_json(&receipt->tally), "rejected", rejected);
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text) return error_set(error, STATUS_FAILED, "%s: cannot be written as JSON: no memory", path);
    Status status = file_write(path, text, strlen(text), error);
    free(text);
    return status;
}

static Status read_root(Receipt *receipt, json_t *root, const char *path, const char *fingerprint, int classes,
                        Error *error)
{
    const char *found;
    json_t *shard, *tally, *rejected;
    json_error_t why;
    if (json_unpack_ex(root, &why, 0, "{s:s, s:o, s:o, s:o}", "fingerprint", &found, "shard", &shard, "tally", &tally,
                       "rejected", &rejected) != 0)
        return error_set(error, STATUS_DATA, "%s: %s", path, why.text);
    if (strcmp(found, fingerprint) != 0) {
        error_set(error, STATUS_USAGE, "%s: belongs to a conversion of another source or with other options", path);
        return error_add(error, "  hint: convert into another folder, or remove this one first");
    }
    Status status = manifest_shard_from_json(&receipt->shard, shard, path, error);
    if (!status) status = tally_from_json(&receipt->tally, tally, classes, path, error);
    for (size_t i = 0; i + 1 < json_array_size(rejected) && !status; i += 2) {
        const char *name = json_string_value(json_array_get(rejected, i));
        const char *reason = json_string_value(json_array_get(rejected, i + 1));
        if (!name || !reason) return error_set(error, STATUS_DATA, "%s: rejected is not a list of texts", path);
        status = receipt_reject(receipt, name, reason, error);
    }
    return status;
}

Status receipt_read(Receipt *receipt, const char *dest, const PlanShard *shard, const char *fingerprint, int classes,
                    bool *found, Error *error)
{
    *receipt = (Receipt){0};
    char path[4096], *text;
    size_t size;
    receipt_path(path, dest, shard->file);
    *found = file_exists(path);
    if (!*found) return STATUS_OK;
    Status status = file_read(path, RECEIPT_LIMIT, &text, &size, error);
    if (status) return status;
    json_error_t why;
    json_t *root = json_loadb(text, size, 0, &why);
    free(text);
    if (!root) return error_set(error, STATUS_DATA, "%s:%d: not JSON: %s", path, why.line, why.text);
    status = read_root(receipt, root, path, fingerprint, classes, error);
    json_decref(root);
    if (status) receipt_free(receipt);
    return status;
}
