/* same_run.h: one run, one truth: all ranks were started with the same program, settings and data set.
 *
 * Otherwise they would train together without a word: ranks of another seed see some images twice and others never, and
 * a node with an older copy of the data set trains on that.
 */
#ifndef DIST_TRAIN_SAME_RUN_H
#define DIST_TRAIN_SAME_RUN_H

#include "dist/comm/world.h"
#include "dist/config/config.h"
#include "dist/train/trainer.h"

/* Collective. STATUS_USAGE names the rank that differs from rank 0, its host and the first line that does. Threads,
 * loader workers, what is recomputed and the data set's folder may differ. */
Status same_settings(const World *world, const Config *config, const TrainOptions *options, Error *error);

/* Collective. STATUS_DATA likewise. Compares manifests, which have the hash of every shard. */
Status same_data(const World *world, const Config *config, Error *error);

#endif
