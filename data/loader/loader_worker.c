#include "data/loader/loader_worker.h"

#include <inttypes.h>

enum { MAX_BAD_RUN = 16 };

Status worker_create(Worker *worker, const WorkSettings *settings, Error *error)
{
    *worker = (Worker){0};
    Status status = dataset_reader_create(&worker->reader, settings->dataset, error);
    for (int i = 0; i < 2 && !status; i++)
        status = canvas_create(&worker->canvases[i], settings->config->pipeline.img_size, error);
    if (status) worker_free(worker);
    return status;
}

void worker_free(Worker *worker)
{
    dataset_reader_free(worker->reader);
    preprocess_scratch_free(&worker->scratch);
    for (int i = 0; i < 2; i++) canvas_free(&worker->canvases[i]);
    *worker = (Worker){0};
}

/* One image of a unit while its record is looked for. */
typedef struct Candidate {
    const WorkImage *image;
    bool wanted;
    Record record;
    int64_t index; /* in the data set, of the record; image->index unless that one is unusable */
    int attempts;  /* records that were not usable */
    Error first;   /* what was wrong with the first of them */
} Candidate;

static SampleKey sample_key(const WorkSettings *settings, const WorkUnit *unit, int which)
{
    return (SampleKey){settings->config->seed, (uint64_t)unit->batch->epoch, (uint64_t)unit->images[which].position};
}

static void note_bad(WorkResult *result, const WorkImage *image, const Error *why)
{
    if (image->place < 0) return; /* another rank's image, which counts it */
    if (result->bad == 0 || image->place < result->bad_place) {
        result->bad_place = image->place;
        result->why = *why;
    }
    result->bad++;
}

/* The record is unusable, for the reason in *why: STATUS_OK when another may take its place. */
static Status give_up_record(Candidate *candidate, WorkResult *result, Status status, Error *why, Error *error)
{
    error_add(why, "  image %" PRId64 " of the data set", candidate->index);
    if (status != STATUS_DATA) return error_set(error, status, "%s", why->message);
    if (candidate->attempts == 0) {
        candidate->first = *why;
        note_bad(result, candidate->image, why);
    }
    if (++candidate->attempts < MAX_BAD_RUN) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%d unusable records in a row from image %" PRId64
                     " on; `t2t verify` names them all. The first: %s",
                     MAX_BAD_RUN, candidate->image->index, candidate->first.message);
}

/* The first readable record from the image's own on, leaving out those that were given up. */
static Status find_record(Worker *worker, const WorkSettings *settings, Candidate *candidate, WorkResult *result,
                          Error *error)
{
    for (;;) {
        Error why = {0};
        candidate->index = (candidate->image->index + candidate->attempts) % dataset_count(settings->dataset);
        Status status = dataset_read(worker->reader, candidate->index, &candidate->record, &why);
        if (!status) return STATUS_OK;
        status = give_up_record(candidate, result, status, &why, error);
        if (status) return status;
    }
}

/* Steps are cut into groups of mixup_group positions, the last one perhaps shorter: what one process of the reference
 * draws once for. The number within the epoch, of the group that a position belongs to. */
static uint64_t mix_group(const LoaderConfig *config, uint64_t position)
{
    const uint64_t batch = (uint64_t)config->global_batch;
    const uint64_t group = config->pipeline.mixup_group > 0 ? (uint64_t)config->pipeline.mixup_group : batch;
    return position / batch * ((batch + group - 1) / group) + position % batch / group;
}

static void draw_mixes(const WorkSettings *settings, const WorkUnit *unit, TrainImage images[2])
{
    for (int i = 0; i < 2; i++) {
        images[i] = (TrainImage){.mix = {.lam = 1.0}};
        if (i < unit->count) images[i].key = sample_key(settings, unit, i);
    }
    for (int i = 0; i < unit->count && unit->count == 2; i++)
        if (unit->images[i].place >= 0)
            images[i].mix = preprocess_draw_mix(&settings->preprocess, images[i].key, images[1 - i].key,
                                                mix_group(settings->config, images[i].key.position));
}

static float *image_of(const WorkSettings *settings, const WorkUnit *unit, int which)
{
    const int64_t size = settings->config->pipeline.img_size;
    return unit->batch->images + 3 * unit->images[which].place * size * size;
}

static Status train_unit(Worker *worker, const WorkSettings *settings, const WorkUnit *unit, Candidate candidates[2],
                         WorkResult *result, Error *error)
{
    TrainImage images[2];
    const LoaderConfig *config = settings->config;
    Status status = STATUS_OK;
    draw_mixes(settings, unit, images);
    for (int i = 0; i < unit->count && !status; i++) {
        candidates[i].wanted = unit->images[i].place >= 0 || images[1 - i].mix.lam < 1.0;
        if (unit->images[i].place >= 0) images[i].out = image_of(settings, unit, i);
        if (candidates[i].wanted) status = find_record(worker, settings, &candidates[i], result, error);
    }
    for (bool done = false; !done && !status;) {
        int broken = 0;
        Error why = {0};
        for (int i = 0; i < unit->count; i++)
            if (candidates[i].wanted) {
                images[i].bytes = candidates[i].record.bytes;
                images[i].size = candidates[i].record.size;
            }
        Status made = preprocess_pair(&settings->preprocess, &worker->scratch, worker->canvases, images, &broken, &why);
        done = made == STATUS_OK;
        if (!done) status = give_up_record(&candidates[broken], result, made, &why, error);
        if (!done && !status) status = find_record(worker, settings, &candidates[broken], result, error);
    }
    for (int i = 0; i < unit->count && !status; i++)
        if (images[i].out)
            mix_target(unit->batch->targets + (int64_t)unit->images[i].place * config->classes, config->classes,
                       candidates[i].record.label, candidates[1 - i].record.label, images[i].mix.lam,
                       config->pipeline.smoothing);
    return status;
}

/* An unusable record gets label -1. */
static Status evaluate_unit(Worker *worker, const WorkSettings *settings, const WorkUnit *unit, Candidate *candidate,
                            WorkResult *result, Error *error)
{
    Error why = {0};
    Canvas *canvas = &worker->canvases[0];
    Record *record = &candidate->record;
    candidate->index = candidate->image->index;
    Status status = dataset_read(worker->reader, candidate->index, record, &why);
    if (!status)
        status =
            preprocess_evaluate(&settings->preprocess, &worker->scratch, record->bytes, record->size, canvas, &why);
    if (!status) {
        preprocess_floats(&settings->preprocess, canvas->pixels, image_of(settings, unit, 0));
        return STATUS_OK;
    }
    record->label = -1;
    return give_up_record(candidate, result, status, &why, error);
}

Status worker_do(Worker *worker, const WorkSettings *settings, const WorkUnit *unit, WorkResult *result, Error *error)
{
    Batch *batch = unit->batch;
    Candidate candidates[2] = {{.image = &unit->images[0]}, {.image = &unit->images[1]}};
    *result = (WorkResult){0};
    for (int i = 0; i < 2; i++)
        if (unit->ahead[i] >= 0) dataset_prefetch(worker->reader, unit->ahead[i]);
    Status status = settings->config->training ? train_unit(worker, settings, unit, candidates, result, error)
                                               : evaluate_unit(worker, settings, unit, &candidates[0], result, error);
    for (int i = 0; i < unit->count && !status; i++) {
        const WorkImage *image = &unit->images[i];
        if (image->place < 0) continue;
        batch->labels[image->place] = candidates[i].record.label;
        batch->samples[image->place] = (uint64_t)image->position;
        batch->indices[image->place] = candidates[i].index;
    }
    return status;
}
