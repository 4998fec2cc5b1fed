/* batch_sampler.h: which work a loader has, private to loader.c: no threads here, and nothing that is not a function of
 * the settings, the data set's size and where loader_start began.
 *
 * Batches are numbered from loader_start on: their "sequence". A batch is made of units (loader_worker.h). */
#ifndef DATA_LOADER_BATCH_SAMPLER_H
#define DATA_LOADER_BATCH_SAMPLER_H

#include "data/loader/loader_worker.h"
#include "data/loader/sampler.h"

typedef struct LoaderPlan {
    const LoaderConfig *config; /* the owner's, which outlives the plan */
    int64_t steps;              /* per epoch; training only */
    int64_t local;              /* images per batch; the last of an evaluation may have fewer */
    int64_t first_epoch, first_step;
    Order order;
} LoaderPlan;

/* STATUS_USAGE names the setting that does not fit the data set. */
Status loader_plan_create(LoaderPlan *plan, const Dataset *dataset, const LoaderConfig *config, Error *error);
void loader_plan_free(LoaderPlan *plan); /* accepts a zeroed one */

bool loader_plan_is_past_end(const LoaderPlan *plan, int64_t sequence);
int64_t loader_plan_images(const LoaderPlan *plan, int64_t sequence);
int64_t loader_plan_units(const LoaderPlan *plan, int64_t sequence);
int64_t loader_plan_epoch(const LoaderPlan *plan, int64_t sequence);
int64_t loader_plan_step(const LoaderPlan *plan, int64_t sequence);

/* Fills in everything but unit->batch. Keeps the order of the last epoch asked for: one caller at a time. */
void loader_plan_unit(LoaderPlan *plan, int64_t sequence, int64_t number, WorkUnit *unit);

#endif
