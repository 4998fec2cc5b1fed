/* summary.h: where a run stands, in figures, from its records alone: for the report and `t2t info RUN`. */
#ifndef DIST_MONITOR_SUMMARY_H
#define DIST_MONITOR_SUMMARY_H

#include "dist/config/config.h"
#include "dist/monitor/metrics.h"

typedef struct RunSummary {
    int64_t step, total_steps;    /* total_steps: 0 when it cannot be told yet */
    int64_t epochs, epochs_done;  /* cool-down included; validated ones */
    int64_t epoch_steps;          /* 0 when it cannot be told yet */
    double loss;                  /* of the last interval */
    double images_per_s;          /* median */
    double data_wait, comm_wait;  /* mean shares */
    double best_top1, best_epoch; /* of the raw weights; NAN: no validation yet */
    double best_ema, best_ema_epoch;
    /* At the pace since the latest start, validations and checkpoints in it; without one at the median speed, without these; NAN when it cannot be told. */
    double seconds_left;
    double began, last; /* times of the first and the last line, seconds since 1970; NAN: not told */
    double core_hours;  /* NAN: not told */
    int64_t starts;     /* 0: not told */
    int64_t images, validation_images, parameters; /* of the latest start; 0: not told */
} RunSummary;
RunSummary run_summarise(const Config *config, const MetricsHistory *history);

#endif
