#include "data/loader/loader.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/memory.h"
#include "data/loader/batch_sampler.h"

typedef enum SlotState { SLOT_FREE, SLOT_FILLING, SLOT_READY, SLOT_HELD } SlotState;

typedef struct Slot { /* one batch of the ring */
    Batch batch;
    void *memory;
    SlotState state;
    int64_t units_left; /* not yet done */
    int bad, bad_place;
    Error why; /* what was wrong with the first bad image */
} Slot;

typedef struct Thread {
    pthread_t id;
    Loader *loader;
    Worker worker;
} Thread;

/* Batch number s, counted from loader_start on, lives in slot s % depth. */
struct Loader {
    WorkSettings settings;
    LoaderConfig config;
    BatchSampler sampler;

    pthread_mutex_t lock;
    pthread_cond_t work, ready; /* a unit may be claimed; a batch is ready, or all workers rest */
    bool stop, paused;
    int busy;                           /* workers with a unit in hand */
    int64_t claim_sequence, claim_unit; /* the next unit */
    int64_t deliver;                    /* sequence of the batch that loader_next gives next */
    Slot *slots;
    Status status; /* of the first unit that failed */
    Error error;

    LoaderCounts counts;
    char bad_example[sizeof(((Error *)0)->message)];
    int64_t bad_epoch, bad_in_epoch;

    Thread *threads;
    int thread_count;
    Worker own; /* when there are no threads */
};

/* ---- work */

/* Under the lock: the batch of that sequence begins in its slot, which is free. */
static void open_slot(Loader *loader, Slot *slot, int64_t sequence)
{
    slot->state = SLOT_FILLING;
    slot->units_left = batch_sampler_units(&loader->sampler, sequence);
    slot->bad = 0;
    slot->batch.count = (int)batch_sampler_images(&loader->sampler, sequence);
    slot->batch.epoch = batch_sampler_epoch(&loader->sampler, sequence);
    slot->batch.step = batch_sampler_step(&loader->sampler, sequence);
}

/* Under the lock: takes the next unit if its batch has a free slot. */
static bool claim(Loader *loader, WorkUnit *unit)
{
    int64_t sequence = loader->claim_sequence;
    if (loader->stop || loader->paused || loader->status || batch_sampler_is_past_end(&loader->sampler, sequence) ||
        loader->sampler.local == 0)
        return false;
    Slot *slot = &loader->slots[sequence % loader->config.depth];
    if (loader->claim_unit == 0) {
        if (slot->state != SLOT_FREE) return false;
        open_slot(loader, slot, sequence);
    }
    unit->batch = &slot->batch;
    batch_sampler_unit(&loader->sampler, sequence, loader->claim_unit, unit);
    if (++loader->claim_unit == batch_sampler_units(&loader->sampler, sequence)) {
        loader->claim_sequence++;
        loader->claim_unit = 0;
    }
    loader->busy++;
    return true;
}

/* Under the lock. */
static void unit_done(Loader *loader, const WorkUnit *unit, const WorkResult *result, Status status, const Error *error)
{
    Slot *slot = (Slot *)((char *)unit->batch - offsetof(Slot, batch));
    loader->busy--;
    if (status && !loader->status) {
        loader->status = status;
        loader->error = *error;
    }
    if (result->bad > 0 && (slot->bad == 0 || result->bad_place < slot->bad_place)) {
        slot->bad_place = result->bad_place;
        slot->why = result->why;
    }
    slot->bad += result->bad;
    if (--slot->units_left == 0) slot->state = SLOT_READY;
    if (slot->state == SLOT_READY || loader->status || loader->busy == 0) pthread_cond_broadcast(&loader->ready);
}

/* Claims and does one unit; false when there is none. Called with the lock held, which is released for the work. */
static bool do_one(Loader *loader, Worker *worker)
{
    WorkUnit unit;
    WorkResult result;
    Error error = {0};
    if (!claim(loader, &unit)) return false;
    pthread_mutex_unlock(&loader->lock);
    Status status = worker_do(worker, &loader->settings, &unit, &result, &error);
    pthread_mutex_lock(&loader->lock);
    unit_done(loader, &unit, &result, status, &error);
    return true;
}

static void *thread_main(void *argument)
{
    Thread *thread = argument;
    Loader *loader = thread->loader;
    pthread_mutex_lock(&loader->lock);
    while (!loader->stop)
        if (!do_one(loader, &thread->worker)) pthread_cond_wait(&loader->work, &loader->lock);
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* ---- life */

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static void *part(void *memory, size_t offset)
{
    return (char *)memory + offset;
}

/* Carves a batch's arrays out of `memory`, or only adds them up. */
static size_t carve_batch(const Loader *loader, Batch *batch, void *memory)
{
    const LoaderConfig *config = &loader->config;
    const size_t images = (size_t)loader->sampler.local, side = (size_t)config->pipeline.img_size;
    const size_t sizes[] = {images * 3 * side * side * sizeof(float),
                            config->training ? images * (size_t)config->classes * sizeof(float) : 0,
                            images * sizeof(int64_t), images * sizeof(uint64_t), images * sizeof(int64_t)};
    size_t at[6] = {0};
    for (int i = 0; i < 5; i++) at[i + 1] = at[i] + round_up(sizes[i]);
    if (memory) {
        batch->images = part(memory, at[0]);
        batch->targets = config->training ? part(memory, at[1]) : NULL;
        batch->labels = part(memory, at[2]);
        batch->samples = part(memory, at[3]);
        batch->indices = part(memory, at[4]);
    }
    return at[5];
}

static Status create_slots(Loader *loader, Error *error)
{
    size_t bytes = carve_batch(loader, NULL, NULL);
    loader->slots = memory_alloc(loader->config.depth, sizeof *loader->slots, "a loader", error);
    if (!loader->slots) return STATUS_FAILED;
    for (int i = 0; i < loader->config.depth && bytes > 0; i++) {
        Slot *slot = &loader->slots[i];
        slot->memory = memory_alloc_aligned(64, (int64_t)bytes, 1, "a batch of images", error);
        if (!slot->memory) return STATUS_FAILED;
        carve_batch(loader, &slot->batch, slot->memory);
    }
    return STATUS_OK;
}

/* Signals are the main thread's business: a handler that runs in a worker would not interrupt what it waits in. But a
 * bus error is the worker's own, and one that is blocked ends the process without a word. */
static Status start_threads(Loader *loader, Error *error)
{
    loader->threads = memory_alloc(loader->config.workers, sizeof *loader->threads, "the loader's threads", error);
    if (!loader->threads) return STATUS_FAILED;
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    Status status = STATUS_OK;
    for (int i = 0; i < loader->config.workers && !status; i++) {
        Thread *thread = &loader->threads[i];
        thread->loader = loader;
        status = worker_create(&thread->worker, &loader->settings, error);
        if (status) break;
        int failed = pthread_create(&thread->id, NULL, thread_main, thread);
        if (failed) {
            worker_free(&thread->worker);
            status = error_set(error, STATUS_FAILED, "cannot start loader thread %d: %s", i, strerror(failed));
        } else {
            loader->thread_count++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

Status loader_create(Loader **loader_out, const Dataset *dataset, const LoaderConfig *config, Error *error)
{
    *loader_out = NULL;
    Loader *loader = memory_alloc(1, sizeof *loader, "a loader", error);
    if (!loader) return STATUS_FAILED;
    loader->config = *config;
    loader->settings.dataset = dataset;
    loader->settings.config = &loader->config;
    loader->paused = true; /* until loader_start */
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->work, NULL);
    pthread_cond_init(&loader->ready, NULL);
    Status status = batch_sampler_create(&loader->sampler, dataset, &loader->config, error);
    if (!status) status = preprocess_init(&loader->settings.preprocess, &config->pipeline, error);
    if (!status) status = create_slots(loader, error);
    if (!status && config->workers > 0) status = start_threads(loader, error);
    if (!status && config->workers == 0) status = worker_create(&loader->own, &loader->settings, error);
    if (status)
        loader_free(loader);
    else
        *loader_out = loader;
    return status;
}

void loader_free(Loader *loader)
{
    if (!loader) return;
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->thread_count; i++) {
        pthread_join(loader->threads[i].id, NULL);
        worker_free(&loader->threads[i].worker);
    }
    worker_free(&loader->own);
    batch_sampler_free(&loader->sampler);
    for (int i = 0; i < loader->config.depth && loader->slots; i++) free(loader->slots[i].memory);
    pthread_cond_destroy(&loader->ready);
    pthread_cond_destroy(&loader->work);
    pthread_mutex_destroy(&loader->lock);
    free(loader->threads);
    free(loader->slots);
    free(loader);
}

int64_t loader_steps(const Loader *loader)
{
    return loader->sampler.steps;
}

Status loader_start(Loader *loader, int64_t epoch, int64_t step, Error *error)
{
    if (epoch < 0 || step < 0 || (loader->config.training && step >= loader->sampler.steps))
        return error_set(error, STATUS_USAGE,
                         "loader: epoch %" PRId64 ", step %" PRId64 ": there are %" PRId64 " steps", epoch, step,
                         loader->sampler.steps);
    pthread_mutex_lock(&loader->lock);
    loader->paused = true;
    while (loader->busy > 0) pthread_cond_wait(&loader->ready, &loader->lock);
    loader->sampler.first_epoch = epoch;
    loader->sampler.first_step = step;
    loader->claim_sequence = loader->claim_unit = loader->deliver = 0;
    loader->status = STATUS_OK;
    loader->error = (Error){0};
    loader->bad_epoch = epoch;
    loader->bad_in_epoch = 0;
    for (int i = 0; i < loader->config.depth; i++) loader->slots[i].state = SLOT_FREE;
    loader->paused = false;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
    return STATUS_OK;
}

/* ---- batches out */

/* Waits, or works, until the next batch is whole. */
static Status wait_ready(Loader *loader, const Slot *slot, Error *error)
{
    while (slot->state != SLOT_READY) {
        if (loader->status) return error_set(error, loader->status, "%s", loader->error.message);
        if (slot->state == SLOT_HELD || loader->paused)
            return error_set(error, STATUS_FAILED,
                             loader->paused ? "loader_next before loader_start"
                                            : "loader_next while all batches of the ring are in use");
        if (loader->config.workers > 0)
            pthread_cond_wait(&loader->ready, &loader->lock);
        else
            do_one(loader, &loader->own);
    }
    return STATUS_OK;
}

/* Counts a batch's bad records; an error past the share of the epoch's images (of this rank) that is allowed. */
static Status account(Loader *loader, const Slot *slot, Error *error)
{
    if (slot->batch.epoch != loader->bad_epoch) {
        loader->bad_epoch = slot->batch.epoch;
        loader->bad_in_epoch = 0;
    }
    if (slot->bad == 0) return STATUS_OK;
    if (loader->counts.bad == 0) memcpy(loader->bad_example, slot->why.message, sizeof loader->bad_example);
    loader->counts.bad += slot->bad;
    loader->bad_in_epoch += slot->bad;
    int64_t images = loader->config.training ? loader->sampler.steps * loader->sampler.local
                                             : loader->config.end - loader->config.begin;
    if ((double)loader->bad_in_epoch <= loader->config.max_bad_share * (double)images) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%" PRId64 " of this rank's %" PRId64 " images of epoch %" PRId64
                     " are unusable, more than the share of %g that is "
                     "allowed; `t2t verify` names them all. One of them: %s",
                     loader->bad_in_epoch, images, slot->batch.epoch + 1, loader->config.max_bad_share,
                     slot->why.message);
}

/* Evaluation leaves unusable images out: moves the others together. */
static void drop_unusable(const Loader *loader, Batch *batch)
{
    const int64_t side = loader->config.pipeline.img_size, values = 3 * side * side;
    int kept = 0;
    for (int i = 0; i < batch->count; i++) {
        if (batch->labels[i] < 0) continue;
        if (kept < i) {
            memcpy(batch->images + kept * values, batch->images + i * values, (size_t)values * sizeof(float));
            batch->labels[kept] = batch->labels[i];
            batch->samples[kept] = batch->samples[i];
            batch->indices[kept] = batch->indices[i];
        }
        kept++;
    }
    batch->count = kept;
}

static Status next_locked(Loader *loader, Batch **batch, Error *error)
{
    do {
        if (batch_sampler_is_past_end(&loader->sampler, loader->deliver)) return STATUS_OK;
        Slot *slot = &loader->slots[loader->deliver % loader->config.depth];
        if (loader->sampler.local == 0 && slot->state == SLOT_FREE && !loader->paused) {
            open_slot(loader, slot, loader->deliver); /* nothing to fill it with: only its step counts */
            slot->state = SLOT_READY;
        }
        Status status = wait_ready(loader, slot, error);
        if (!status) status = account(loader, slot, error);
        if (status) return status;
        if (slot->bad > 0 && !loader->config.training) drop_unusable(loader, &slot->batch);
        loader->deliver++;
        loader->counts.images += slot->batch.count;
        const bool given = slot->batch.count > 0 || loader->config.training;
        slot->state = given ? SLOT_HELD : SLOT_FREE;
        if (given) *batch = &slot->batch;
        if (!given) pthread_cond_broadcast(&loader->work);
    } while (!*batch);
    return STATUS_OK;
}

Status loader_next(Loader *loader, Batch **batch, Error *error)
{
    double begin = clock_seconds();
    *batch = NULL;
    pthread_mutex_lock(&loader->lock);
    Status status = next_locked(loader, batch, error);
    loader->counts.wait_seconds += clock_seconds() - begin;
    pthread_mutex_unlock(&loader->lock);
    return status;
}

void loader_release(Loader *loader, Batch *batch)
{
    Slot *slot = (Slot *)((char *)batch - offsetof(Slot, batch));
    pthread_mutex_lock(&loader->lock);
    slot->state = SLOT_FREE;
    pthread_cond_broadcast(&loader->work);
    pthread_mutex_unlock(&loader->lock);
}

LoaderCounts loader_counts(const Loader *loader)
{
    Loader *mutable_loader = (Loader *)loader; /* for the lock only */
    pthread_mutex_lock(&mutable_loader->lock);
    LoaderCounts counts = loader->counts;
    if (counts.bad > 0) counts.bad_example = loader->bad_example;
    pthread_mutex_unlock(&mutable_loader->lock);
    return counts;
}
