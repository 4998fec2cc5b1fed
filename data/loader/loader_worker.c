#include "data/loader/loader_worker.h"

enum { MAX_BAD_RUN = 16, STRIP = 8 };

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

static Status prepare(Worker *worker, const WorkSettings *settings, const Record *record, SampleKey key, Canvas *canvas,
                      Error *error)
{
    return settings->config->training ? preprocess_train(&settings->preprocess, &worker->scratch, record->bytes,
                                                         record->size, key, canvas, error)
                                      : preprocess_evaluate(&settings->preprocess, &worker->scratch, record->bytes,
                                                            record->size, canvas, error);
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

static SampleKey sample_key(const WorkSettings *settings, const WorkUnit *unit, int which)
{
    return (SampleKey){settings->config->seed, (uint64_t)unit->batch->epoch, (uint64_t)unit->images[which].position};
}

/* Fills the image's canvas and tells label and number of the image that is there in the end; label -1: none. */
static Status load(Worker *worker, const WorkSettings *settings, const WorkUnit *unit, int which, int64_t *index,
                   int64_t *label, WorkResult *result, Error *error)
{
    const WorkImage *image = &unit->images[which];
    const int64_t count = dataset_count(settings->dataset);
    SampleKey key = sample_key(settings, unit, which);
    Error first = {0};
    for (int attempt = 0; attempt < MAX_BAD_RUN; attempt++) {
        Record record = {0};
        Error why = {0};
        *index = (image->index + attempt) % count;
        Status status = dataset_read(worker->reader, *index, &record, &why);
        if (!status) status = prepare(worker, settings, &record, key, &worker->canvases[which], &why);
        if (!status) {
            *label = record.label;
            return STATUS_OK;
        }
        error_add(&why, "  image %lld of the data set", (long long)*index);
        if (status != STATUS_DATA) return error_set(error, status, "%s", why.message);
        if (attempt == 0) {
            first = why;
            note_bad(result, image, &why);
        }
        if (!settings->config->training) {
            *label = -1;
            return STATUS_OK;
        }
    }
    return error_set(error, STATUS_DATA,
                     "%d unusable records in a row from image %lld on; `t2t verify` names them all. The first: %s",
                     MAX_BAD_RUN, (long long)image->index, first.message);
}

/* Who is mixed with whom never depends on ranks: timm mixes position i of a loader's batch with its mirror image, which
 * would; here the two images of a unit are neighbours in the global batch. Order being random, that is the same in
 * distribution. What is drawn is keyed by step (batch mode), by the pair's first position (pair) or by position. */
static Mix draw_mix(const WorkSettings *settings, const WorkUnit *unit, int which)
{
    const LoaderConfig *config = settings->config;
    const PipelineConfig *pipeline = &config->pipeline;
    const Mix none = {.lam = 1.0};
    int64_t epoch = unit->batch->epoch;
    if (!config->training || unit->count < 2) return none;
    if (pipeline->mixup_off_epoch > 0 && epoch >= pipeline->mixup_off_epoch) return none;
    int64_t sample = unit->images[which].position;
    if (pipeline->mixup_mode == MIX_BATCH) sample = unit->batch->step;
    if (pipeline->mixup_mode == MIX_PAIR && unit->images[0].position < unit->images[1].position)
        sample = unit->images[0].position;
    Rng rng = rng_make(config->seed, RNG_MIX, (uint64_t)epoch, (uint64_t)sample);
    return mix_sample(pipeline, &rng, pipeline->img_size);
}

/* Mixes and normalises a few rows at a time, which stay in the first cache in between. */
static void finish_mixed(const WorkSettings *settings, const Canvas *canvas, const uint8_t *partner, const Mix *mix,
                         float *out)
{
    const int size = canvas->width;
    for (int first = 0; first < size; first += STRIP) {
        int rows = size - first < STRIP ? size - first : STRIP;
        int64_t at = 3 * (int64_t)first * size;
        const Mix part = mix_rows(mix, first, rows);
        const uint8_t *pixels = canvas->pixels + at;
        if (!part.cutmix || part.top < part.bottom) {
            mix_pixels(&part, rows, size, pixels, partner + at, canvas->spare);
            pixels = canvas->spare;
        }
        preprocess_rows(&settings->preprocess, pixels, first, rows, out);
    }
}

/* One image of the batch, from its canvas and its partner's. */
static void finish(const Worker *worker, const WorkSettings *settings, const WorkUnit *unit, int which, const Mix *mix,
                   const int64_t labels[2])
{
    const LoaderConfig *config = settings->config;
    const WorkImage *image = &unit->images[which];
    const Canvas *canvas = &worker->canvases[which];
    const int size = config->pipeline.img_size;
    float *out = unit->batch->images + 3 * (int64_t)image->place * size * size;
    if (mix->lam < 1.0)
        finish_mixed(settings, canvas, worker->canvases[1 - which].pixels, mix, out);
    else
        preprocess_floats(&settings->preprocess, canvas->pixels, out);
    if (!config->training) return;
    preprocess_erase(&settings->preprocess, sample_key(settings, unit, which), out);
    mix_target(unit->batch->targets + (int64_t)image->place * config->classes, config->classes, labels[which],
               labels[1 - which], mix->lam, config->pipeline.smoothing);
}

Status worker_do(Worker *worker, const WorkSettings *settings, const WorkUnit *unit, WorkResult *result, Error *error)
{
    Batch *batch = unit->batch;
    Mix mixes[2] = {{.lam = 1.0}, {.lam = 1.0}};
    int64_t labels[2] = {-1, -1}, indices[2] = {-1, -1};
    *result = (WorkResult){0};
    for (int i = 0; i < 2; i++)
        if (unit->ahead[i] >= 0) dataset_prefetch(worker->reader, unit->ahead[i]);
    for (int i = 0; i < unit->count; i++)
        if (unit->images[i].place >= 0) mixes[i] = draw_mix(settings, unit, i);
    for (int i = 0; i < unit->count; i++) {
        if (unit->images[i].place < 0 && mixes[1 - i].lam >= 1.0) continue;
        Status status = load(worker, settings, unit, i, &indices[i], &labels[i], result, error);
        if (status) return status;
    }
    for (int i = 0; i < unit->count; i++) {
        const WorkImage *image = &unit->images[i];
        if (image->place < 0) continue;
        batch->labels[image->place] = labels[i];
        batch->samples[image->place] = (uint64_t)image->position;
        batch->indices[image->place] = indices[i];
        if (labels[i] >= 0) finish(worker, settings, unit, i, &mixes[i], labels);
    }
    return STATUS_OK;
}
