/* trainer.h: a whole run: from a configuration to weights.
 *
 *     TrainOptions options = {.output = "runs/t14", .resume = "auto"};
 *     TrainResult result;
 *     Status status = train(&world, &log, &config, &options, &result, error);     // on every rank
 *
 * STATUS_STOPPED: a signal came, and a checkpoint of that very step is on disk; started again with resume "auto" the
 * run goes on with the next sample.
 */
#ifndef DIST_TRAIN_TRAINER_H
#define DIST_TRAIN_TRAINER_H

#include "dist/checkpoint/checkpoint.h"
#include "dist/config/config.h"
#include "dist/monitor/log.h"
#include "dist/comm/world.h"

typedef struct TrainOptions {
    const char *output;   /* the run folder, made when missing */
    const char *resume;   /* NULL: a new run; "auto"; or a checkpoint or run folder */
    bool override;        /* a resumed run may have other settings, from its next step on */
    const char *samples;  /* NULL, or a file: rank R appends to it, with ".R", the images of each step */
    const char *timeline; /* NULL, or a file for a timeline of all ranks (timeline.h) */
    const char *command;  /* NULL, or the command line, for the record */
} TrainOptions;

typedef struct TrainResult {
    RunPosition position; /* where it stands now */
    bool was_done;        /* there was nothing left to do */
} TrainResult;

Status train(const World *world, Log *log, const Config *config, const TrainOptions *options, TrainResult *result,
             Error *error);

#endif
