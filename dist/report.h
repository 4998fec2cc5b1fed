/* report.h: a run folder as one page: where it stands, curves, table, configuration.
 *
 * The page needs nothing else: no script, no network; it follows the reader's light or dark setting.
 */
#ifndef DIST_REPORT_H
#define DIST_REPORT_H

#include "dist/config.h"
#include "dist/metrics.h"

/* Reads config.yaml and metrics.jsonl of `folder`, which may be of a run still going on, and writes `path`. */
Status report_write(const char *folder, const char *path, Error *error);

/* The figures in words, for `t2t info RUN` too. */
typedef struct RunSummary {
    int64_t step, total_steps;    /* total_steps: 0 when it cannot be told yet */
    int64_t epochs, epochs_done;  /* cool-down included; validated ones */
    int64_t epoch_steps;          /* 0 when it cannot be told yet */
    double loss;                  /* of the last interval */
    double images_per_s;          /* median */
    double data_wait, comm_wait;  /* mean shares */
    double best_top1, best_epoch; /* of the raw weights; NAN: no validation yet */
    double best_ema, best_ema_epoch;
    double seconds_left; /* at the median speed, validation not counted; NAN when it cannot be told */
} RunSummary;
RunSummary report_summarise(const Config *config, const MetricsHistory *history);

#endif
