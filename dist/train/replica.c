#include "dist/train/replica.h"

#include <inttypes.h>
#include <math.h>

#include "core/base/clock.h"
#include "dist/train/evaluate.h"
#include "dist/train/signals.h"

/* ---- creation */

void replica_part(int64_t global_batch, int rank, int ranks, int64_t *begin, int64_t *end)
{
    /* The loader prepares both images of a mixed pair that is cut in two, so pairs stay whole where that is free. */
    int64_t largest = (global_batch + ranks - 1) / ranks, pairs = global_batch / 2;
    bool whole_pairs = global_batch % 2 == 0 && 2 * ((pairs + ranks - 1) / ranks) == largest;
    share_range(global_batch, whole_pairs ? 2 : 1, rank, ranks, begin, end);
}

static Status loader_make(Replica *replica, const Dataset *dataset, int64_t begin, int64_t end, Error *error)
{
    const Config *config = replica->config;
    LoaderConfig loader = {.pipeline = config->pipeline,
                           .training = true,
                           .seed = config->seed,
                           .shuffle = config->shuffle,
                           .global_batch = config->batch_size,
                           .begin = begin,
                           .end = end,
                           .classes = config->model.num_classes,
                           .workers = config->workers,
                           .depth = 3,
                           .max_bad_share = 0.01};
    Status status = loader_create(&replica->loader, dataset, &loader, error);
    if (!status) replica->epoch_steps = loader_steps(replica->loader);
    return status;
}

Status replica_create(Replica *replica, const Config *config, const World *world, const Dataset *dataset, Pool *pool,
                      Timeline *timeline, Error *error)
{
    *replica = (Replica){.config = config, .world = world};
    if (dataset_count(dataset) < config->batch_size)
        return error_set(error, STATUS_DATA,
                         "%s has %" PRId64 " training images, fewer than batch_size, %" PRId64 ": an epoch has no step",
                         config->data, dataset_count(dataset), config->batch_size);
    const TrainStepSetup setup = {.config = config,
                                  .micro_batch = train_micro_batch(config, world->size),
                                  .pool = pool,
                                  .world = world,
                                  .timeline = timeline};
    Status status = train_step_create(&replica->step, &setup, error);
    if (status) return status;
    /* Images in the order of the sum's leaves, which goes node by node. */
    int64_t begin, end, place = config->reproducible > 0 ? reducer_place(replica->step.reducer) : world->rank;
    replica_part(config->batch_size, (int)place, world->size, &begin, &end);
    return loader_make(replica, dataset, begin, end, error);
}

void replica_free(Replica *replica)
{
    loader_free(replica->loader);
    train_step_free(&replica->step);
    *replica = (Replica){0};
}

Status replica_start(Replica *replica, const RunPosition *position, Error *error)
{
    model_set_weights(replica->step.model, replica->step.vectors.weights);
    return loader_start(replica->loader, position->epoch, position->epoch_step, error);
}

/* ---- a step */

/* "EPOCH STEP IMAGE IMAGE ...": numbers in the data set. Whole lines, so that a killed run leaves whole lines. */
static void tell_samples(FILE *out, const Batch *batch)
{
    fprintf(out, "%" PRId64 " %" PRId64, batch->epoch, batch->step);
    for (int i = 0; i < batch->count; i++) fprintf(out, " %" PRId64, batch->indices[i]);
    fputc('\n', out);
    fflush(out);
}

/* The batch that is due at the position, and no other. */
static Status next_batch(Replica *replica, const RunPosition *position, Batch **batch, Error *error)
{
    double start = clock_seconds();
    Status status = loader_next(replica->loader, batch, error);
    timeline_add(replica->step.timeline, TIMELINE_COMPUTE, "wait for data", position->step, start, clock_seconds());
    if (status || ((*batch)->epoch == position->epoch && (*batch)->step == position->epoch_step)) return status;
    return error_set(error, STATUS_FAILED,
                     "the loader gave step %" PRId64 " of epoch %" PRId64 "; step %" PRId64 " of epoch %" PRId64
                     " is due",
                     (*batch)->step, (*batch)->epoch + 1, position->epoch_step, position->epoch + 1);
}

/* The sum of gradients over ranks. A rank without images adds zeros: its part of the global batch is empty, or it could
 * not read its images, and then all reach the end of the step and stop together. */
static Status gradients(Replica *replica, const RunPosition *position, Error *error)
{
    TrainStep *step = &replica->step;
    Batch *batch = NULL;
    StepBatch work = {.scale = 1.0 / (double)replica->config->batch_size, .number = position->step};
    Status status = next_batch(replica, position, &batch, error);
    if (!status) {
        if (replica->samples) tell_samples(replica->samples, batch);
        work.targets = batch->targets;
        work.input = (ModelInput){.count = batch->count,
                                  .images = batch->images,
                                  .training = true,
                                  .seed = replica->config->seed,
                                  .epoch = (uint64_t)batch->epoch,
                                  .samples = batch->samples};
    }
    pool_stop_when(step->pool, signals_flag());
    train_step_gradients(step, &work);
    pool_stop_when(step->pool, NULL);
    if (batch) loader_release(replica->loader, batch);
    Status summed = train_step_sum(step, error);
    return status ? status : summed;
}

typedef struct Agreement { /* summed over ranks: doubles only */
    double failed, stop, checkpoint, data_wait, comm_wait;
} Agreement;

/* The first value of the summed gradient that is not finite, by the rank that owns it. */
static Status find_nonfinite(const Replica *replica, const RunPosition *position, Error *error)
{
    const TrainStep *step = &replica->step;
    const float *total = train_step_total(step);
    int64_t at = step->vectors.begin;
    while (at < step->vectors.end && isfinite(total[at])) at++;
    if (at == step->vectors.end) return STATUS_OK;
    const Param *param = step->table->items;
    while (param->offset + param->numel <= at) param++;
    return error_set(error, STATUS_FAILED,
                     "step %" PRId64 ", epoch %" PRId64 ": the gradient of %s is %g at element %" PRId64,
                     position->step + 1, position->epoch + 1, param->name, (double)total[at], at - param->offset);
}

static Status refuse_nonfinite(const Replica *replica, const RunPosition *position, double loss, Error *error)
{
    Status status = world_agree(replica->world->comm, find_nonfinite(replica, position, error), error);
    if (!status)
        error_set(error, STATUS_FAILED, "step %" PRId64 ", epoch %" PRId64 ": the loss is %g", position->step + 1,
                  position->epoch + 1, loss);
    return error_add(error,
                     "the weights were not changed, and the checkpoints stay as they are\n"
                     "  hint: a lower lr or a smaller clip_grad; --resume auto goes on from the last checkpoint");
}

RunPosition replica_next(const Replica *replica, const RunPosition *position)
{
    RunPosition next = *position;
    next.step++;
    next.epoch_step++;
    if (next.epoch_step == replica->epoch_steps) {
        next.epoch++;
        next.epoch_step = 0;
    }
    return next;
}

/* The rate of what has this share of the peak. Only the peak is shared out: all go to the same min_lr. */
static double rate_of(const Replica *replica, const RunPosition *position, double share)
{
    ScheduleConfig schedule = replica->config->schedule;
    schedule.lr *= share;
    return schedule_lr(&schedule, (int)position->epoch, (double)position->epoch_step / (double)replica->epoch_steps);
}

/* Everything that ranks decide together, in one sum. STATUS_OK: *agreement and *sums say what all saw. */
static Status agree_on_step(Replica *replica, const StepRequest *request, Agreement *agreement, StepSums *sums,
                            Error *error)
{
    Error broken = {0}; /* the message in `error` is that of this rank's failure, which comes later */
    agreement->stop = request->stop || signals_caught(); /* after computing, which a signal cuts short */
    agreement->checkpoint = request->checkpoint;
    Status status =
        train_step_agree(&replica->step, sums, (double *)agreement, sizeof *agreement / sizeof(double), &broken);
    if (status) *error = broken;
    return status;
}

Status replica_step(Replica *replica, RunPosition *position, const StepRequest *request, StepResult *result,
                    Error *error)
{
    const double begin = clock_seconds(), waited = loader_counts(replica->loader).wait_seconds;
    const int ranks = replica->world->size;
    Agreement agreement = {0};
    StepSums sums;
    Status mine = gradients(replica, position, error);
    if (!mine) mine = request->health;
    agreement.failed = mine != STATUS_OK;
    agreement.data_wait = loader_counts(replica->loader).wait_seconds - waited;
    agreement.comm_wait = reducer_times(replica->step.reducer).wait;
    const double waits = agreement.data_wait + agreement.comm_wait;
    Status status = agree_on_step(replica, request, &agreement, &sums, error);
    if (status) return status;
    if (agreement.failed > 0) return world_agree(replica->world->comm, mine, error);
    *result = (StepResult){.stop = agreement.stop > 0, .checkpoint = agreement.checkpoint > 0};
    if (result->stop) return STATUS_OK;
    if (!isfinite(sums.squares) || !isfinite(sums.loss)) return refuse_nonfinite(replica, position, sums.loss, error);

    result->compute = clock_seconds() - begin - waits;
    const double norm = sqrt(sums.squares);
    const double lr = rate_of(replica, position, 1);
    const double lr_body = rate_of(replica, position, replica->config->transfer_ratio);
    status = train_step_update(&replica->step, lr, lr_body, norm, error);
    if (status) return status;
    result->stats = (StepStats){.step = position->step + 1,
                                .epoch = position->epoch,
                                .loss = sums.loss,
                                .lr = lr,
                                .grad_norm = norm,
                                .images = replica->config->batch_size,
                                .seconds = clock_seconds() - begin,
                                .data_wait = agreement.data_wait / ranks,
                                .comm_wait = agreement.comm_wait / ranks};
    *position = replica_next(replica, position);
    return STATUS_OK;
}
