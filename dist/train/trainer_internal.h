/* trainer_internal.h: a run's parts, for trainer.c, which is the run, and trainer_setup.c, which makes them. */
#ifndef DIST_TRAIN_TRAINER_INTERNAL_H
#define DIST_TRAIN_TRAINER_INTERNAL_H

#include "dist/train/coordinator.h"
#include "dist/train/replica.h"
#include "dist/train/run_folder.h"
#include "dist/train/speed.h"
#include "dist/train/trainer.h"

typedef struct Trainer {
    const World *job;   /* all ranks */
    const World *world; /* those that train: all, or with `coordinator: dedicated` all but the last */
    int server;         /* the rank that validates and writes checkpoints; -1: none */
    Log *log;
    const Config *config;
    const TrainOptions *options;
    Run run; /* rank 0 */
    Pool *pool;
    Dataset *images, *validation;
    Replica replica;
    Provenance provenance;
    bool begun; /* the first step may have been computed: from here on the run folder stays */
    char *config_text, *class_names, *provenance_text;
    const char *metadata[8];
    Coordinator *coordinator;
    RunPosition position;
    Timeline *timeline;
    Speed speed;
    FILE *samples;
    int64_t bad_logged; /* unusable records that the log knows of */
} Trainer;

/* Those that train, as a world of their own; a rank's number stays what it is in the whole. */
Status trainer_split(Trainer *trainer, World *team, Error *error);

/* What all ranks have: pool, data sets, and on rank 0 the run folder. */
Status trainer_create(Trainer *trainer, Error *error);

/* What those that train have: replica and coordinator. */
Status trainer_create_worker(Trainer *trainer, Error *error);

void trainer_free(Trainer *trainer);

/* A new run's weights: from the seed, or from a file, which rank 0 alone reads. */
Status trainer_init_weights(Trainer *trainer, Error *error);

CoordinatorSetup trainer_coordinator_setup(Trainer *trainer);

/* What the log says before the first step. */
void trainer_log_header(const Trainer *trainer);

/* ... at the end of an epoch of `steps` steps, of which this rank computed for `compute` seconds. Collective. */
Status trainer_log_epoch(Trainer *trainer, double compute, int64_t steps, Error *error);

#endif
