#include "dist/checkpoint/async_writer.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "core/base/file.h"
#include "core/base/clock.h"
#include "core/base/memory.h"

enum { MAX_METADATA = 32, OWN_FILES = 3 };

typedef enum JobState { JOB_NONE, JOB_PENDING, JOB_DONE } JobState;

typedef struct Job {
    JobState state;
    RunPosition position;
    bool best;                 /* VALIDATED: there is a copy of better weights */
    bool whole;                /* COMMIT */
    const RunVectors *vectors; /* PENDING */
    WriterReport report;
} Job;

struct CheckpointWriter {
    WriterConfig config;
    RunVectors copy;       /* the checkpoint's */
    RunVectors best;       /* weights alone */
    CheckpointFile *parts; /* (others): what a commit was given */
    /* The thread's alone: the newest checkpoint written here, for its manifest. */
    CheckpointFile *files; /* (OWN_FILES + others) */
    int file_count;
    RunPosition position; /* its step is -1 when there is none */
    bool committed;
    char unpruned[sizeof((Error *)0)->message]; /* what was told last */
    Job jobs[WRITER_JOBS];
    bool quit;
    pthread_mutex_t lock; /* guards jobs' states and quit; a pending job's content is the thread's alone */
    pthread_cond_t changed;
    pthread_t thread;
};

/* ---- the thread */

static Status write_weights(const CheckpointWriter *writer, const char *path, const RunVectors *vectors,
                            const RunPosition *position, CheckpointFile *files, int *count, Error *error)
{
    const WriterConfig *config = &writer->config;
    char step[24];
    const char *metadata[MAX_METADATA + 3] = {"step", step};
    snprintf(step, sizeof step, "%" PRId64, position->step);
    for (int i = 0; i < MAX_METADATA && config->metadata[i]; i++) metadata[i + 2] = config->metadata[i];
    Status status = checkpoint_begin(path, error);
    if (!status)
        status = checkpoint_write_vector(path, "weights.safetensors", config->table, vectors->weights, position->step,
                                         metadata, &files[(*count)++], error);
    if (!status && config->vectors.ema)
        status = checkpoint_write_vector(path, "ema.safetensors", config->table, vectors->ema, position->step, metadata,
                                         &files[(*count)++], error);
    return status;
}

/* What there is of a checkpoint that failed only takes room that the next try needs. */
static Status abandon(CheckpointWriter *writer, Status status)
{
    char path[CHECKPOINT_PATH];
    Error ignored = {0};
    checkpoint_path(path, writer->config.folder, writer->position.step);
    checkpoint_abandon(path, &ignored);
    writer->position.step = -1;
    return status;
}

/* The new checkpoint is good, whatever happens to old ones. What stays is told once, not at every checkpoint. */
static void note_unpruned(CheckpointWriter *writer, Job *job, const Error *problem)
{
    if (strcmp(writer->unpruned, problem->message) == 0) return;
    snprintf(writer->unpruned, sizeof writer->unpruned, "%s", problem->message);
    snprintf(job->report.unpruned, sizeof job->report.unpruned, "%.500s", problem->message);
}

static Status commit(CheckpointWriter *writer, Job *job, Error *error)
{
    const WriterConfig *config = &writer->config;
    char path[CHECKPOINT_PATH];
    checkpoint_path(path, config->folder, writer->position.step);
    Error record = {0};
    if (config->sync && config->sync(config->context, &record))
        snprintf(job->report.record, sizeof job->report.record, "%.250s", record.message);
    Status status = checkpoint_commit(path, &writer->position, config->config, config->layout, writer->files,
                                      writer->file_count, error);
    if (status) return status;
    writer->committed = true;
    Error problem = {0};
    if (checkpoint_prune_pending(config->folder, writer->position.validated, &problem))
        note_unpruned(writer, job, &problem);
    return STATUS_OK;
}

static Status commit_new(CheckpointWriter *writer, Job *job, Error *error)
{
    Status status = commit(writer, job, error);
    if (!writer->committed) return abandon(writer, status);
    Error problem = {0};
    if (checkpoint_prune(writer->config.folder, writer->position.step, writer->config.keep, &problem))
        note_unpruned(writer, job, &problem);
    return status;
}

/* The folder that a run was renamed from is not made again. */
static Status check_run(const CheckpointWriter *writer, Error *error)
{
    if (file_exists(writer->config.run)) return STATUS_OK;
    return error_set(error, STATUS_FAILED, "%s: the run folder is not there any more", writer->config.run);
}

static Status write_checkpoint(CheckpointWriter *writer, Job *job, Error *error)
{
    const WriterConfig *config = &writer->config;
    char path[CHECKPOINT_PATH];
    int count = 0;
    Status status = check_run(writer, error);
    writer->position = job->position;
    writer->committed = false;
    checkpoint_path(path, config->folder, job->position.step);
    if (!status && config->head)
        status = write_weights(writer, path, &writer->copy, &job->position, writer->files, &count, error);
    else if (!status)
        status = file_make_folders(path, error);
    if (!status && config->vectors.moment1) {
        CheckpointFile *file = &writer->files[count++];
        status = checkpoint_write_moments(path, config->table, &writer->copy, job->position.step, config->part,
                                          config->parts, file, error);
        if (!config->head) job->report.part = *file;
    }
    for (int i = 0; !status && i < count; i++) job->report.bytes += writer->files[i].bytes;
    writer->file_count = count;
    /* Where others write too, the head abandons it when all have ended. */
    if (!config->head || config->others > 0) return status;
    return status ? abandon(writer, status) : commit_new(writer, job, error);
}

static Status write_commit(CheckpointWriter *writer, Job *job, Error *error)
{
    if (!job->whole) return abandon(writer, STATUS_OK);
    memcpy(writer->files + writer->file_count, writer->parts, (size_t)writer->config.others * sizeof *writer->parts);
    writer->file_count += writer->config.others;
    return commit_new(writer, job, error);
}

static Status write_pending(CheckpointWriter *writer, Job *job, Error *error)
{
    const WriterConfig *config = &writer->config;
    char path[CHECKPOINT_PATH];
    CheckpointFile files[OWN_FILES];
    int count = 0;
    Error ignored = {0};
    checkpoint_pending_path(path, config->folder, job->position.epoch);
    Status status = check_run(writer, error);
    if (!status) status = write_weights(writer, path, job->vectors, &job->position, files, &count, error);
    if (!status) status = checkpoint_commit(path, &job->position, config->config, config->layout, files, count, error);
    if (status) checkpoint_abandon(path, &ignored);
    return status;
}

static Status write_best(CheckpointWriter *writer, Job *job, Error *error)
{
    const WriterConfig *config = &writer->config;
    char step[24], epoch[24], top1[24];
    const char *metadata[MAX_METADATA + 11] = {"step", step, "epoch",      epoch,
                                               "top1", top1, "weights_of", config->vectors.ema ? "ema" : "model"};
    CheckpointFile file = {0};
    snprintf(step, sizeof step, "%" PRId64, job->position.step);
    snprintf(epoch, sizeof epoch, "%" PRId64, job->position.best_epoch);
    snprintf(top1, sizeof top1, "%.3f", job->position.best_top1);
    int count = 8;
    for (int i = 0; i < MAX_METADATA && config->metadata[i]; i++) metadata[count++] = config->metadata[i];
    if (config->provenance) {
        metadata[count++] = "provenance";
        metadata[count++] = config->provenance;
    }
    Status status = checkpoint_write_vector(config->run, "best.safetensors", config->table, writer->best.weights,
                                            job->position.step, metadata, &file, error);
    job->report.bytes = status ? 0 : file.bytes;
    return status;
}

static Status write_validated(CheckpointWriter *writer, Job *job, Error *error)
{
    Status status = job->best ? write_best(writer, job, error) : STATUS_OK;
    if (status || writer->position.step < job->position.step) return status;
    writer->position.validated = job->position.validated; /* for the commit that comes, or now */
    writer->position.best_epoch = job->position.best_epoch;
    writer->position.best_top1 = job->position.best_top1;
    return writer->committed ? commit(writer, job, error) : STATUS_OK;
}

static void *writer_main(void *argument)
{
    static Status (*const WORK[WRITER_JOBS])(CheckpointWriter *, Job *, Error *) = {
        [WRITER_PENDING] = write_pending,
        [WRITER_CHECKPOINT] = write_checkpoint,
        [WRITER_COMMIT] = write_commit,
        [WRITER_VALIDATED] = write_validated,
    };
    CheckpointWriter *writer = argument;
    /* Computing goes first: on Linux this is the thread's own priority, and a batch thread that wakes up does not push
     * a computing one aside. Elsewhere, and when refused, nothing is lost. */
    const struct sched_param none = {0};
    pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);
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
        job->report.status = WORK[next](writer, job, &job->report.error);
        job->report.write_seconds = clock_seconds() - start;
        pthread_mutex_lock(&writer->lock);
        job->state = JOB_DONE;
        pthread_cond_broadcast(&writer->changed);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

/* ---- the training side */

static void writer_release(CheckpointWriter *writer)
{
    run_vectors_free(&writer->copy);
    run_vectors_free(&writer->best);
    free(writer->parts);
    free(writer->files);
    free(writer);
}

Status writer_create(CheckpointWriter **out, const WriterConfig *config, Error *error)
{
    const RunVectorSet best = {.weights = config->head};
    *out = NULL;
    CheckpointWriter *writer = memory_alloc(1, sizeof *writer, "the checkpoint writer", error);
    if (!writer) return STATUS_FAILED;
    writer->config = *config;
    writer->position.step = -1;
    writer->parts = memory_alloc(config->others, sizeof *writer->parts, "the checkpoint writer", error);
    writer->files = memory_alloc(config->others + OWN_FILES, sizeof *writer->files, "the checkpoint writer", error);
    Status status = writer->parts && writer->files ? STATUS_OK : STATUS_FAILED;
    if (!status) status = run_vectors_allocate(&writer->copy, config->table, &config->vectors, error);
    if (!status) status = run_vectors_allocate(&writer->best, config->table, &best, error);
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

static Job *job_prepare(CheckpointWriter *writer, WriterJob kind, const RunPosition *position)
{
    Job *job = &writer->jobs[kind];
    job->position = *position;
    job->report = (WriterReport){.step = position->step};
    return job;
}

static void job_start(CheckpointWriter *writer, Job *job)
{
    pthread_mutex_lock(&writer->lock);
    job->state = JOB_PENDING;
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
}

void writer_checkpoint(CheckpointWriter *writer, Pool *pool, const RunVectors *vectors, const RunPosition *position)
{
    Job *job = job_prepare(writer, WRITER_CHECKPOINT, position);
    double start = clock_seconds();
    run_vectors_copy(pool, &writer->copy, vectors, writer->config.table->size);
    job->report.copy_seconds = clock_seconds() - start;
    job_start(writer, job);
}

void writer_commit(CheckpointWriter *writer, const CheckpointFile *parts, int count, bool whole)
{
    Job *job = job_prepare(writer, WRITER_COMMIT, &writer->jobs[WRITER_CHECKPOINT].position);
    job->whole = whole;
    if (whole) memcpy(writer->parts, parts, (size_t)count * sizeof *parts);
    job_start(writer, job);
}

void writer_validated(CheckpointWriter *writer, Pool *pool, const float *best, const RunPosition *position)
{
    Job *job = job_prepare(writer, WRITER_VALIDATED, position);
    job->best = best != NULL;
    run_vector_copy(pool, writer->best.weights, best, writer->config.table->size);
    job_start(writer, job);
}

void writer_pending(CheckpointWriter *writer, const RunVectors *vectors, const RunPosition *position)
{
    Job *job = job_prepare(writer, WRITER_PENDING, position);
    job->vectors = vectors;
    job_start(writer, job);
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
