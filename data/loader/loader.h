/* loader.h: batches ahead of time.
 *
 * A loader owns worker threads that read, decode and augment, and a bounded ring of batches. It is told *which* batch
 * it serves by plain numbers, so that what it yields does not depend on rank, thread count or history:
 *
 *     position p of epoch e -> sample_at(seed, e, p)          (sampler.h)
 *     step s covers positions [s * global_batch, (s + 1) * global_batch)
 *     this rank serves [begin, end) of each step's positions
 *
 *     loader_create(&loader, dataset, &config, error);
 *     loader_start(loader, epoch, first_step);                // at the start, and after a resume
 *     while (...) {
 *         Batch *batch;
 *         loader_next(loader, &batch, error);                  // waits when the workers are behind
 *         ... use ...
 *         loader_release(loader, batch);                       // its memory goes back into the ring
 *     }
 *
 * After the last step of an epoch the next epoch follows by itself. Evaluation goes once through the given positions in
 * file order; the last batch may be shorter, then loader_next yields NULL. All of this repeats after another
 * loader_start, which drops what was read ahead; no batch may be held then.
 *
 * Mixup and cutmix pair neighbours of the *global* batch, positions 2k and 2k+1, so they do not depend on ranks either;
 * a rank whose part cuts a pair prepares both images. The last image of an odd batch takes its predecessor for a
 * partner. In batch mode, mixup_group positions share a draw, counted from the first of the step. With more ranks than images or pairs some parts are empty: those ranks get batches of no images, which say
 * what step it is.
 *
 * Records that cannot be used (wrong hash, no image) are counted. In training the next usable record of the data set
 * takes the place; in evaluation the image is left out of its batch.
 *
 * Memory: the ring of batches and, per worker, four of the model's images, as many rows of the model's width as
 * the highest crop met had, and what the codec holds: a few rows of a baseline JPEG, the coefficients of a progressive
 * one, a whole PNG.
 */
#ifndef DATA_LOADER_LOADER_H
#define DATA_LOADER_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "data/dataset/dataset.h"
#include "data/augment/augment.h"

typedef struct Loader Loader;

typedef struct LoaderConfig {
    PipelineConfig pipeline;
    bool training;
    uint64_t seed;
    bool shuffle;         /* training in file order when false */
    int64_t global_batch; /* training: images per step over all ranks */
    int64_t begin, end;   /* training: this rank's part of a step's positions, 0 <= begin <= end <= global_batch.
                             evaluation: this rank's part of the images, 0 <= begin <= end <= count */
    int batch;            /* evaluation: images per batch */
    int classes;          /* width of the targets */
    int workers;          /* threads; 0: inside loader_next */
    int depth;            /* batches in the ring; at least 2 */
    double max_bad_share; /* records that fail to decode are replaced by a neighbour and counted; above this share of
                             an epoch loader_next fails */
} LoaderConfig;

typedef struct Batch {
    int count;
    int64_t epoch, step;
    float *images;     /* (count, 3, S, S), normalised */
    float *targets;    /* (count, classes): smoothed and mixed; training only */
    int64_t *labels;   /* (count) */
    uint64_t *samples; /* (count) positions in the epoch: key the model's dropout (core/model/model.h) */
    int64_t *indices;  /* (count) image numbers in the data set */
} Batch;

Status loader_create(Loader **loader, const Dataset *dataset, const LoaderConfig *config, Error *error);
void loader_free(Loader *loader);           /* accepts NULL; joins the workers */
int64_t loader_steps(const Loader *loader); /* training: steps per epoch, the last partial batch dropped */
Status loader_start(Loader *loader, int64_t epoch, int64_t step, Error *error);
Status loader_next(Loader *loader, Batch **batch, Error *error);
void loader_release(Loader *loader, Batch *batch);

typedef struct LoaderCounts {
    int64_t images, bad;
    double wait_seconds;     /* spent inside loader_next */
    const char *bad_example; /* what was wrong with the first bad record, or NULL; valid until loader_free */
} LoaderCounts;
LoaderCounts loader_counts(const Loader *loader);

#endif
