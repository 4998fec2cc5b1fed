#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdint.h>
#include <sys/stat.h>

#include "core/model/weights.h"
#include "tools/info.h"

enum { MISMATCH_LINES = 20 };

typedef struct Fit {
    ModelConfig config;
    int mismatches;
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
    char want[128], have[256];
    if (--*lines < 0) return;
    if (expected) weights_shape_text(expected->shape, expected->ndim, want, sizeof want);
    if (found) weights_shape_text(found->shape, found->ndim, have, sizeof have);
    if (!found)
        printf("    missing  %s %s\n", expected->name, want);
    else if (!expected)
        printf("    extra    %s %s\n", found->name, have);
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
    fit->mismatches = weights_compare(file, &table, &fit->report, mismatch, context);
    params_free(&table);
    return STATUS_OK;
}

/* Metadata is anyone's text: no control characters reach the terminal, and not more than a line of it. */
static void print_plain(const char *text)
{
    for (int i = 0; i < 200 && text[i]; i++) putchar((unsigned char)text[i] < 32 || text[i] == 127 ? '?' : text[i]);
}

static void print_content(const Safetensors *file)
{
    int64_t values = 0;
    uint64_t bytes = 0;
    bool types[DTYPE_BOOL + 1] = {false};
    for (int i = 0; i < file->count; i++) {
        values += file->entries[i].numel;
        bytes += file->entries[i].end - file->entries[i].begin;
        types[file->entries[i].dtype] = true;
    }
    printf("%s: %d tensors, %" PRId64 " values, %.1f MB,", file->path, file->count, values, (double)bytes * 1e-6);
    for (int i = 0; i <= DTYPE_BOOL; i++)
        if (types[i]) printf(" %s", dtype_name((Dtype)i));
    printf("\n");
    for (int i = 0; i < file->metadata_count; i += 2) {
        printf("  ");
        print_plain(file->metadata[i]);
        printf(": ");
        print_plain(file->metadata[i + 1]);
        printf("\n");
    }
}

static void weights_print_tensors(const Safetensors *file)
{
    for (int i = 0; i < file->count; i++) {
        const SafetensorsEntry *entry = &file->entries[i];
        char shape[256];
        printf("  %-46s %-20s %s\n", entry->name, weights_shape_text(entry->shape, entry->ndim, shape, sizeof shape),
               dtype_name(entry->dtype));
    }
}

static void print_fit(const Fit *fit)
{
    printf("  fits %s", fit->config.name);
    if (fit->report.head_dropped) printf(", with %" PRId64 " classes", fit->report.file_classes);
    if (fit->report.positions_resized) {
        long side = lrint(sqrt((double)(fit->report.file_positions - 1))),
             old = lrint(sqrt(zoo_tokens(&fit->config) - 1));
        printf(", at %ld x %ld pixels", side * fit->config.img_size / old, side * fit->config.img_size / old);
    }
    printf("\n");
}

static Status find_fit(const Safetensors *file, const InfoOptions *options, Error *error)
{
    Fit fit, nearest = {.mismatches = INT32_MAX};
    bool fits = false;
    for (int i = 0; options->model ? i < 1 : zoo_name(i) != NULL; i++) {
        ModelConfig config;
        if (!options->model && zoo_find(zoo_name(i), &config, error)) return error->status;
        Status status = compare(file, options->model ? options->model : &config, ignore_mismatch, NULL, &fit, error);
        if (status) return status;
        if (fit.mismatches < nearest.mismatches) nearest = fit;
        if (fit.mismatches > 0) continue;
        print_fit(&fit);
        fits = true;
    }
    if (fits) return STATUS_OK;
    printf("  fits no %s model; %s differs in %d tensors:\n", options->model ? "such" : "published",
           nearest.config.name, nearest.mismatches);
    int lines = options->tensors ? INT32_MAX : MISMATCH_LINES;
    Status status = compare(file, &nearest.config, print_mismatch, &lines, &fit, error);
    if (lines < 0) printf("    ... and %d more: --tensors lists them\n", -lines);
    return status;
}

bool info_is_weights(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

Status info_weights(const char *path, const InfoOptions *options, Error *error)
{
    Safetensors file;
    Status status = safetensors_open(&file, path, error);
    if (status) return status;
    print_content(&file);
    status = find_fit(&file, options, error);
    if (options->tensors) weights_print_tensors(&file);
    safetensors_close(&file);
    return status;
}
