/* coordinator_resume.c: from a checkpoint to vectors, position and an open record. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/path.h"
#include "dist/train/coordinator_internal.h"
#include "dist/train/run_folder.h"

/* Opens the newest checkpoint of a folder that is whole; damaged ones are named. Leaves *found alone when there is
 * none. */
static Status open_newest(Coordinator *coordinator, const char *folder, Checkpoint *checkpoint, bool *found,
                          Error *error)
{
    int64_t *steps;
    int count;
    Status status = checkpoint_list(folder, &steps, &count, error);
    if (status) return status;
    for (int i = 0; i < count && !*found; i++) {
        char path[CHECKPOINT_PATH];
        Error problem = {0};
        checkpoint_path(path, folder, steps[i]);
        if (checkpoint_open(checkpoint, path, &problem) == STATUS_OK)
            *found = true;
        else
            log_write(coordinator->setup.log, LOG_WARNING, "checkpoint %s is not used: %s", path, problem.message);
    }
    free(steps);
    if (count && !*found)
        status = error_set(error, STATUS_DATA,
                           "%s: none of the %d checkpoints is whole; remove the folder to train from the start", folder,
                           count);
    return status;
}

static Status open_asked(Coordinator *coordinator, const char *resume, Checkpoint *checkpoint, bool *found,
                         Error *error)
{
    if (!resume) return STATUS_OK;
    if (strcmp(resume, "auto") == 0)
        return open_newest(coordinator, coordinator->files.folder, checkpoint, found, error);
    char path[CHECKPOINT_PATH];
    Status status = path_join(path, sizeof path, resume, "manifest.json", error);
    if (status) return status;
    if (file_exists(path)) {
        status = checkpoint_open(checkpoint, resume, error);
        *found = !status;
        return status;
    }
    status = path_join(path, sizeof path, resume, "checkpoints", error);
    if (!status) status = open_newest(coordinator, path, checkpoint, found, error);
    if (!status && !*found)
        status =
            error_set(error, STATUS_DATA, "--resume %s: there is no checkpoint, neither in it nor in %s", resume, path);
    return status;
}

/* Another global batch starts at the same sample, if that is a whole number of its steps. */
static Status position_rebase(RunPosition *position, int64_t global_batch, Error *error)
{
    int64_t sample = position->epoch_step * position->global_batch;
    if (sample % global_batch != 0)
        return error_set(error, STATUS_USAGE,
                         "the checkpoint is %" PRId64 " samples into epoch %" PRId64
                         ", which is not a whole number of steps of batch_size %" PRId64
                         "; go on with batch_size %" PRId64 " to the end of the epoch",
                         sample, position->epoch + 1, global_batch, position->global_batch);
    position->epoch_step = sample / global_batch;
    position->global_batch = global_batch;
    return STATUS_OK;
}

/* A step beyond the end of its epoch would never meet that end. */
static Status position_fits(const RunPosition *position, int64_t epoch_steps, const char *path, Error *error)
{
    if (position->epoch_step == 0 || position->epoch_step < epoch_steps) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s: at step %" PRId64 " of epoch %" PRId64 ", but an epoch of this data set has %" PRId64
                     " steps of %" PRId64 " images: go on with the data set that the run had",
                     path, position->epoch_step, position->epoch + 1, epoch_steps, position->global_batch);
}

/* Removes the leftovers of a run that was killed while it wrote, or after a manifest but before the pruning that follows.
 * The next checkpoint would remove them too, but a run that is done writes none. */
static void cleanup(const Coordinator *coordinator, const RunPosition *position)
{
    const Config *config = coordinator->setup.config;
    Error problem = {0};
    Status status = checkpoint_sweep(coordinator->files.folder, &problem);
    if (!status) status = checkpoint_prune_pending(coordinator->files.folder, position->validated, &problem);
    if (!status && position->epoch >= schedule_total_epochs(&config->schedule))
        status = checkpoint_prune(coordinator->files.folder, position->step, config->keep, &problem);
    if (status) log_write(coordinator->setup.log, LOG_WARNING, "%s", problem.message);
}

/* Finds the checkpoint to go on from, and opens what is rank 0's alone. */
static Status leader_open(Coordinator *coordinator, const char *resume, Checkpoint *checkpoint, bool *resumed,
                          Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    const int64_t epochs = schedule_total_epochs(&setup->config->schedule), total = epochs * setup->epoch_steps;
    Status status = open_asked(coordinator, resume, checkpoint, resumed, error);
    RunPosition *position = &checkpoint->position;
    if (!status && *resumed) status = position_rebase(position, setup->config->batch_size, error);
    if (!status && *resumed) status = position_fits(position, setup->epoch_steps, checkpoint->path, error);
    if (status) return status;
    if (*resumed) {
        char own[CHECKPOINT_PATH];
        char where[96] = "the end of the run";
        if (position->step < total)
            snprintf(where, sizeof where, "epoch %" PRId64 ", %" PRId64 " steps into it", position->epoch + 1,
                     position->epoch_step);
        log_write(setup->log, LOG_INFO, "resumed from %s: step %" PRId64 " of %" PRId64 "; %s", checkpoint->path,
                  position->step, total, where);
        checkpoint_path(own, coordinator->files.folder, position->step);
        if (strcmp(own, checkpoint->path) == 0) {
            coordinator->verified = position->step;
            coordinator->validated = position->validated;
            cleanup(coordinator, position);
        }
    }
    status = metrics_open(&coordinator->metrics, setup->output, position->step, setup->vectors->ema, error);
    if (status) return status;
    coordinator->metrics_open = true;
    ProgressPlan plan = {.total_steps = total,
                         .epoch_steps = setup->epoch_steps,
                         .epochs = epochs,
                         .interval = setup->config->log_interval};
    progress_begin(&coordinator->progress, setup->log, &plan, position->step);
    coordinator->progressing = true;
    return STATUS_OK;
}

static void broadcast_floats(const CoordinatorSetup *setup, float *vector, int64_t count)
{
    if (vector) world_broadcast(vector, (size_t)count * sizeof *vector, setup->world->comm);
}

/* ---- validations that were not done */

/* Reads what was to be validated at the end of `epoch`, on rank 0; beside the checkpoint. */
static Status pending_load(Coordinator *coordinator, const char *checkpoint, int64_t epoch, RunPosition *position,
                           Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    char folder[CHECKPOINT_PATH], path[CHECKPOINT_PATH];
    Checkpoint pending = {0};
    RunVectors vectors = {.weights = setup->vectors->weights, .ema = setup->vectors->ema};
    const char *slash = strrchr(checkpoint, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - checkpoint) : 1, slash ? checkpoint : ".");
    checkpoint_pending_path(path, folder, epoch);
    Status status = checkpoint_open(&pending, path, error);
    if (!status) status = checkpoint_load(&pending, setup->table, &vectors, error);
    if (!status) {
        position->step = pending.position.step;
        position->epoch = epoch;
        position->epoch_step = 0;
        log_write(setup->log, LOG_INFO, "epoch %" PRId64 " was cut before its validation: done now", epoch);
    } else {
        log_write(setup->log, LOG_WARNING, "epoch %" PRId64 " stays without a validation: %s", epoch, error->message);
    }
    checkpoint_close(&pending);
    return status;
}

/* A dedicated rank validates behind the training, so a run may have been cut when it was some steps further on. */
static Status validate_pending(Coordinator *coordinator, const char *checkpoint, RunPosition *position, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    const int64_t ended = position->epoch - (position->epoch_step == 0); /* the end of an epoch is the trainer's */
    const int64_t epochs = schedule_total_epochs(&setup->config->schedule), last = ended < epochs ? ended : epochs;
    for (int64_t epoch = position->validated + 1; epoch <= last; epoch++) {
        if (!coordinator_validates(setup->config, epoch)) continue;
        RunPosition at = *position;
        Error problem = {0};
        bool missing = coordinator->is_root && pending_load(coordinator, checkpoint, epoch, &at, &problem) != STATUS_OK;
        world_broadcast(&missing, sizeof missing, setup->world->comm);
        if (missing) continue;
        world_broadcast(&at, sizeof at, setup->world->comm);
        broadcast_floats(setup, setup->vectors->weights, setup->table->size);
        broadcast_floats(setup, setup->vectors->ema, setup->table->size);
        model_set_weights(setup->model, setup->vectors->weights);
        Status status = coordinator->backend->validate(coordinator, &at, error);
        if (status) return status;
        position->best_epoch = at.best_epoch;
        position->best_top1 = at.best_top1;
    }
    if (last > position->validated) position->validated = last;
    return STATUS_OK;
}

/* ---- the vectors */

/* Weights and average go round from rank 0; so do the moments, unless each rank reads its own slice of them. */
static Status load(Coordinator *coordinator, Checkpoint *checkpoint, Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    RunVectors wanted = *setup->vectors;
    const bool sharded = coordinator_sharded(setup);
    Status status = STATUS_OK;
    if (!coordinator->is_root) {
        wanted.weights = wanted.ema = NULL;
        if (!sharded) wanted.moment1 = wanted.moment2 = NULL;
    }
    if (sharded && !coordinator->is_root) {
        char path[CHECKPOINT_PATH];
        memcpy(path, checkpoint->path, sizeof path);
        status = checkpoint_open_unverified(checkpoint, path, error);
        if (status)
            error_add(error, "  rank %d: with zero: 1 every rank reads its slice, so all have to see the run folder",
                      setup->world->rank);
    }
    if (!status) status = checkpoint_load(checkpoint, setup->table, &wanted, error);
    status = world_agree(setup->world->comm, status, error);
    if (status) return status;
    broadcast_floats(setup, setup->vectors->weights, setup->table->size);
    broadcast_floats(setup, setup->vectors->ema, setup->table->size);
    if (sharded) return STATUS_OK;
    broadcast_floats(setup, setup->vectors->moment1, setup->table->size);
    broadcast_floats(setup, setup->vectors->moment2, setup->table->size);
    return STATUS_OK;
}

Status coordinator_resume(Coordinator *coordinator, const char *resume, RunPosition *position, bool *resumed,
                          Error *error)
{
    const CoordinatorSetup *setup = &coordinator->setup;
    Checkpoint checkpoint = {.position = *position};
    Status status = STATUS_OK;
    *resumed = false;
    if (coordinator->is_root) status = leader_open(coordinator, resume, &checkpoint, resumed, error);
    status = world_agree(setup->world->comm, status, error);
    if (status) goto close;
    if (coordinator->is_root) *position = checkpoint.position;
    if (coordinator->is_root) coordinator->backend->begin_run(coordinator, position);
    world_broadcast(resumed, sizeof *resumed, setup->world->comm);
    if (!*resumed) goto close;
    world_broadcast(position, sizeof *position, setup->world->comm);
    world_broadcast(checkpoint.path, sizeof checkpoint.path, setup->world->comm);
    status = validate_pending(coordinator, checkpoint.path, position, error);
    if (!status) status = load(coordinator, &checkpoint, error);
close:
    checkpoint_close(&checkpoint);
    return status;
}
