/* metrics_read.c: metrics.jsonl back into records. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "dist/monitor/metrics.h"

static const size_t LARGEST_FILE = (size_t)1 << 30;

static double real_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static TrainRecord train_of(const json_t *object, int64_t step, int64_t epoch)
{
    return (TrainRecord){
        .step = step,
        .epoch = epoch,
        .loss = real_of(object, "loss"),
        .lr = real_of(object, "lr"),
        .grad_norm = real_of(object, "grad_norm"),
        .images_per_s = real_of(object, "images_per_s"),
        .data_wait = real_of(object, "data_wait"),
        .comm_wait = real_of(object, "comm_wait"),
    };
}

static ValidationRecord validation_of(const json_t *object, int64_t step, int64_t epoch)
{
    return (ValidationRecord){
        .step = step,
        .epoch = epoch,
        .count = json_integer_value(json_object_get(object, "count")),
        .loss = real_of(object, "loss"),
        .top1 = real_of(object, "top1"),
        .top5 = real_of(object, "top5"),
        .has_ema = json_object_get(object, "top1_ema") != NULL,
        .loss_ema = real_of(object, "loss_ema"),
        .top1_ema = real_of(object, "top1_ema"),
        .top5_ema = real_of(object, "top5_ema"),
    };
}

MetricsEvent metrics_parse(const char *line, size_t size, TrainRecord *train, ValidationRecord *validation)
{
    MetricsEvent kind = METRICS_BROKEN;
    json_t *object = json_loadb(line, size, 0, NULL);
    const char *event = json_string_value(json_object_get(object, "event"));
    const json_t *step = json_object_get(object, "step"), *epoch = json_object_get(object, "epoch");
    bool placed = json_is_integer(step) && json_is_integer(epoch) && json_integer_value(step) >= 0 &&
                  json_integer_value(epoch) >= 0;
    if (event && strcmp(event, "train") == 0) {
        if (placed) kind = METRICS_TRAIN;
        *train = train_of(object, json_integer_value(step), json_integer_value(epoch));
    } else if (event && strcmp(event, "validation") == 0) {
        if (placed) kind = METRICS_VALIDATION;
        *validation = validation_of(object, json_integer_value(step), json_integer_value(epoch));
    } else if (event) {
        kind = METRICS_OTHER;
    }
    json_decref(object);
    return kind;
}

/* Two passes: the first with no arrays to fill only counts. */
static void read_lines(MetricsHistory *history, const char *text, size_t size)
{
    TrainRecord train;
    ValidationRecord validation;
    history->trains = history->validations = 0;
    const char *end;
    for (const char *line = text; (end = memchr(line, '\n', (size_t)(text + size - line))); line = end + 1) {
        MetricsEvent event = metrics_parse(line, (size_t)(end - line), &train, &validation);
        if (event == METRICS_TRAIN) {
            if (history->train) history->train[history->trains] = train;
            history->trains++;
        } else if (event == METRICS_VALIDATION) {
            if (history->validation) history->validation[history->validations] = validation;
            history->validations++;
        }
    }
}

Status metrics_read(MetricsHistory *history, const char *folder, Error *error)
{
    char path[1100], *text;
    size_t size;
    *history = (MetricsHistory){0};
    snprintf(path, sizeof path, "%s/metrics.jsonl", folder);
    Status status = file_read(path, LARGEST_FILE, &text, &size, error);
    if (status) return status;
    read_lines(history, text, size);
    history->train = calloc((size_t)history->trains + 1, sizeof *history->train);
    history->validation = calloc((size_t)history->validations + 1, sizeof *history->validation);
    if (history->train && history->validation) {
        read_lines(history, text, size);
    } else {
        metrics_history_free(history);
        status = error_set(error, STATUS_FAILED, "%s: out of memory", path);
    }
    free(text);
    return status;
}

void metrics_history_free(MetricsHistory *history)
{
    free(history->train);
    free(history->validation);
    *history = (MetricsHistory){0};
}
