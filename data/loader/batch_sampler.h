/* batch_sampler.h: which work a loader has, private to loader.c: no threads here, and nothing that is not a function of
 * the settings, the data set's size and where loader_start began.
 *
 * Batches are numbered from loader_start on: their "sequence". A batch is made of units (loader_worker.h). */
#ifndef DATA_LOADER_BATCH_SAMPLER_H
#define DATA_LOADER_BATCH_SAMPLER_H

#include "data/loader/loader_worker.h"
#include "data/loader/sampler.h"

typedef struct BatchSampler {
    const LoaderConfig *config; /* the owner's, which outlives the plan */
    int64_t steps;              /* per epoch; training only */
    int64_t local;              /* images per batch; the last of an evaluation may have fewer */
    int64_t first_epoch, first_step;
    Order order;
} BatchSampler;

/* STATUS_USAGE names the setting that does not fit the data set. */
Status batch_sampler_create(BatchSampler *sampler, const Dataset *dataset, const LoaderConfig *config, Error *error);
void batch_sampler_free(BatchSampler *sampler); /* accepts a zeroed one */

bool batch_sampler_is_past_end(const BatchSampler *sampler, int64_t sequence);
int64_t batch_sampler_images(const BatchSampler *sampler, int64_t sequence);
int64_t batch_sampler_units(const BatchSampler *sampler, int64_t sequence);
int64_t batch_sampler_epoch(const BatchSampler *sampler, int64_t sequence);
int64_t batch_sampler_step(const BatchSampler *sampler, int64_t sequence);

/* Fills in everything but unit->batch. Keeps the order of the last epoch asked for: one caller at a time. */
void batch_sampler_unit(BatchSampler *sampler, int64_t sequence, int64_t number, WorkUnit *unit);

#endif
