#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/printable.h"
#include "core/model/weights.h"
#include "dist/config/config.h"
#include "tools/info.h"

enum { MISMATCH_LINES = 20 };

typedef struct Fit {
    ModelConfig config;
    int mismatches, params; /* of the model */
    WeightsReport report;
} Fit;

static void ignore_mismatch(void *context, const Param *expected, const SafetensorsEntry *found)
{
    (void)context, (void)expected, (void)found;
}

/* context: how many lines may still be printed */
static void print_mismatch(void *context, const Param *expected, const SafetensorsEntry *found)
{
    int *lines = context;
    char want[128], have[256], name[1024] = "";
    if (--*lines < 0) return;
    if (found) printable(name, sizeof name, found->name);
    if (expected) weights_shape_text(expected->shape, expected->ndim, want, sizeof want);
    if (found) weights_shape_text(found->shape, found->ndim, have, sizeof have);
    if (!found)
        printf("    missing  %s %s\n", expected->name, want);
    else if (!expected)
        printf("    extra    %s %s\n", name, have);
    else
        printf("    shape    %s: expected %s, found %s\n", expected->name, want, have);
}

static Status compare(const Safetensors *file, const ModelConfig *config, WeightsMismatch mismatch, void *context,
                      Fit *fit, Error *error)
{
    ParamTable table;
    Status status = params_build(&table, config, error);
    if (status) return status;
    fit->config = *config;
    fit->params = table.count;
    fit->mismatches = weights_compare(file, &table, &fit->report, mismatch, context);
    params_free(&table);
    return STATUS_OK;
}

/* Metadata is anyone's text: no control characters reach the terminal, and not more than a line of it. */
static void print_plain(const char *text)
{
    enum { MOST = 200 };
    char shown[MOST + 1];
    int lines = 0;
    for (const char *at = text; *at; at++) lines += *at == '\n';
    if (lines > 1)
        printf("%d lines (--json has them)", lines);
    else
        printf("%s%s", printable(shown, sizeof shown, text), strlen(text) > MOST ? "..." : "");
}

/* Files count epochs from 0, people from 1. */
static void print_epoch(const char *text)
{
    char *end;
    long epoch = strtol(text, &end, 10);
    if (end > text && !*end && epoch >= 0 && epoch < INT32_MAX)
        printf("%ld (%ld in the file, which counts from 0)", epoch + 1, epoch);
    else
        print_plain(text);
}

static void print_content(const Safetensors *file)
{
    int64_t values = 0;
    uint64_t bytes = 0;
    bool types[DTYPE_BOOL + 1] = {false};
    char path[4 * 512];
    for (int i = 0; i < file->count; i++) {
        values += file->entries[i].numel;
        bytes += file->entries[i].end - file->entries[i].begin;
        types[file->entries[i].dtype] = true;
    }
    printf("%s: %d tensors, %" PRId64 " values, %.1f MB,", printable(path, sizeof path, file->path), file->count,
           values, (double)bytes * 1e-6);
    for (int i = 0; i <= DTYPE_BOOL; i++)
        if (types[i]) printf(" %s", dtype_name((Dtype)i));
    printf("\n");
    for (int i = 0; i < file->metadata_count; i += 2) {
        printf("  ");
        print_plain(file->metadata[i]);
        printf(": ");
        if (strcmp(file->metadata[i], "epoch") == 0)
            print_epoch(file->metadata[i + 1]);
        else
            print_plain(file->metadata[i + 1]);
        printf("\n");
    }
}

static void weights_print_tensors(const Safetensors *file)
{
    for (int i = 0; i < file->count; i++) {
        const SafetensorsEntry *entry = &file->entries[i];
        char shape[256], name[1024];
        printf("  %-46s %-20s %s\n", printable(name, sizeof name, entry->name),
               weights_shape_text(entry->shape, entry->ndim, shape, sizeof shape), dtype_name(entry->dtype));
    }
}

/* "t2t_vit_7, with 10 classes, at 96 x 96 pixels" */
static void fit_text(const Fit *fit, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "%s", fit->config.name);
    if (fit->report.head_dropped && used < size)
        used += (size_t)snprintf(text + used, size - used, ", with %" PRId64 " classes", fit->report.file_classes);
    if (!fit->report.positions_resized || used >= size) return;
    long side = lrint(sqrt((double)(fit->report.file_positions - 1))), old = lrint(sqrt(zoo_tokens(&fit->config) - 1));
    long pixels = side * fit->config.img_size / old;
    snprintf(text + used, size - used, ", at %ld x %ld pixels", pixels, pixels);
}

typedef struct Fits {        /* what the file is compared with, and the outcome */
    const ModelConfig *only; /* NULL: the published models */
    const char *whose;       /* "the configuration in it", or NULL */
    Fit nearest;
    json_t *names; /* of those that fit */
} Fits;

static Status find_fits(const Safetensors *file, Fits *fits, Error *error)
{
    fits->nearest.mismatches = INT32_MAX;
    fits->names = json_array();
    for (int i = 0; fits->only ? i < 1 : zoo_name(i) != NULL; i++) {
        ModelConfig config;
        Fit fit;
        char text[256];
        if (!fits->only && zoo_find(zoo_name(i), &config, error)) return error->status;
        Status status = compare(file, fits->only ? fits->only : &config, ignore_mismatch, NULL, &fit, error);
        if (status) return status;
        if (fit.mismatches < fits->nearest.mismatches) fits->nearest = fit;
        if (fit.mismatches > 0) continue;
        fit_text(&fit, text, sizeof text);
        json_array_append_new(fits->names, json_string(text));
    }
    return STATUS_OK;
}

static Status print_fits(const Safetensors *file, const Fits *fits, const InfoOptions *options, Error *error)
{
    Fit fit;
    for (size_t i = 0; i < json_array_size(fits->names); i++)
        printf("  fits %s%s%s\n", fits->whose ? fits->whose : "", fits->whose ? ": " : "",
               json_string_value(json_array_get(fits->names, i)));
    if (json_array_size(fits->names) > 0) return STATUS_OK;
    if (!fits->only && fits->nearest.mismatches >= fits->nearest.params + file->count) {
        printf("  weights of no model: not one tensor is called as one of a model's\n");
        if (!options->tensors) weights_print_tensors(file);
        return STATUS_OK;
    }
    printf("  fits no %s model; %s differs in %d tensors:\n", fits->only ? "such" : "published",
           fits->whose ? fits->whose : fits->nearest.config.name, fits->nearest.mismatches);
    int lines = options->tensors ? INT32_MAX : MISMATCH_LINES;
    Status status = compare(file, &fits->nearest.config, print_mismatch, &lines, &fit, error);
    if (lines < 0) printf("    ... and %d more: --tensors lists them\n", -lines);
    return status;
}

/* ---- JSON */

static json_t *json_tensors(const Safetensors *file)
{
    json_t *list = json_array();
    for (int i = 0; i < file->count; i++) {
        const SafetensorsEntry *entry = &file->entries[i];
        json_t *shape = json_array();
        for (int d = 0; d < entry->ndim; d++) json_array_append_new(shape, json_integer(entry->shape[d]));
        json_array_append_new(list, json_pack("{so ss so}", "name", json_words(entry->name), "dtype",
                                              dtype_name(entry->dtype), "shape", shape));
    }
    return list;
}

static void print_weights_json(const Safetensors *file, const Fits *fits)
{
    json_t *metadata = json_object(), *object;
    int64_t values = 0;
    for (int i = 0; i < file->count; i++) values += file->entries[i].numel;
    for (int i = 0; i < file->metadata_count; i += 2)
        json_object_set_new(metadata, file->metadata[i], json_words(file->metadata[i + 1]));
    object = json_pack("{ss so sI so sO sI so}", "kind", "weights", "path", json_words(file->path), "values",
                       (json_int_t)values, "metadata", metadata, "fits", fits->names, "mismatches",
                       (json_int_t)fits->nearest.mismatches, "tensors", json_tensors(file));
    json_print(object);
}

/* ---- */

bool info_is_weights(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

Status info_weights(const char *path, const InfoOptions *options, Error *error)
{
    Safetensors file;
    Config own;
    Fits fits = {.only = options->config ? &options->config->model : NULL};
    Status status = safetensors_open(&file, path, error);
    if (status) return status;
    const char *text = options->config ? NULL : safetensors_metadata(&file, "config");
    if (text) status = config_parse(&own, text, path, NULL, 0, error);
    if (text && !status) {
        fits.only = &own.model;
        fits.whose = "the configuration in it";
    }
    if (!options->json) print_content(&file);
    if (!status) status = find_fits(&file, &fits, error);
    if (!status && options->json) print_weights_json(&file, &fits);
    if (!status && !options->json) status = print_fits(&file, &fits, options, error);
    if (options->tensors && !options->json) weights_print_tensors(&file);
    json_decref(fits.names);
    safetensors_close(&file);
    return status;
}
