/* report_data.h: a run as its pages need it: read, summed up, in columns. */
#ifndef DIST_MONITOR_REPORT_DATA_H
#define DIST_MONITOR_REPORT_DATA_H

#include "core/base/path.h"
#include "dist/monitor/plot.h"
#include "dist/monitor/summary.h"

enum { TRAIN_X, TRAIN_LOSS, TRAIN_LR, TRAIN_NORM, TRAIN_SPEED, TRAIN_DATA_WAIT, TRAIN_COMM_WAIT, TRAIN_COLUMNS };
enum { VALIDATION_X, VALIDATION_LOSS, VALIDATION_LOSS_EMA, VALIDATION_TOP1, VALIDATION_TOP1_EMA, VALIDATION_COLUMNS };
enum { REPORT_MARKS = 400 };

typedef struct ReportRun {
    char folder[PATH_SIZE];
    Config config;
    MetricsHistory history;
    RunSummary summary;
    bool ema;           /* the latest validation has averaged weights, too */
    const char *x_name; /* "epoch", or "step" where it is not known how many an epoch has */
    double *memory;
    double *train[TRAIN_COLUMNS];           /* (history.trains) */
    double *validation[VALIDATION_COLUMNS]; /* (history.validations) */
    PlotMark marks[REPORT_MARKS];           /* starts after the first, and checkpoints */
    int mark_count;
} ReportRun;

/* STATUS_USAGE when the folder is of no run. */
Status report_run_read(ReportRun *run, const char *folder, Error *error);
void report_run_free(ReportRun *run); /* accepts a zeroed one */

/* Turns a run's horizontal axis from epochs to steps; one that is in steps stays. */
void report_count_steps(ReportRun *run);

/* Adds a series of the run's to a plot: of training, of validation. */
void report_add_train(Plot *plot, const ReportRun *run, const char *name, int column);
void report_add_validation(Plot *plot, const ReportRun *run, const char *name, int column);

/* The published top-1 of the run's model, if its architecture and classes are the published ones; else NAN. */
double report_published_top1(const Config *config);

#endif
