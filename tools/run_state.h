/* run_state.h: all that a run folder tells about its run, for `t2t info RUN`.
 *
 *     RunState state;
 *     Status status = run_state_read(&state, "runs/t14", true, error);
 *     ...
 *     run_state_free(&state);
 */
#ifndef TOOLS_RUN_STATE_H
#define TOOLS_RUN_STATE_H

#include "dist/checkpoint/checkpoint.h"
#include "dist/monitor/summary.h"

typedef struct RunCheckpoint {
    bool whole;
    RunPosition position; /* of one that is not whole: only its step */
    uint64_t bytes;
    char code[64];     /* the version that wrote it */
    char problem[512]; /* what is wrong with one that is not whole */
} RunCheckpoint;

typedef enum RunPhase {
    RUN_NOT_BEGUN, /* no line in the record */
    RUN_TRAINING,  /* a process of this machine holds its lock */
    RUN_DONE,
    RUN_STOPPED,
} RunPhase;

typedef struct RunState {
    char folder[CHECKPOINT_PATH];
    Config config;
    MetricsHistory history;
    RunSummary summary; /* total_steps from the data set where the record does not tell */
    RunPhase phase;
    bool maybe_elsewhere;       /* stopped, or training on a machine whose locks are not seen here */
    RunCheckpoint *checkpoints; /* (count), newest first */
    int count;
    const RunCheckpoint *resumable; /* the newest that is whole; NULL: none */
    int64_t steps_again;            /* recorded behind it: they would be computed once more */
    double age;                     /* seconds since the last line; NAN: not told */
} RunState;

bool run_state_is_run(const char *folder); /* has a config.yaml */

/* verify: every byte of the checkpoints is read and hashed; else their manifests alone. */
Status run_state_read(RunState *state, const char *folder, bool verify, Error *error);
void run_state_free(RunState *state); /* accepts a zeroed one */

const char *run_phase_name(RunPhase phase); /* "not begun", "training", "done", "stopped" */

#endif
