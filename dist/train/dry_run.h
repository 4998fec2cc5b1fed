/* dry_run.h: what a run would be: settings, steps, parameters, memory, data. Writes nothing and trains nothing. */
#ifndef DIST_TRAIN_DRY_RUN_H
#define DIST_TRAIN_DRY_RUN_H

#include <stdio.h>
#include "dist/config/config.h"

/* Prints to `out` what `ranks` ranks would do. The data set is opened and compared with the settings when there is one;
 * no folder is made. Fails as train() would fail before its first step. */
Status dry_run(const Config *config, int ranks, FILE *out, Error *error);

#endif
