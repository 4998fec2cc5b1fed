/* run_folder.h: the run folder.
 *
 *     config.yaml       resolved: every key
 *     metrics.jsonl     summary.csv     tb/          metrics.h
 *     log.txt           log.h
 *     .lock             run_lock.h
 *     checkpoints/      checkpoint.h
 *     best.safetensors  report.html
 *
 * One run per folder: another configuration is refused by naming the keys that differ, and so is a second process while
 * the first still runs. Rank 0 only; the caller tells the others.
 *
 *     Run run;
 *     run_open(&run, "runs/t14", &config, resume, error);
 *     if (run.changes[0]) log_write(&log, LOG_INFO, "settings changed:\n%s", run.changes);
 *     ...
 *     run_close(&run);
 */
#ifndef DIST_TRAIN_RUN_FOLDER_H
#define DIST_TRAIN_RUN_FOLDER_H

#include <stdbool.h>
#include "dist/config/config.h"
#include "dist/train/run_lock.h"

typedef struct Run {
    char folder[1024];
    bool continues;     /* the folder held this run already */
    char changes[2048]; /* keys that this start changed, as config_differences writes them; "" for none */
    RunLock lock;       /* held until run_close */
    bool made;          /* the folder was not there */
    bool fresh;         /* there was no config.yaml in it */
} Run;

/* Makes the folder, or continues in one that holds a run of the same configuration (keys that only concern the machine
 * may differ; others only with `override`) when `resume` is set or it has no checkpoint yet. Writes config.yaml. */
Status run_open(Run *run, const char *folder, const Config *config, bool resume, bool override, Error *error);
void run_close(Run *run); /* accepts a zeroed one */

/* For a start that failed before anything was computed: what run_open and the log have made goes, and with it the folder
 * if it was not there before. A folder that held a run already stays as it is. Also accepts a zeroed one. */
void run_abandon(Run *run);

#endif
