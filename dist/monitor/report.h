/* report.h: a run folder as one page: where it stands, who computes it, curves, table, configuration. Or several runs on
 * one page, their curves in the same charts.
 *
 * A page needs nothing else: no script, no network; it follows the reader's light or dark setting.
 */
#ifndef DIST_MONITOR_REPORT_H
#define DIST_MONITOR_REPORT_H

#include "core/base/status.h"

enum { REPORT_RUNS = 8 }; /* at most, on one page */

/* Reads config.yaml and metrics.jsonl of `folder`, which may be of a run still going on, and writes `path`. */
Status report_write(const char *folder, const char *path, Error *error);

/* The same of 2 .. REPORT_RUNS runs, side by side. */
Status report_write_runs(char *const *folders, int count, const char *path, Error *error);

#endif
