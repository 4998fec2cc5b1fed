/* metrics_read.c: metrics.jsonl back into records. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "dist/monitor/metrics.h"

static const size_t LARGEST_FILE = (size_t)1 << 30;

/* The file may come from anywhere. A position beyond these is no record of a run, and a figure beyond the range of a float
 * none that training computed; within them no sum or product of the readers overflows. */
static const int64_t LARGEST_STEP = INT64_C(1000000000000), LARGEST_EPOCH = 2000000;
static const double LARGEST_FIGURE = 3.5e38;

static double real_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    double number = json_is_number(value) ? json_number_value(value) : NAN;
    return fabs(number) <= LARGEST_FIGURE ? number : NAN;
}

/* -1: not there, or not within 0 .. most. */
static int64_t whole_of(const json_t *object, const char *key, int64_t most)
{
    const json_t *value = json_object_get(object, key);
    int64_t number = json_is_integer(value) ? json_integer_value(value) : -1;
    return number >= 0 && number <= most ? number : -1;
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
    int64_t count = whole_of(object, "count", LARGEST_STEP);
    return (ValidationRecord){
        .step = step,
        .epoch = epoch,
        .count = count > 0 ? count : 0,
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
    int64_t step = whole_of(object, "step", LARGEST_STEP), epoch = whole_of(object, "epoch", LARGEST_EPOCH);
    bool placed = step >= 0 && epoch >= 0;
    if (event && strcmp(event, "train") == 0) {
        if (placed) kind = METRICS_TRAIN;
        *train = train_of(object, step, epoch);
    } else if (event && strcmp(event, "validation") == 0) {
        if (placed) kind = METRICS_VALIDATION;
        *validation = validation_of(object, step, epoch);
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

Status metrics_parse_all(MetricsHistory *history, const char *text, size_t size, Error *error)
{
    *history = (MetricsHistory){0};
    read_lines(history, text, size);
    history->train = calloc((size_t)history->trains + 1, sizeof *history->train);
    history->validation = calloc((size_t)history->validations + 1, sizeof *history->validation);
    if (!history->train || !history->validation) {
        int64_t records = history->trains + history->validations;
        metrics_history_free(history);
        return error_set(error, STATUS_FAILED, "out of memory for %" PRId64 " records of metrics.jsonl", records);
    }
    read_lines(history, text, size);
    return STATUS_OK;
}

Status metrics_read(MetricsHistory *history, const char *folder, Error *error)
{
    char path[PATH_SIZE], *text;
    size_t size;
    *history = (MetricsHistory){0};
    Status status = path_join(path, sizeof path, folder, "metrics.jsonl", error);
    if (!status) status = file_read(path, LARGEST_FILE, &text, &size, error);
    if (status) return status;
    status = metrics_parse_all(history, text, size, error);
    free(text);
    return status;
}

void metrics_history_free(MetricsHistory *history)
{
    free(history->train);
    free(history->validation);
    *history = (MetricsHistory){0};
}
