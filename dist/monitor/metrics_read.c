/* metrics_read.c: metrics.jsonl back into records. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/memory.h"
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

/* Within the years that a calendar of four digits knows. */
static double time_of(const json_t *object)
{
    double time = real_of(object, "time");
    return time >= 0 && time < 253402300800.0 ? time : NAN;
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
        .time = time_of(object),
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
        .time = time_of(object),
    };
}

/* A number that may be missing: then 0. */
static int64_t count_of(const json_t *object, const char *key)
{
    int64_t number = whole_of(object, key, LARGEST_STEP);
    return number > 0 ? number : 0;
}

static RunEvent run_event_of(const json_t *object, RunEventKind kind, int64_t step)
{
    double core_hours = real_of(object, "core_hours");
    return (RunEvent){
        .kind = kind,
        .step = step,
        .epoch_steps = count_of(object, "epoch_steps"),
        .images = count_of(object, "images"),
        .validation_images = count_of(object, "validation_images"),
        .parameters = count_of(object, "parameters"),
        .threads = count_of(object, "threads"),
        .core_hours = core_hours > 0 ? core_hours : 0,
        .time = time_of(object),
    };
}

/* -1: none of them. */
static int run_event_kind(const char *event)
{
    static const char *const NAMES[] = {"start", "checkpoint", "end", NULL};
    for (int i = 0; NAMES[i]; i++)
        if (strcmp(event, NAMES[i]) == 0) return i;
    return -1;
}

MetricsEvent metrics_parse(const char *text, size_t size, MetricsLine *line)
{
    MetricsEvent kind = METRICS_BROKEN;
    json_t *object = json_loadb(text, size, 0, NULL);
    const char *event = json_string_value(json_object_get(object, "event"));
    int64_t step = whole_of(object, "step", LARGEST_STEP), epoch = whole_of(object, "epoch", LARGEST_EPOCH);
    bool placed = step >= 0 && epoch >= 0;
    if (event && strcmp(event, "train") == 0) {
        if (placed) kind = METRICS_TRAIN;
        line->train = train_of(object, step, epoch);
    } else if (event && strcmp(event, "validation") == 0) {
        if (placed) kind = METRICS_VALIDATION;
        line->validation = validation_of(object, step, epoch);
    } else if (event && run_event_kind(event) >= 0) {
        if (step >= 0) kind = METRICS_RUN;
        line->run = run_event_of(object, (RunEventKind)run_event_kind(event), step);
    } else if (event) {
        kind = METRICS_OTHER;
    }
    json_decref(object);
    return kind;
}

/* ---- core-hours */

void core_time_line(CoreTime *cores, double time)
{
    if (time > cores->last) cores->last = time; /* a clock that was set back adds nothing */
}

void core_time_event(CoreTime *cores, const RunEvent *event)
{
    if (event->kind == RUN_STARTED)
        *cores = (CoreTime){event->core_hours, event->time, event->time, (double)event->threads};
    else
        core_time_line(cores, event->time);
}

double core_time_hours(const CoreTime *cores)
{
    double seconds = cores->last - cores->began;
    return cores->before + (seconds > 0 ? seconds * cores->threads / 3600 : 0);
}

const char *core_hours_text(double hours, char text[32])
{
    snprintf(text, 32, hours < 100 ? "%.3g" : "%.0f", hours);
    return text;
}

/* ---- a whole file */

/* Two passes: the first with no arrays to fill only counts. */
static void read_lines(MetricsHistory *history, const char *text, size_t size)
{
    MetricsLine record;
    history->trains = history->validations = history->events = 0;
    history->cores = CORE_TIME_NONE;
    const char *end;
    for (const char *line = text; (end = memchr(line, '\n', (size_t)(text + size - line))); line = end + 1) {
        MetricsEvent event = metrics_parse(line, (size_t)(end - line), &record);
        if (event == METRICS_TRAIN) {
            if (history->train) history->train[history->trains] = record.train;
            core_time_line(&history->cores, record.train.time);
            history->trains++;
        } else if (event == METRICS_VALIDATION) {
            if (history->validation) history->validation[history->validations] = record.validation;
            core_time_line(&history->cores, record.validation.time);
            history->validations++;
        } else if (event == METRICS_RUN) {
            if (history->event) history->event[history->events] = record.run;
            core_time_event(&history->cores, &record.run);
            if (record.run.kind == RUN_STARTED) provenance_parse(line, (size_t)(end - line), &history->provenance);
            history->events++;
        }
    }
}

Status metrics_parse_all(MetricsHistory *history, const char *text, size_t size, Error *error)
{
    *history = (MetricsHistory){0};
    read_lines(history, text, size);
    static const char PURPOSE[] = "the records of metrics.jsonl";
    history->train = memory_alloc(history->trains, sizeof *history->train, PURPOSE, error);
    history->validation = memory_alloc(history->validations, sizeof *history->validation, PURPOSE, error);
    history->event = memory_alloc(history->events, sizeof *history->event, PURPOSE, error);
    if (!history->train || !history->validation || !history->event) {
        metrics_history_free(history);
        return STATUS_FAILED;
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
    free(history->event);
    *history = (MetricsHistory){0};
}
