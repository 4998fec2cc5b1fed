/* metrics.h: what programs read: metrics.jsonl, summary.csv and the TensorBoard events of a run folder.
 *
 * metrics.jsonl: a JSON object per line.
 *     {"event":"train", "step":, "epoch":, "loss":, "lr":, "grad_norm":, "images_per_s":, "data_wait":, "comm_wait":,
 *      "time":}
 *     {"event":"validation", "step":, "epoch":, "count":, "loss":, "top1":, "top5":, "loss_ema":, "top1_ema":,
 *      "top5_ema":, "time":}
 *     {"event":"start", "step":, "epochs":, "epoch_steps":, "images":, "validation_images":, "parameters":,
 *      "core_hours":, the fields of provenance.h, "time":}        the first line, and one for each time it was resumed
 *     {"event":"checkpoint", "step":, "bytes":, "seconds":, "time":}
 *     {"event":"end", "step":, "state":"done"|"stopped", "core_hours":, "time":}
 * core_hours: of all starts up to here, cut ones included: time of threads that compute. step: updates done. epoch: from 0. loss and grad_norm: means over the interval; a non-finite number is null.
 * time: of writing, in seconds since 1970 (UTC). data_wait, comm_wait: shares (0 .. 1) of the interval's time. top1, top5: percent. *_ema only with an EMA.
 * summary.csv: a row per validation, timm's columns, which are the averaged weights' when there is an EMA, as the official
 * script has them; then those of the raw weights:
 *     epoch,train_loss,eval_loss,eval_top1,eval_top5[,eval_loss_raw,eval_top1_raw,eval_top5_raw]
 *
 * A resumed run repeats the steps after its checkpoint; metrics_open therefore cuts what lies beyond `step`, and
 * whatever a crash left half written. Rank 0 only.
 *
 *     metrics_open(&metrics, folder, step, config.model_ema, error);     // step 0: a new run
 *     metrics_start(&metrics, &start, error);
 *     metrics_train(&metrics, &record, error);
 *     metrics_validation(&metrics, &record, error);
 *     metrics_sync(&metrics, error);                                     // before a checkpoint
 *     metrics_end(&metrics, step, "done", error);
 *     metrics_close(&metrics);
 */
#ifndef DIST_MONITOR_METRICS_H
#define DIST_MONITOR_METRICS_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/base/status.h"
#include "dist/monitor/provenance.h"
#include "dist/monitor/tensorboard.h"

typedef struct TrainRecord {
    int64_t step, epoch;
    double loss, lr, grad_norm, images_per_s, data_wait, comm_wait;
    double time; /* seconds since 1970; of a record that was read */
} TrainRecord;

typedef struct ValidationRecord {
    int64_t step, epoch; /* epoch: the one that just ended */
    int64_t count;
    double loss, top1, top5;
    bool has_ema;
    double loss_ema, top1_ema, top5_ema;
    double time; /* as above */
} ValidationRecord;

typedef struct RunStart { /* what a process knows when it begins to train */
    int64_t step;         /* from which it goes on; 0: a new run */
    int64_t epochs, epoch_steps;
    int64_t images, validation_images, parameters;
    Provenance provenance;
} RunStart;

typedef enum RunEventKind { RUN_STARTED, RUN_CHECKPOINT, RUN_ENDED } RunEventKind;
typedef struct RunEvent { /* a line that is none of figures; what it does not have is 0 */
    RunEventKind kind;
    int64_t step;
    int64_t epoch_steps, images, validation_images, parameters; /* of a start */
    int64_t threads;
    double core_hours; /* of a start and an end */
    double time;
} RunEvent;

enum { METRICS_EPOCHS = 4 };

typedef struct CoreTime { /* adds up the hours of threads that compute, over starts */
    double before;        /* core-hours of the starts before the latest */
    double began, last;   /* of the latest, seconds since 1970; NAN: no start yet */
    double threads;
} CoreTime;
#define CORE_TIME_NONE ((CoreTime){.began = NAN, .last = NAN})
void core_time_event(CoreTime *cores, const RunEvent *event);
void core_time_line(CoreTime *cores, double time); /* any line's */
double core_time_hours(const CoreTime *cores);
const char *core_hours_text(double hours, char text[32]); /* "0.0172", "12.5", "141204" */

typedef struct Metrics {
    int lines, summary; /* file descriptors, appending */
    bool ema;
    bool raw_first; /* summary.csv was begun when it had the raw weights' columns first: it goes on so */
    TensorBoard board;
    int64_t last_step;       /* of the last train record */
    int64_t validated_epoch; /* the last with a validation record; -1: none */
    CoreTime cores;
    /* Training loss of the latest epochs, by epoch % METRICS_EPOCHS: a validation may come later than its epoch. */
    struct {
        int64_t epoch, steps;
        double sum;
    } losses[METRICS_EPOCHS];
} Metrics;

Status metrics_open(Metrics *metrics, const char *folder, int64_t step, bool ema, Error *error);
void metrics_close(Metrics *metrics);

/* The lines between those of figures. A process that has nothing left to do writes none. */
Status metrics_start(Metrics *metrics, const RunStart *start, Error *error);
Status metrics_checkpoint(Metrics *metrics, int64_t step, uint64_t bytes, double seconds, Error *error);
Status metrics_end(Metrics *metrics, int64_t step, const char *state, Error *error); /* also sums metrics->cores up */
Status metrics_train(Metrics *metrics, const TrainRecord *record, Error *error);

/* A validation that is there already (the run was cut between it and the next checkpoint) is not written twice. */
Status metrics_validation(Metrics *metrics, const ValidationRecord *record, Error *error);
Status metrics_sync(Metrics *metrics, Error *error); /* on disk when it returns */

/* Reading one line of metrics.jsonl back. Steps up to 10^12 and epochs up to 2*10^6 are a record, other numbers
 * METRICS_BROKEN; a figure beyond the range of a float is NAN. */
typedef enum MetricsEvent {
    METRICS_TRAIN,
    METRICS_VALIDATION,
    METRICS_RUN,
    METRICS_OTHER,
    METRICS_BROKEN
} MetricsEvent;
typedef struct MetricsLine { /* the one that the event names is filled */
    TrainRecord train;
    ValidationRecord validation;
    RunEvent run;
} MetricsLine;
MetricsEvent metrics_parse(const char *text, size_t size, MetricsLine *line);

/* All records of a run folder, for report and info; whatever a line does not have is NAN. */
typedef struct MetricsHistory {
    TrainRecord *train;
    ValidationRecord *validation;
    RunEvent *event;
    int64_t trains, validations, events;
    CoreTime cores;
    Provenance provenance; /* of the latest start */
} MetricsHistory;
Status metrics_read(MetricsHistory *history, const char *folder, Error *error);
Status metrics_parse_all(MetricsHistory *history, const char *text, size_t size, Error *error); /* from its text */
void metrics_history_free(MetricsHistory *history); /* accepts a zeroed one */

#endif
