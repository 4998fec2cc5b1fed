/* progress.h: where a training stands: a status line on a terminal, one line per interval in a batch log.
 *
 * The trainer tells each step; at the end of an interval (log_interval steps, or the end of an epoch) progress_step
 * yields the record for metrics.h. Rank 0 only.
 *
 *     ProgressPlan plan = {.total_steps = ..., .epoch_steps = ..., .epochs = ..., .interval = config.log_interval};
 *     progress_begin(&progress, &log, &plan, first_step);
 *     while (...) {
 *         ... a step ...
 *         TrainRecord record;
 *         if (progress_step(&progress, &stats, &record)) metrics_train(&metrics, &record, error);
 *     }
 *     if (progress_flush(&progress, &record)) ...       // before stopping within an interval
 *     progress_end(&progress);
 */
#ifndef DIST_MONITOR_PROGRESS_H
#define DIST_MONITOR_PROGRESS_H

#include <stdint.h>
#include "dist/monitor/log.h"
#include "dist/monitor/metrics.h"

typedef struct ProgressPlan {
    int64_t total_steps; /* of the whole run */
    int64_t epoch_steps;
    int64_t epochs;
    int64_t interval; /* steps between lines */
} ProgressPlan;

typedef struct StepStats { /* one step; times in seconds */
    int64_t step;          /* updates done, this one included */
    int64_t epoch;         /* from 0 */
    double loss;           /* of the global batch */
    double lr;
    double grad_norm;
    int64_t images; /* of the global batch */
    double seconds; /* from the end of the step before, without validation and checkpoints */
    double data_wait, comm_wait;
} StepStats;

typedef struct Progress {
    Log *log;
    ProgressPlan plan;
    int64_t first_step;
    double began, drawn; /* monotonic clock */
    StepStats last;
    int64_t validating; /* the epoch, from 0 */
    double validation_began;
    int64_t steps, images; /* of the interval so far */
    double loss, grad_norm, seconds, data_wait, comm_wait;
} Progress;

void progress_begin(Progress *progress, Log *log, const ProgressPlan *plan, int64_t first_step);
bool progress_step(Progress *progress, const StepStats *stats, TrainRecord *record);
bool progress_flush(Progress *progress, TrainRecord *record); /* false: the interval is empty */

/* A validation of `epoch` (from 0) begins; how far it is, in images; and its result. */
void progress_validate(Progress *progress, int64_t epoch);
void progress_validation(Progress *progress, int64_t done, int64_t total);
void progress_validated(Progress *progress, const ValidationRecord *record);
void progress_end(Progress *progress); /* removes the status line */

/* "1d 02h", "3h 05m", "12m 30s", "9s" */
void progress_duration(double seconds, char *text, size_t size);

/* "2026-03-01 17:25:42" by this machine's clock, of seconds since 1970. */
void progress_date(double seconds, char *text, size_t size);

#endif
