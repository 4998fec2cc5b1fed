/* report.h: a run folder as one page: where it stands, curves, table, configuration.
 *
 * The page needs nothing else: no script, no network; it follows the reader's light or dark setting.
 */
#ifndef DIST_MONITOR_REPORT_H
#define DIST_MONITOR_REPORT_H

#include "core/base/status.h"

/* Reads config.yaml and metrics.jsonl of `folder`, which may be of a run still going on, and writes `path`. */
Status report_write(const char *folder, const char *path, Error *error);

#endif
