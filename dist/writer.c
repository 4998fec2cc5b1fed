#include "dist/writer.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "dist/clock.h"

enum { VECTORS = 4, MAX_METADATA = 32, MAX_FILES = 4 };

typedef enum JobState { JOB_NONE, JOB_PENDING, JOB_DONE } JobState;

typedef struct Job {
    JobState state;
    RunPosition position;
    bool best;
    WriterReport report;
} Job;

struct CheckpointWriter {
    WriterConfig config;
    RunVectors copy; /* the checkpoint's */
    float *best;
    CheckpointFile files[MAX_FILES]; /* of the newest checkpoint written here, for its manifest; the thread's alone */
    int file_count;
    int64_t written; /* its step */
    Job jobs[WRITER_JOBS];
    bool quit;
    pthread_mutex_t lock; /* guards jobs' states and quit; a pending job's content is the thread's alone */
    pthread_cond_t changed;
    pthread_t thread;
};

/* ---- the thread */

static Status write_checkpoint(CheckpointWriter *writer, Job *job, Error *error)
{
    const WriterConfig *config = &writer->config;
    char path[CHECKPOINT_PATH], step[24];
    const char *metadata[MAX_METADATA + 3] = {"step", step};
    CheckpointFile *files = writer->files;
    int count = 0;
    writer->written = -1;
    snprintf(step, sizeof step, "%" PRId64, job->position.step);
    for (int i = 0; i < MAX_METADATA && config->metadata[i]; i++) metadata[i + 2] = config->metadata[i];
    checkpoint_path(path, config->folder, job->position.step);
    Status status = checkpoint_begin(path, error);
    if (!status)
        status = checkpoint_write_vector(path, "weights.safetensors", config->table, writer->copy.weights,
                                         job->position.step, metadata, &files[count++], error);
    if (!status && config->ema)
        status = checkpoint_write_vector(path, "ema.safetensors", config->table, writer->copy.ema, job->position.step,
                                         metadata, &files[count++], error);
    if (!status)
        status = checkpoint_write_moments(path, config->table, &writer->copy, job->position.step, 0, 1, &files[count++],
                                          error);
    if (!status) status = checkpoint_commit(path, &job->position, config->config, config->layout, files, count, error);
    if (status) {
        /* What there is of it only takes room that the next try needs. */
        Error ignored = {0};
        checkpoint_remove(path, &ignored);
        return status;
    }
    for (int i = 0; i < count; i++) job->report.bytes += files[i].bytes;
    writer->written = job->position.step;
    writer->file_count = count;
    return checkpoint_prune(config->folder, job->position.step, config->keep, error);
}

static Status write_best(CheckpointWriter *writer, Job *job, Error *error)
{
    const WriterConfig *config = &writer->config;
    char step[24], epoch[24], top1[24];
    const char *metadata[MAX_METADATA + 9] = {"step", step, "epoch",      epoch,
                                              "top1", top1, "weights_of", config->ema ? "ema" : "model"};
    CheckpointFile file = {0};
    snprintf(step, sizeof step, "%" PRId64, job->position.step);
    snprintf(epoch, sizeof epoch, "%" PRId64, job->position.best_epoch);
    snprintf(top1, sizeof top1, "%.3f", job->position.best_top1);
    for (int i = 0; i < MAX_METADATA && config->metadata[i]; i++) metadata[i + 8] = config->metadata[i];
    Status status = checkpoint_write_vector(config->run, "best.safetensors", config->table, writer->best,
                                            job->position.step, metadata, &file, error);
    job->report.bytes = status ? 0 : file.bytes;
    return status;
}

static Status write_validated(CheckpointWriter *writer, Job *job, Error *error)
{
    const WriterConfig *config = &writer->config;
    char path[CHECKPOINT_PATH];
    Status status = job->best ? write_best(writer, job, error) : STATUS_OK;
    if (status || writer->written != job->position.step) return status;
    checkpoint_path(path, config->folder, job->position.step);
    return checkpoint_commit(path, &job->position, config->config, config->layout, writer->files, writer->file_count,
                             error);
}

static void *writer_main(void *argument)
{
    CheckpointWriter *writer = argument;
    /* Computing goes first. On Linux this is the thread's own priority; elsewhere, and when refused, nothing is lost. */
    setpriority(PRIO_PROCESS, 0, 10);
    pthread_mutex_lock(&writer->lock);
    for (;;) {
        int next = 0;
        while (next < WRITER_JOBS && writer->jobs[next].state != JOB_PENDING) next++;
        if (next == WRITER_JOBS && writer->quit) break;
        if (next == WRITER_JOBS) {
            pthread_cond_wait(&writer->changed, &writer->lock);
            continue;
        }
        Job *job = &writer->jobs[next];
        pthread_mutex_unlock(&writer->lock);
        double start = clock_seconds();
        job->report.status = next == WRITER_VALIDATED ? write_validated(writer, job, &job->report.error)
                                                      : write_checkpoint(writer, job, &job->report.error);
        job->report.write_seconds = clock_seconds() - start;
        pthread_mutex_lock(&writer->lock);
        job->state = JOB_DONE;
        pthread_cond_broadcast(&writer->changed);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

/* ---- the training side */

static Status vector_allocate(float **vector, bool wanted, const ParamTable *table, Error *error)
{
    if (!wanted) return STATUS_OK;
    size_t bytes = ((size_t)table->size * sizeof **vector + 63) / 64 * 64;
    *vector = aligned_alloc(64, bytes);
    if (!*vector)
        return error_set(error, STATUS_FAILED, "out of memory for a checkpoint's copy of %" PRId64 " floats",
                         table->size);
    memset(*vector, 0, bytes); /* its pages are there before the first copy, which a step waits for */
    return STATUS_OK;
}

Status run_vectors_allocate(RunVectors *vectors, const ParamTable *table, bool ema, bool moment1, bool moment2,
                            Error *error)
{
    *vectors = (RunVectors){.end = table->size};
    Status status = vector_allocate(&vectors->weights, true, table, error);
    if (!status) status = vector_allocate(&vectors->ema, ema, table, error);
    if (!status) status = vector_allocate(&vectors->moment1, moment1, table, error);
    if (!status) status = vector_allocate(&vectors->moment2, moment2, table, error);
    return status;
}

void run_vectors_free(RunVectors *vectors)
{
    free(vectors->weights);
    free(vectors->ema);
    free(vectors->moment1);
    free(vectors->moment2);
    *vectors = (RunVectors){0};
}

static void writer_release(CheckpointWriter *writer)
{
    run_vectors_free(&writer->copy);
    free(writer->best);
    free(writer);
}

Status writer_create(CheckpointWriter **out, const WriterConfig *config, Error *error)
{
    *out = NULL;
    CheckpointWriter *writer = calloc(1, sizeof *writer);
    if (!writer) return error_set(error, STATUS_FAILED, "out of memory for the checkpoint writer");
    writer->config = *config;
    writer->written = -1;
    Status status =
        run_vectors_allocate(&writer->copy, config->table, config->ema, config->moment1, config->moment2, error);
    if (!status) status = vector_allocate(&writer->best, true, config->table, error);
    if (status) goto release;
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->changed, NULL);
    int failed = pthread_create(&writer->thread, NULL, writer_main, writer);
    if (failed) {
        status = error_set(error, STATUS_FAILED, "cannot start the checkpoint writer: %s", strerror(failed));
        goto destroy_lock;
    }
    *out = writer;
    return STATUS_OK;
destroy_lock:
    pthread_cond_destroy(&writer->changed);
    pthread_mutex_destroy(&writer->lock);
release:
    writer_release(writer);
    return status;
}

void writer_free(CheckpointWriter *writer)
{
    if (!writer) return;
    pthread_mutex_lock(&writer->lock);
    writer->quit = true;
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
    pthread_join(writer->thread, NULL);
    pthread_cond_destroy(&writer->changed);
    pthread_mutex_destroy(&writer->lock);
    writer_release(writer);
}

static JobState job_state(const CheckpointWriter *writer, WriterJob job)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&writer->lock;
    pthread_mutex_lock(lock);
    JobState state = writer->jobs[job].state;
    pthread_mutex_unlock(lock);
    return state;
}

bool writer_busy(const CheckpointWriter *writer, WriterJob job)
{
    return job_state(writer, job) != JOB_NONE;
}

enum { COPY_BLOCK = 1 << 20 }; /* floats per task */

typedef struct Copy {
    float *to[VECTORS];
    const float *from[VECTORS];
    int64_t size, blocks;
} Copy;

static void copy_task(void *context, int64_t task, int thread)
{
    (void)thread;
    const Copy *copy = context;
    int64_t vector = task / copy->blocks, begin = task % copy->blocks * COPY_BLOCK;
    int64_t count = copy->size - begin < COPY_BLOCK ? copy->size - begin : COPY_BLOCK;
    if (copy->to[vector]) memcpy(copy->to[vector] + begin, copy->from[vector] + begin, (size_t)count * sizeof(float));
}

static void copy_vectors(Pool *pool, Copy *copy, int64_t size)
{
    copy->size = size;
    copy->blocks = (size + COPY_BLOCK - 1) / COPY_BLOCK;
    pool_run(pool, VECTORS * copy->blocks, copy_task, copy);
}

void run_vectors_copy(Pool *pool, const RunVectors *to, const RunVectors *from, int64_t size)
{
    Copy copy = {.to = {to->weights, to->ema, to->moment1, to->moment2},
                 .from = {from->weights, from->ema, from->moment1, from->moment2}};
    copy_vectors(pool, &copy, size);
}

static void job_start(CheckpointWriter *writer, WriterJob kind, const RunPosition *position, double copy_seconds)
{
    Job *job = &writer->jobs[kind];
    job->position = *position;
    job->report = (WriterReport){.step = position->step, .copy_seconds = copy_seconds};
    pthread_mutex_lock(&writer->lock);
    job->state = JOB_PENDING;
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
}

void writer_checkpoint(CheckpointWriter *writer, Pool *pool, const RunVectors *vectors, const RunPosition *position)
{
    double start = clock_seconds();
    run_vectors_copy(pool, &writer->copy, vectors, writer->config.table->size);
    job_start(writer, WRITER_CHECKPOINT, position, clock_seconds() - start);
}

void writer_validated(CheckpointWriter *writer, Pool *pool, const float *best, const RunPosition *position)
{
    double start = clock_seconds();
    Copy copy = {.to = {best ? writer->best : NULL}, .from = {best}};
    copy_vectors(pool, &copy, writer->config.table->size);
    writer->jobs[WRITER_VALIDATED].best = best != NULL;
    job_start(writer, WRITER_VALIDATED, position, clock_seconds() - start);
}

bool writer_collect(CheckpointWriter *writer, WriterJob kind, WriterReport *report)
{
    if (job_state(writer, kind) != JOB_DONE) return false;
    *report = writer->jobs[kind].report;
    pthread_mutex_lock(&writer->lock);
    writer->jobs[kind].state = JOB_NONE;
    pthread_mutex_unlock(&writer->lock);
    return true;
}

void writer_wait(CheckpointWriter *writer)
{
    pthread_mutex_lock(&writer->lock);
    for (int i = 0; i < WRITER_JOBS; i++)
        while (writer->jobs[i].state == JOB_PENDING) pthread_cond_wait(&writer->changed, &writer->lock);
    pthread_mutex_unlock(&writer->lock);
}
