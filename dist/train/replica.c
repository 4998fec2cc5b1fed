#include "dist/train/replica.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/optim/loss.h"
#include "core/optim/optim.h"
#include "core/base/clock.h"
#include "dist/comm/world.h"
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

static void carve(Replica *replica)
{
    Arena *arena = &replica->arena;
    const OptimConfig *optim = &replica->config->optim;
    size_t size = (size_t)replica->table->size, slice = (size_t)(replica->vectors.end - replica->vectors.begin);
    size_t logits = (size_t)replica->micro_batch * (size_t)replica->config->model.num_classes;
    replica->vectors.weights = arena_floats(arena, size);
    replica->vectors.moment1 = arena_floats(arena, slice);
    replica->vectors.moment2 = optim_has_moment2(optim->kind) ? arena_floats(arena, slice) : NULL;
    replica->vectors.ema = optim->ema_decay > 0 ? arena_floats(arena, size) : NULL;
    replica->logits = arena_floats(arena, logits);
    replica->grad_logits = arena_floats(arena, logits);
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

static Status reducer_make(Replica *replica, Error *error)
{
    const Config *config = replica->config;
    ReducerConfig reducer = {.comm = replica->world->comm,
                             .kind = config->allreduce,
                             .bucket_mb = config->bucket_mb,
                             .wire = config->wire,
                             .zero = config->zero == 1,
                             .watchdog = config->watchdog,
                             .timeline = replica->timeline};
    Status status = reducer_create(&replica->reducer, &reducer, replica->table->size, error);
    if (status) return status;
    replica->grads = reducer_grads(replica->reducer);
    reducer_owned(replica->reducer, &replica->vectors.begin, &replica->vectors.end);
    return STATUS_OK;
}

Status replica_create(Replica *replica, const Config *config, const World *world, const Dataset *dataset, Pool *pool,
                      Timeline *timeline, Error *error)
{
    *replica = (Replica){.config = config, .world = world, .pool = pool, .timeline = timeline};
    if (dataset_count(dataset) < config->batch_size)
        return error_set(error, STATUS_DATA,
                         "%s has %" PRId64 " training images, fewer than batch_size, %" PRId64 ": an epoch has no step",
                         config->data, dataset_count(dataset), config->batch_size);
    int64_t begin, end;
    replica_part(config->batch_size, world->rank, world->size, &begin, &end);
    replica->part = end - begin;
    int64_t largest = (config->batch_size + world->size - 1) / world->size;
    replica->micro_batch = (int)((largest + config->accumulate - 1) / config->accumulate);
    Status status = model_create(&replica->model, &config->model, replica->micro_batch, MODEL_TRAIN, pool, error);
    status =
        world_agree(world->comm, status, error); /* before anybody waits for the reducer of one that has no model */
    if (status) return status;
    replica->table = model_params(replica->model);
    status = reducer_make(replica, error); /* which says what part of the moments is here */
    if (status) return status;
    carve(replica);
    status = arena_allocate(&replica->arena, error);
    if (status) return status;
    carve(replica);
    return loader_make(replica, dataset, begin, end, error);
}

void replica_free(Replica *replica)
{
    loader_free(replica->loader);
    reducer_free(replica->reducer);
    arena_free(&replica->arena);
    model_free(replica->model);
    *replica = (Replica){0};
}

Status replica_start(Replica *replica, const RunPosition *position, Error *error)
{
    model_set_weights(replica->model, replica->vectors.weights);
    return loader_start(replica->loader, position->epoch, position->epoch_step, error);
}

/* ---- a step */

/* Forward and backward over this rank's part, a micro-batch at a time; adds the part's share of the loss. The scale is
 * that of the whole global batch, so sums over micro-batches and ranks are means, whatever their sizes. */
static double compute(Replica *replica, const Batch *batch, int64_t step)
{
    const int classes = replica->config->model.num_classes;
    const size_t image = (size_t)replica->config->model.in_chans * (size_t)replica->config->model.img_size *
                         (size_t)replica->config->model.img_size;
    const double scale = 1.0 / (double)replica->config->batch_size;
    double loss = 0;
    for (int begin = 0; begin < batch->count; begin += replica->micro_batch) {
        int left = batch->count - begin, count = left < replica->micro_batch ? left : replica->micro_batch;
        bool last = begin + count == batch->count;
        ModelInput input = {.count = count,
                            .images = batch->images + (size_t)begin * image,
                            .training = true,
                            .seed = replica->config->seed,
                            .epoch = (uint64_t)batch->epoch,
                            .samples = batch->samples + begin};
        double start = clock_seconds();
        model_forward(replica->model, &input, replica->logits);
        double middle = clock_seconds();
        timeline_add(replica->timeline, TIMELINE_COMPUTE, "forward", step, start, middle);
        loss += loss_soft_target(replica->logits, batch->targets + (size_t)begin * (size_t)classes, count, classes,
                                 scale, replica->grad_logits);
        model_backward(replica->model, replica->grad_logits, replica->grads, begin > 0, last ? reducer_ready : NULL,
                       replica->reducer);
        timeline_add(replica->timeline, TIMELINE_COMPUTE, "backward", step, middle, clock_seconds());
    }
    return loss;
}

/* "EPOCH STEP IMAGE IMAGE ...": numbers in the data set. Whole lines, so that a killed run leaves whole lines. */
static void tell_samples(FILE *out, const Batch *batch)
{
    fprintf(out, "%" PRId64 " %" PRId64, batch->epoch, batch->step);
    for (int i = 0; i < batch->count; i++) fprintf(out, " %" PRId64, batch->indices[i]);
    fputc('\n', out);
    fflush(out);
}

/* A rank without images takes part in the sum with zeros: its part of the global batch is empty, or it could not read
 * its images, and then all reach the end of the step and stop together. */
static Status gradients(Replica *replica, const RunPosition *position, double *loss, Error *error)
{
    Batch *batch = NULL;
    double start = clock_seconds();
    *loss = 0;
    Status status = loader_next(replica->loader, &batch, error);
    timeline_add(replica->timeline, TIMELINE_COMPUTE, "wait for data", position->step, start, clock_seconds());
    if (!status && (batch->epoch != position->epoch || batch->step != position->epoch_step))
        status = error_set(error, STATUS_FAILED,
                           "the loader gave step %" PRId64 " of epoch %" PRId64 "; step %" PRId64 " of epoch %" PRId64
                           " is due",
                           batch->step, batch->epoch, position->epoch_step, position->epoch);
    reducer_begin(replica->reducer);
    if (!status && replica->samples) tell_samples(replica->samples, batch);
    if (status || batch->count == 0) {
        memset(replica->grads, 0, (size_t)replica->table->size * sizeof *replica->grads);
        reducer_ready(replica->reducer, 0, replica->table->size);
    } else {
        pool_stop_when(replica->pool, signals_flag());
        *loss = compute(replica, batch, position->step);
        pool_stop_when(replica->pool, NULL);
    }
    if (batch) loader_release(replica->loader, batch);
    start = clock_seconds();
    Status reduced = reducer_wait(replica->reducer, error);
    timeline_add(replica->timeline, TIMELINE_COMPUTE, "wait for sums", position->step, start, clock_seconds());
    return status ? status : reduced;
}

typedef struct Agreement { /* summed over ranks: doubles only */
    double loss, squares, failed, stop, checkpoint, data_wait, comm_wait;
} Agreement;

/* The first value of the summed gradient that is not finite, by the rank that owns it. */
static Status find_nonfinite(const Replica *replica, const RunPosition *position, Error *error)
{
    const float *total = reducer_total(replica->reducer);
    int64_t at = replica->vectors.begin;
    while (at < replica->vectors.end && isfinite(total[at])) at++;
    if (at == replica->vectors.end) return STATUS_OK;
    const Param *param = replica->table->items;
    while (param->offset + param->numel <= at) param++;
    return error_set(error, STATUS_FAILED,
                     "step %" PRId64 ", epoch %" PRId64 ": the gradient of %s is %g at element %" PRId64,
                     position->step + 1, position->epoch, param->name, (double)total[at], at - param->offset);
}

static Status refuse_nonfinite(const Replica *replica, const RunPosition *position, double loss, Error *error)
{
    Status status = world_agree(replica->world->comm, find_nonfinite(replica, position, error), error);
    if (!status)
        error_set(error, STATUS_FAILED, "step %" PRId64 ", epoch %" PRId64 ": the loss is %g", position->step + 1,
                  position->epoch, loss);
    return error_add(error,
                     "the weights were not changed, and the checkpoints stay as they are\n"
                     "  hint: a lower lr or a smaller clip_grad; --resume auto goes on from the last checkpoint");
}

static void update(Replica *replica, const RunPosition *position, double lr, double norm)
{
    const Config *config = replica->config;
    OptimConfig optim = config->optim;
    int64_t step = position->step + 1;
    if (replica->vectors.ema && config->model_ema_warmup) {
        double ramp = (1.0 + (double)step) / (10.0 + (double)step);
        if (ramp < optim.ema_decay) optim.ema_decay = ramp;
    }
    const OptimVectors vectors = {replica->vectors.weights, reducer_total(replica->reducer), replica->vectors.moment1,
                                  replica->vectors.moment2, replica->vectors.ema};
    const OptimStep update = {
        .number = step, .lr = lr, .lr_body = lr, .grad_scale = optim_clip_scale(norm, config->clip_grad)};
    optim_step(&optim, replica->table, replica->pool, &vectors, replica->vectors.begin, replica->vectors.end, &update);
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

Status replica_step(Replica *replica, RunPosition *position, const StepWishes *wishes, StepOutcome *outcome,
                    Error *error)
{
    double begin = clock_seconds(), waited = loader_counts(replica->loader).wait_seconds;
    const int ranks = replica->world->size;
    Agreement agreement = {0};
    Status status = gradients(replica, position, &agreement.loss, error);
    if (!status) status = wishes->health;
    agreement.failed = status != STATUS_OK;
    agreement.stop = wishes->stop || signals_caught(); /* after computing, which a signal cuts short */
    agreement.checkpoint = wishes->checkpoint;
    const double data_wait = loader_counts(replica->loader).wait_seconds - waited;
    const double comm_wait = reducer_times(replica->reducer).wait;
    agreement.data_wait = data_wait;
    agreement.comm_wait = comm_wait;
    int64_t slice_begin, slice_end;
    reducer_slice(replica->reducer, &slice_begin, &slice_end);
    agreement.squares = optim_sum_squares(replica->pool, reducer_total(replica->reducer), slice_begin, slice_end);
    Error broken = {0};
    if (reducer_agree(replica->reducer, (double *)&agreement, sizeof agreement / sizeof(double), &broken)) {
        *error = broken;
        return broken.status;
    }
    if (agreement.failed > 0) return world_agree(replica->world->comm, status, error);
    if (agreement.stop > 0) {
        *outcome = (StepOutcome){.stop = true};
        return STATUS_OK;
    }
    if (!isfinite(agreement.squares) || !isfinite(agreement.loss))
        return refuse_nonfinite(replica, position, agreement.loss, error);

    const double mine = clock_seconds() - begin - data_wait - comm_wait, updating = clock_seconds();
    double norm = sqrt(agreement.squares);
    double lr = schedule_lr(&replica->config->schedule, (int)position->epoch,
                            (double)position->epoch_step / (double)replica->epoch_steps);
    update(replica, position, lr, norm);
    status = reducer_gather(replica->reducer, replica->vectors.weights, error);
    if (status) return status;
    model_set_weights(replica->model, replica->vectors.weights);
    timeline_add(replica->timeline, TIMELINE_COMPUTE, "update", position->step, updating, clock_seconds());
    outcome->stats = (StepStats){.step = position->step + 1,
                                 .epoch = position->epoch,
                                 .loss = agreement.loss,
                                 .lr = lr,
                                 .grad_norm = norm,
                                 .images = replica->config->batch_size,
                                 .seconds = clock_seconds() - begin,
                                 .data_wait = agreement.data_wait / ranks,
                                 .comm_wait = agreement.comm_wait / ranks};
    outcome->compute = mine;
    outcome->stop = false;
    outcome->checkpoint = agreement.checkpoint > 0;
    *position = replica_next(replica, position);
    return STATUS_OK;
}
