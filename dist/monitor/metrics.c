#include "dist/monitor/metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/memory.h"
#include "dist/monitor/record_file.h"

static const size_t LARGEST_FILE = (size_t)1 << 30;

/* ---- the training loss of an epoch, for summary.csv */

static void note_loss(Metrics *metrics, const TrainRecord *record)
{
    int slot = (int)(record->epoch % METRICS_EPOCHS);
    int64_t steps = record->step - metrics->last_step;
    if (metrics->losses[slot].epoch != record->epoch || metrics->losses[slot].steps == 0) {
        metrics->losses[slot].epoch = record->epoch;
        metrics->losses[slot].steps = 0;
        metrics->losses[slot].sum = 0;
    }
    metrics->losses[slot].steps += steps;
    metrics->losses[slot].sum += record->loss * (double)steps;
    metrics->last_step = record->step;
}

static double epoch_loss(const Metrics *metrics, int64_t epoch)
{
    int slot = (int)(epoch % METRICS_EPOCHS);
    bool known = metrics->losses[slot].epoch == epoch && metrics->losses[slot].steps > 0;
    return known ? metrics->losses[slot].sum / (double)metrics->losses[slot].steps : NAN;
}

/* ---- cutting off what a resumed run will write again */

typedef struct Kept { /* lines of a file that stay */
    char *text;
    size_t size;
} Kept;

static void keep(Kept *kept, const char *line, size_t size)
{
    memmove(kept->text + kept->size, line, size);
    kept->size += size;
}

/* Calls for each line with its newline; a last line without one was torn by a crash and is left out. */
typedef bool (*LineStays)(void *context, const char *line, size_t size);

static Status cut_file(const char *path, LineStays stays, void *context, Error *error)
{
    char *text;
    size_t size;
    if (!file_exists(path)) return STATUS_OK;
    Status status = file_read(path, LARGEST_FILE, &text, &size, error);
    if (status) return status;
    Kept kept = {text, 0};
    for (char *line = text, *end; (end = memchr(line, '\n', (size_t)(text + size - line))); line = end + 1)
        if (stays(context, line, (size_t)(end + 1 - line))) keep(&kept, line, (size_t)(end + 1 - line));
    if (kept.size != size) status = file_write(path, kept.text, kept.size, error);
    free(text);
    return status;
}

typedef struct Cut {
    Metrics *metrics;
    int64_t step;
} Cut;

static bool record_stays(void *context, const char *line, size_t size)
{
    Cut *cut = context;
    Metrics *metrics = cut->metrics;
    MetricsLine record;
    switch (metrics_parse(line, size, &record)) {
    case METRICS_TRAIN:
        core_time_line(&metrics->cores, record.train.time);
        if (record.train.step > cut->step) return false;
        note_loss(metrics, &record.train);
        return true;
    case METRICS_VALIDATION:
        core_time_line(&metrics->cores, record.validation.time);
        if (record.validation.step > cut->step) return false;
        if (record.validation.epoch > metrics->validated_epoch) metrics->validated_epoch = record.validation.epoch;
        return true;
    case METRICS_RUN:
        core_time_event(&metrics->cores, &record.run);
        return record.run.step <= cut->step;
    case METRICS_OTHER:
        return true;
    case METRICS_BROKEN:
        break;
    }
    return false;
}

static bool row_stays(void *context, const char *line, size_t size)
{
    const Cut *cut = context;
    char *end;
    int64_t epoch = strtoll(line, &end, 10);
    bool heading = size > 5 && memcmp(line, "epoch", 5) == 0;
    return heading || (end > line && *end == ',' && epoch <= cut->metrics->validated_epoch);
}

static Status cut_files(Metrics *metrics, const char *lines, const char *summary, int64_t step, Error *error)
{
    Cut cut = {metrics, step};
    Status status = cut_file(lines, record_stays, &cut, error);
    return status ? status : cut_file(summary, row_stays, &cut, error);
}

/* ---- opening */

/* Older files have the raw weights' columns first. */
static bool begins_with_raw(const char *summary)
{
    char heading[128] = "";
    FILE *file = fopen(summary, "r");
    if (file && !fgets(heading, sizeof heading, file)) heading[0] = '\0';
    if (file) fclose(file);
    return strstr(heading, "eval_top1_ema") != NULL;
}

static Status write_heading(Metrics *metrics, const char *summary, Error *error)
{
    static const char RAW[] = "epoch,train_loss,eval_loss,eval_top1,eval_top5\n";
    static const char WITH_EMA[] =
        "epoch,train_loss,eval_loss,eval_top1,eval_top5,eval_loss_raw,eval_top1_raw,eval_top5_raw\n";
    metrics->raw_first = begins_with_raw(summary);
    if (file_size(summary) > 0) return STATUS_OK;
    const char *heading = metrics->ema ? WITH_EMA : RAW;
    return record_file_append(metrics->summary, heading, strlen(heading), "summary.csv", error);
}

Status metrics_open(Metrics *metrics, const char *folder, int64_t step, bool ema, Error *error)
{
    char lines[PATH_SIZE], summary[PATH_SIZE], events[PATH_SIZE];
    *metrics = (Metrics){
        .lines = -1, .summary = -1, .ema = ema, .board = {.fd = -1}, .validated_epoch = -1, .cores = CORE_TIME_NONE};
    Status status = path_join(lines, sizeof lines, folder, "metrics.jsonl", error);
    if (!status) status = path_join(summary, sizeof summary, folder, "summary.csv", error);
    if (!status) status = path_join(events, sizeof events, folder, "tb", error);
    if (!status) status = cut_files(metrics, lines, summary, step, error);
    if (!status) status = record_file_open(&metrics->lines, lines, error);
    if (!status) status = record_file_open(&metrics->summary, summary, error);
    if (!status) status = write_heading(metrics, summary, error);
    if (!status) tensorboard_open(&metrics->board, events, step);
    if (status) metrics_close(metrics);
    return status;
}

void metrics_close(Metrics *metrics)
{
    tensorboard_close(&metrics->board);
    if (metrics->summary >= 0) close(metrics->summary);
    if (metrics->lines >= 0) close(metrics->lines);
    metrics->summary = metrics->lines = -1;
}

Status metrics_sync(Metrics *metrics, Error *error)
{
    if (fsync(metrics->lines) == 0 && fsync(metrics->summary) == 0) return STATUS_OK;
    return error_set(error, STATUS_FAILED, "metrics.jsonl, summary.csv: %s", strerror(errno));
}

/* ---- writing */

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* Consumes `object`. The time is put in behind the rest: nine digits, enough for a figure, are too few for it. */
static Status append_object(const Metrics *metrics, json_t *object, Error *error)
{
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL, *line = NULL;
    json_decref(object);
    int size = text ? asprintf(&line, "%.*s,\"time\":%.3f}\n", (int)strlen(text) - 1, text, clock_wall_seconds()) : -1;
    free(text);
    if (size < 0) return memory_failed("a line of metrics.jsonl", error);
    Status status = record_file_append(metrics->lines, line, (size_t)size, "metrics.jsonl", error);
    free(line);
    return status;
}

static void add_row(void *context, const char *name, const char *value)
{
    FILE *table = context;
    fprintf(table, "| %s | ", name);
    for (; *value; value++) fprintf(table, strchr("\\`*_|<", *value) ? "\\%c" : "%c", *value);
    fprintf(table, " |\n");
}

/* A table for TensorBoard's page of texts. */
static Status write_text(Metrics *metrics, const RunStart *start, Error *error)
{
    char *text = NULL;
    size_t size = 0;
    FILE *table = open_memstream(&text, &size);
    if (table) fprintf(table, "| run | |\n|---|---|\n");
    if (table) provenance_each(&start->provenance, add_row, table);
    bool written = table && fclose(table) == 0;
    Status status =
        written ? tensorboard_text(&metrics->board, start->step, "run", text, error) : memory_failed("tb/", error);
    free(text);
    return status;
}

Status metrics_start(Metrics *metrics, const RunStart *start, Error *error)
{
    char *text = provenance_json(&start->provenance);
    json_t *object =
        json_pack("{ss sI sI sI sI sI sI so}", "event", "start", "step", (json_int_t)start->step, "epochs",
                  (json_int_t)start->epochs, "epoch_steps", (json_int_t)start->epoch_steps, "images",
                  (json_int_t)start->images, "validation_images", (json_int_t)start->validation_images, "parameters",
                  (json_int_t)start->parameters, "core_hours", number(core_time_hours(&metrics->cores)));
    json_t *provenance = text ? json_loads(text, 0, NULL) : NULL;
    if (object && provenance) json_object_update(object, provenance);
    json_decref(provenance);
    free(text);
    core_time_event(&metrics->cores, &(RunEvent){.kind = RUN_STARTED,
                                                 .threads = start->provenance.threads,
                                                 .core_hours = core_time_hours(&metrics->cores),
                                                 .time = clock_wall_seconds()});
    Status status = append_object(metrics, object, error);
    return status ? status : write_text(metrics, start, error);
}

Status metrics_checkpoint(Metrics *metrics, int64_t step, uint64_t bytes, double seconds, Error *error)
{
    return append_object(metrics,
                         json_pack("{ss sI sI so}", "event", "checkpoint", "step", (json_int_t)step, "bytes",
                                   (json_int_t)bytes, "seconds", number(seconds)),
                         error);
}

Status metrics_end(Metrics *metrics, int64_t step, const char *state, Error *error)
{
    core_time_line(&metrics->cores, clock_wall_seconds());
    return append_object(metrics,
                         json_pack("{ss sI ss so}", "event", "end", "step", (json_int_t)step, "state", state,
                                   "core_hours", number(core_time_hours(&metrics->cores))),
                         error);
}

Status metrics_train(Metrics *metrics, const TrainRecord *record, Error *error)
{
    note_loss(metrics, record);
    json_t *object =
        json_pack("{ss sI sI so so so so so so}", "event", "train", "step", (json_int_t)record->step, "epoch",
                  (json_int_t)record->epoch, "loss", number(record->loss), "lr", number(record->lr), "grad_norm",
                  number(record->grad_norm), "images_per_s", number(record->images_per_s), "data_wait",
                  number(record->data_wait), "comm_wait", number(record->comm_wait));
    Status status = append_object(metrics, object, error);
    if (status) return status;
    Scalar scalars[] = {{"train/loss", record->loss},           {"train/lr", record->lr},
                        {"train/grad_norm", record->grad_norm}, {"speed/images_per_s", record->images_per_s},
                        {"speed/data_wait", record->data_wait}, {"speed/comm_wait", record->comm_wait}};
    return tensorboard_write(&metrics->board, record->step, scalars, sizeof scalars / sizeof scalars[0], error);
}

static Status append_row(const Metrics *metrics, const ValidationRecord *record, Error *error)
{
    char row[4096]; /* the largest double has 309 digits before its point */
    const double raw[] = {record->loss, record->top1, record->top5};
    const double averaged[] = {record->loss_ema, record->top1_ema, record->top5_ema};
    const bool raw_first = !metrics->ema || metrics->raw_first;
    const double *first = raw_first ? raw : averaged, *second = raw_first ? averaged : raw;
    int size = snprintf(row, sizeof row, "%" PRId64 ",%.6f,%.6f,%.4f,%.4f", record->epoch,
                        epoch_loss(metrics, record->epoch), first[0], first[1], first[2]);
    if (metrics->ema)
        size += snprintf(row + size, sizeof row - (size_t)size, ",%.6f,%.4f,%.4f", second[0], second[1], second[2]);
    row[size++] = '\n';
    return record_file_append(metrics->summary, row, (size_t)size, "summary.csv", error);
}

Status metrics_validation(Metrics *metrics, const ValidationRecord *record, Error *error)
{
    if (record->epoch <= metrics->validated_epoch) return STATUS_OK;
    /* The row first: metrics_open keeps rows by what metrics.jsonl knows. */
    Status status = append_row(metrics, record, error);
    if (status) return status;
    json_t *object = json_pack("{ss sI sI sI so so so}", "event", "validation", "step", (json_int_t)record->step,
                               "epoch", (json_int_t)record->epoch, "count", (json_int_t)record->count, "loss",
                               number(record->loss), "top1", number(record->top1), "top5", number(record->top5));
    if (object && record->has_ema) {
        json_object_set_new(object, "loss_ema", number(record->loss_ema));
        json_object_set_new(object, "top1_ema", number(record->top1_ema));
        json_object_set_new(object, "top5_ema", number(record->top5_ema));
    }
    status = append_object(metrics, object, error);
    if (status) return status;
    metrics->validated_epoch = record->epoch;
    Scalar scalars[] = {{"eval/loss", record->loss},         {"eval/top1", record->top1},
                        {"eval/top5", record->top5},         {"eval_ema/loss", record->loss_ema},
                        {"eval_ema/top1", record->top1_ema}, {"eval_ema/top5", record->top5_ema}};
    return tensorboard_write(&metrics->board, record->step, scalars, record->has_ema ? 6 : 3, error);
}
