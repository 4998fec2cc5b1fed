/* provenance_collect.h: the Provenance (monitor/provenance.h) of a run that begins. */
#ifndef DIST_TRAIN_PROVENANCE_COLLECT_H
#define DIST_TRAIN_PROVENANCE_COLLECT_H

#include "dist/comm/world.h"
#include "dist/monitor/provenance.h"

/* Collective, over all ranks of `world`; the same on every rank but for the command line, which is rank 0's there. threads:
 * those of this rank. command: NULL for none. */
Status provenance_collect(Provenance *provenance, const World *world, int threads, const char *command, Error *error);

#endif
