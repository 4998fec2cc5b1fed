/* coordinator.h: what happens between the steps: checkpoints, resuming, validation, and the record of it all.
 *
 * Every rank has a Coordinator and calls it alike. That of rank 0 owns the run folder's log, metrics and progress, and is
 * the head of each checkpoint (sharded_checkpoint.h), of which every rank writes a part with `zero: 1`. All ranks validate
 * together. With `coordinator: dedicated` a rank that does not train does both (coordinator_server.h). The trainer calls:
 *
 *     coordinator_create(&coordinator, &setup, error);
 *     coordinator_resume(coordinator, "auto", &position, error);        // vectors and position, if there are any
 *     coordinator_begin(coordinator, &position);
 *     while (...) {
 *         bool wants = coordinator_wants_checkpoint(coordinator, &next);
 *         ... a step, in which the ranks agree on what rank 0 wants ...
 *         coordinator_step(coordinator, &position, &stats, checkpoint, error);
 *     }
 *     coordinator_validate(coordinator, &position, error);               // at the end of an epoch
 *     coordinator_finish(coordinator, &position, error);                 // the last checkpoint is on disk
 *     coordinator_free(coordinator);
 *
 * A checkpoint that a full or failing disk prevents is a warning; older checkpoints stay, and the next one is tried as
 * usual. Training ends after checkpoint_failures failures in a row. The last checkpoint of a process has to succeed.
 */
#ifndef DIST_TRAIN_COORDINATOR_H
#define DIST_TRAIN_COORDINATOR_H

#include "core/model/model.h"
#include "data/loader/loader.h"
#include "dist/checkpoint/checkpoint.h"
#include "dist/config/config.h"
#include "dist/train/evaluate.h"
#include "dist/monitor/log.h"
#include "dist/monitor/progress.h"
#include "dist/comm/reducer.h"
#include "dist/comm/timeline.h"
#include "dist/comm/world.h"
#include "dist/checkpoint/async_writer.h"

typedef struct Coordinator Coordinator;

typedef struct CoordinatorSetup { /* all borrowed for the coordinator's life */
    const Config *config;
    const World *world;
    Log *log;
    Pool *pool;
    const char *output;          /* the run folder; it has config.yaml */
    const char *const *metadata; /* of every weights file: key, value, ..., NULL */
    const char *provenance_text; /* of best.safetensors besides */
    const Dataset *validation;
    const ParamTable *table;
    RunVectors *vectors; /* not on a server */
    Reducer *reducer;    /* with zero, brings the slices of ema together */
    Timeline *timeline;  /* NULL: none */
    Model *model;        /* with the raw weights set whenever the coordinator is called */
    int batch;           /* the model's max_batch */
    int64_t epoch_steps;
    int64_t images;               /* for training, in the data set */
    const Provenance *provenance; /* for the record; NULL: none */
    MPI_Comm job; /* with `coordinator: dedicated` all ranks, the last one being the server (coordinator_server.h) */
    int server;   /* its rank in there; -1: shared */
} CoordinatorSetup;

Status coordinator_create(Coordinator **coordinator, const CoordinatorSetup *setup, Error *error);
void coordinator_free(Coordinator *coordinator); /* accepts NULL */

/* Collective. resume: NULL for a new run, "auto" for the newest good checkpoint of the run folder if there is one, else
 * a checkpoint or run folder. Vectors and *position are the same on all ranks afterwards; *resumed tells whether they
 * come from a checkpoint. Also opens the metrics, at that position. */
Status coordinator_resume(Coordinator *coordinator, const char *resume, RunPosition *position, bool *resumed,
                          Error *error);

/* The record of a run that has something left to do begins, or goes on: who computes it. */
void coordinator_begin(Coordinator *coordinator, const RunPosition *position);

/* Whether a checkpoint should be made of the position that the next step leads to: on rank 0, else false. */
bool coordinator_wants_checkpoint(Coordinator *coordinator, const RunPosition *next);

/* On rank 0, else false: whether a signal came to the rank that does not train. */
bool coordinator_asked_to_stop(const Coordinator *coordinator);

/* STATUS_FAILED, on rank 0 only, when too many checkpoints in a row could not be written: for the next step's
 * agreement. */
Status coordinator_health(const Coordinator *coordinator, Error *error);

/* Collective, after each step, with the position of the next one and what all ranks agreed on. Fails only where MPI
 * does: what else it could not do is in the log. */
Status coordinator_step(Coordinator *coordinator, const RunPosition *position, const StepStats *stats, bool checkpoint,
                        Error *error);

/* Collective. Validates raw and averaged weights when the epoch that just ended asks for it, records the result, keeps
 * the best weights; position->validated moves on. STATUS_STOPPED when a signal came meanwhile: nothing is recorded
 * then. */
Status coordinator_validate(Coordinator *coordinator, RunPosition *position, Error *error);

/* Collective. Returns when no checkpoint is under way any more. */
void coordinator_drain(Coordinator *coordinator);

/* Collective. Returns when a checkpoint of `position` is on disk and proved, or cannot be. */
Status coordinator_finish(Coordinator *coordinator, RunPosition *position, Error *error);

#endif
