#include "tools/eval_files.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/printable.h"
#include "tools/json_output.h"

enum { NAME_SIZE = 1024 };

static bool ends_with(const char *path, const char *suffix)
{
    size_t length = strlen(path), end = strlen(suffix);
    return length > end && strcmp(path + length - end, suffix) == 0;
}

Status prediction_format(const char *path, PredictionFormat *format, Error *error)
{
    *format = ends_with(path, ".csv") ? PREDICTIONS_CSV : PREDICTIONS_JSON_LINES;
    if (*format == PREDICTIONS_CSV || ends_with(path, ".jsonl")) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "--predictions: %s: the name says the format, so it has to end with .csv or .jsonl", path);
}

Status eval_file_open(FILE **out, const char *path, Error *error)
{
    *out = fopen(path, "w");
    if (*out) return STATUS_OK;
    return error_set(error, STATUS_FAILED, "%s: cannot write: %s", path, strerror(errno));
}

Status eval_file_close(FILE *out, const char *path, Error *error)
{
    if (!out) return STATUS_OK;
    const bool failed = ferror(out) != 0;
    if (fclose(out) == 0 && !failed) return STATUS_OK;
    return error_set(error, STATUS_FAILED, "%s: cannot write: %s", path, strerror(errno));
}

const char *eval_class_name(const Dataset *dataset, int class, char *text, size_t size)
{
    const char *name = class < dataset_classes(dataset) ? dataset_class_name(dataset, class) : NULL;
    if (name) return printable(text, size, name);
    snprintf(text, size, "class %d", class);
    return text;
}

/* Spreadsheets compute what begins so, quoted or not, but not what follows an apostrophe. */
static void csv_class(FILE *out, const Dataset *dataset, int class)
{
    char name[NAME_SIZE];
    eval_class_name(dataset, class, name, sizeof name);
    fputc('"', out);
    if (name[0] && strchr("=+-@", name[0])) fputc('\'', out);
    for (const char *at = name; *at; at++) {
        if (*at == '"') fputc('"', out);
        fputc(*at, out);
    }
    fputc('"', out);
}

void write_confusion(FILE *out, const Dataset *dataset, int classes, const int64_t *confusion)
{
    fputs("class", out);
    for (int c = 0; c < classes; c++) {
        fputc(',', out);
        csv_class(out, dataset, c);
    }
    fputc('\n', out);
    for (int r = 0; r < dataset_classes(dataset); r++) {
        csv_class(out, dataset, r);
        for (int c = 0; c < classes; c++) fprintf(out, ",%" PRId64, confusion[(size_t)r * (size_t)classes + (size_t)c]);
        fputc('\n', out);
    }
}

/* ---- predictions */

typedef struct Place {
    int64_t image, key;
    int shard;
} Place;

static void csv_line(FILE *out, const Dataset *dataset, Place place, const Prediction *prediction)
{
    fprintf(out, "%" PRId64 ",%s,%" PRId64 ",%" PRId64 ",", place.image, dataset_shard_file(dataset, place.shard),
            place.key, prediction->label);
    csv_class(out, dataset, (int)prediction->label);
    for (int k = 0; k < PREDICTED; k++) {
        const Guess *guess = &prediction->top[k];
        if (guess->class < 0) {
            fputs(",,,", out);
            continue;
        }
        fprintf(out, ",%d,", guess->class);
        csv_class(out, dataset, guess->class);
        fprintf(out, ",%.6g", guess->probability);
    }
    fputc('\n', out);
}

static void json_line(FILE *out, const Dataset *dataset, Place place, const Prediction *prediction)
{
    char name[NAME_SIZE];
    json_t *top = json_array();
    for (int k = 0; k < PREDICTED && prediction->top[k].class >= 0; k++) {
        const Guess *guess = &prediction->top[k];
        json_array_append_new(top, json_pack("{si ss so}", "class", guess->class, "name",
                                             eval_class_name(dataset, guess->class, name, sizeof name), "probability",
                                             json_figure(guess->probability)));
    }
    json_t *line = json_pack("{sI ss sI sI ss so}", "image", (json_int_t)place.image, "shard",
                             dataset_shard_file(dataset, place.shard), "key", (json_int_t)place.key, "label",
                             (json_int_t)prediction->label, "name",
                             eval_class_name(dataset, (int)prediction->label, name, sizeof name), "top", top);
    json_write_line(out, line);
}

void write_predictions(FILE *out, PredictionFormat format, const Dataset *dataset, const Prediction *predictions)
{
    if (format == PREDICTIONS_CSV) {
        fputs("image,shard,key,label,name", out);
        for (int k = 1; k <= PREDICTED; k++) fprintf(out, ",class%d,name%d,probability%d", k, k, k);
        fputc('\n', out);
    }
    for (int shard = 0; shard < dataset_shards(dataset); shard++) {
        const int64_t begin = dataset_shard_begin(dataset, shard), end = dataset_shard_begin(dataset, shard + 1);
        for (int64_t i = begin; i < end; i++) {
            if (predictions[i].label < 0) continue;
            (format == PREDICTIONS_CSV ? csv_line : json_line)(out, dataset, (Place){i, i - begin, shard},
                                                               &predictions[i]);
        }
    }
}
