#include "dist/train/step.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/clock.h"
#include "core/base/memory.h"
#include "core/optim/loss.h"
#include "core/optim/optim.h"

/* ---- creation */

/* The range that this rank updates is known: moments have its length, the other vectors are whole. */
static void carve(TrainStep *step, StepKind kind)
{
    Arena *arena = &step->arena;
    const OptimConfig *optim = &step->config->optim;
    RunVectors *vectors = &step->vectors;
    size_t size = (size_t)step->table->size, slice = (size_t)(vectors->end - vectors->begin);
    size_t logits = (size_t)step->micro_batch * (size_t)step->config->model.num_classes;
    vectors->weights = arena_floats(arena, size);
    step->logits = arena_floats(arena, logits);
    if (kind == STEP_FORWARD) return;
    step->grad_logits = arena_floats(arena, logits);
    step->grads = step->reducer ? reducer_grads(step->reducer) : arena_floats(arena, size);
    leaves_carve(&step->leaves, arena, size);
    if (kind == STEP_GRADIENTS) return;
    vectors->moment1 = arena_floats(arena, slice);
    vectors->moment2 = optim_has_moment2(optim->kind) ? arena_floats(arena, slice) : NULL;
    vectors->ema = optim->ema_decay > 0 ? arena_floats(arena, size) : NULL;
    if (optim->kind == OPT_LAMB)
        step->lamb_squares = arena_carve(arena, 2 * (size_t)step->table->count * sizeof *step->lamb_squares);
}

static Status make_reducer(TrainStep *step, MPI_Comm comm, Error *error)
{
    const Config *config = step->config;
    ReducerConfig reducer = {.comm = comm,
                             .kind = config->allreduce,
                             .bucket_mb = config->bucket_mb,
                             .wire = config->wire,
                             .zero = config->zero == 1,
                             .balanced = config->reproducible > 0,
                             .watchdog = config->watchdog,
                             .ranks_per_node = config->ranks_per_node,
                             .timeline = step->timeline};
    Status status = reducer_create(&step->reducer, &reducer, step->table->size, error);
    if (!status) reducer_owned(step->reducer, &step->vectors.begin, &step->vectors.end);
    return status;
}

static Status make_leaves(TrainStep *step, int ranks, Error *error)
{
    const int workers = step->config->reproducible;
    const int64_t figures = 2 * (int64_t)workers + (int64_t)(sizeof(StepSums) / sizeof(double)) + STEP_VALUES;
    step->agreed = memory_alloc(figures, sizeof *step->agreed, "what ranks agree on", error);
    if (!step->agreed) return STATUS_FAILED;
    if (workers == 0) return STATUS_OK;
    return leaves_create(&step->leaves, workers, step->reducer ? reducer_place(step->reducer) : 0, ranks, error);
}

int train_micro_batch(const Config *config, int ranks)
{
    const int parts = config->reproducible > 0 ? config->reproducible : ranks;
    const int64_t largest = (config->batch_size + parts - 1) / parts;
    return (int)((largest + config->accumulate - 1) / config->accumulate);
}

Status train_step_create(TrainStep *step, const TrainStepSetup *setup, Error *error)
{
    *step = (TrainStep){
        .config = setup->config, .pool = setup->pool, .micro_batch = setup->micro_batch, .timeline = setup->timeline};
    ModelMode mode = setup->kind == STEP_FORWARD ? MODEL_EVAL : MODEL_TRAIN;
    Status status = model_create(&step->model, &setup->config->model, setup->micro_batch, mode, setup->pool, error);
    /* Before any rank waits for the reducer of one that has no model. */
    if (setup->world) status = world_agree(setup->world->comm, status, error);
    if (status) return status;
    step->table = memory_alloc(1, sizeof *step->table, "the table of parameters", error);
    status = step->table ? config_params(setup->config, step->table, error) : STATUS_FAILED;
    if (setup->world) status = world_agree(setup->world->comm, status, error);
    if (status) return status;
    step->vectors.end = step->table->size;
    if (setup->world) status = make_reducer(step, setup->world->comm, error);
    if (!status) status = make_leaves(step, setup->world ? setup->world->size : 1, error);
    if (status) return status;
    carve(step, setup->kind);
    status = arena_allocate(&step->arena, error);
    if (!status) carve(step, setup->kind);
    return status;
}

void train_step_free(TrainStep *step)
{
    reducer_free(step->reducer);
    leaves_free(&step->leaves);
    free(step->agreed);
    arena_free(&step->arena);
    if (step->table) params_free(step->table);
    free(step->table);
    model_free(step->model);
    *step = (TrainStep){0};
}

/* ---- a step */

/* Charges all threads' time since their last charge to this phase, or to waiting for it. */
static void charge(const TrainStep *step, Phase phase)
{
    if (step->profile) profile_charge_all(step->profile, phase);
}

typedef struct Pass { /* over some images of a batch, whose gradient goes to one place */
    int begin, end;
    float *grads;
    GradsReady ready; /* NULL, or called as the last micro-batch's slices are done */
} Pass;

/* Forward, loss and backward of the images from `begin` on, at most a micro-batch of them. Returns their loss. */
static double micro_batch(TrainStep *step, const StepBatch *batch, const Pass *pass, int begin)
{
    const ModelConfig *model = &step->config->model;
    const size_t image = (size_t)model->in_chans * (size_t)model->img_size * (size_t)model->img_size;
    const int left = pass->end - begin, count = left < step->micro_batch ? left : step->micro_batch;
    const float *targets = batch->targets + (size_t)begin * (size_t)model->num_classes;
    ModelInput input = batch->input;
    input.count = count;
    input.images += (size_t)begin * image;
    if (input.samples) input.samples += begin;

    double start = clock_seconds();
    model_forward(step->model, &input, step->logits);
    charge(step, PHASE_IDLE);
    double middle = clock_seconds();
    double loss = loss_soft_target(step->logits, targets, count, model->num_classes, batch->scale, step->grad_logits);
    charge(step, PHASE_LOSS);
    model_backward(step->model, step->grad_logits, pass->grads, begin > pass->begin, count == left ? pass->ready : NULL,
                   step);
    charge(step, PHASE_IDLE);
    timeline_add(step->timeline, TIMELINE_COMPUTE, "forward", batch->number, start, middle);
    timeline_add(step->timeline, TIMELINE_COMPUTE, "backward", batch->number, middle, clock_seconds());
    return loss;
}

/* Without images the gradient is zero. */
static double run_pass(TrainStep *step, const StepBatch *batch, const Pass *pass)
{
    double loss = 0;
    for (int begin = pass->begin; begin < pass->end; begin += step->micro_batch)
        loss += micro_batch(step, batch, pass, begin);
    if (pass->begin == pass->end) {
        memset(pass->grads, 0, (size_t)step->table->size * sizeof *pass->grads);
        if (pass->ready) pass->ready(step, 0, step->table->size);
    }
    return loss;
}

/* A slice of this rank's gradient is final. */
static void slice_ready(void *context, int64_t offset, int64_t count)
{
    TrainStep *step = context;
    if (step->leaves.count > 0)
        leaves_merge(&step->leaves, step->pool, step->leaves.count - 1, step->grads, offset, offset + count);
    if (step->reducer) reducer_ready(step->reducer, offset, count);
}

static void run_leaves(TrainStep *step, const StepBatch *batch)
{
    Leaves *leaves = &step->leaves;
    const int64_t images = batch->input.count;
    step->loss = 0;
    for (int leaf = 0; leaf < leaves->count; leaf++) {
        bool last = leaf == leaves->count - 1;
        Pass pass = {.begin = (int)(images * leaf / leaves->count),
                     .end = (int)(images * (leaf + 1) / leaves->count),
                     .grads = leaves_target(leaves, leaf, step->grads),
                     .ready = last ? slice_ready : NULL};
        leaves->figures[leaves->first + leaf] = run_pass(step, batch, &pass);
        step->loss += leaves->figures[leaves->first + leaf];
        if (!last) leaves_merge(leaves, step->pool, leaf, step->grads, 0, step->table->size);
    }
}

double train_step_gradients(TrainStep *step, const StepBatch *batch)
{
    step->number = batch->number;
    if (step->reducer) reducer_begin(step->reducer);
    const Pass whole = {.end = batch->input.count, .grads = step->grads, .ready = slice_ready};
    if (step->leaves.count > 0)
        run_leaves(step, batch);
    else
        step->loss = run_pass(step, batch, &whole);
    return step->loss;
}

Status train_step_sum(TrainStep *step, Error *error)
{
    double start = clock_seconds();
    Status status = step->reducer ? reducer_wait(step->reducer, error) : STATUS_OK;
    timeline_add(step->timeline, TIMELINE_COMPUTE, "wait for sums", step->number, start, clock_seconds());
    return status;
}

const float *train_step_total(const TrainStep *step)
{
    return step->reducer ? reducer_total(step->reducer) : step->grads;
}

double train_step_squares(TrainStep *step)
{
    const float *total = train_step_total(step);
    const int workers = step->leaves.workers;
    int64_t begin = step->vectors.begin, end = step->vectors.end;
    if (step->reducer) reducer_slice(step->reducer, &begin, &end);
    if (workers == 0) return optim_grad_squares(step->table, step->pool, total, begin, end);
    leaves_squares(&step->leaves, step->pool, step->table, total, begin, end);
    double squares = 0;
    for (int i = 0; i < workers; i++) squares += step->leaves.figures[workers + i];
    return squares;
}

/* With `reproducible`, figures of all logical workers are known to all ranks, each brought in by one: zeros add
 * nothing. They are added in their order, which is nobody's but theirs. */
Status train_step_agree(TrainStep *step, StepSums *sums, double *values, int count, Error *error)
{
    Leaves *leaves = &step->leaves;
    const int workers = leaves->workers, figures = workers > 0 ? 2 * workers : 2;
    double *agreed = step->agreed;
    agreed[0] = step->loss;
    agreed[1] = train_step_squares(step);
    if (workers > 0) memcpy(agreed, leaves->figures, (size_t)figures * sizeof *agreed);
    if (count > 0) memcpy(agreed + figures, values, (size_t)count * sizeof *agreed);
    Status status = step->reducer ? reducer_agree(step->reducer, agreed, figures + count, error) : STATUS_OK;
    if (status) return status;
    *sums = (StepSums){0};
    for (int i = 0; i < figures / 2; i++) sums->loss += agreed[i];
    for (int i = figures / 2; i < figures; i++) sums->squares += agreed[i];
    if (count > 0) memcpy(values, agreed + figures, (size_t)count * sizeof *agreed);
    return STATUS_OK;
}

/* LAMB's norms are of whole tensors: with zero, each rank has the figures of its slice. */
static Status lamb_norms(TrainStep *step, const OptimVectors *flat, OptimStep *update, Error *error)
{
    const Config *config = step->config;
    optim_lamb_squares(&config->optim, step->table, step->pool, flat, step->vectors.begin, step->vectors.end, update,
                       step->lamb_squares);
    update->lamb_squares = step->lamb_squares;
    if (config->zero == 0 || !step->reducer) return STATUS_OK;
    return reducer_agree(step->reducer, step->lamb_squares, 2 * step->table->count, error);
}

Status train_step_update(TrainStep *step, double lr, double lr_body, double norm, Error *error)
{
    const Config *config = step->config;
    const RunVectors *vectors = &step->vectors;
    const int64_t updates = step->number + 1;
    const double start = clock_seconds();
    OptimConfig optim = config->optim;
    if (vectors->ema && config->model_ema_warmup) {
        double ramp = (1.0 + (double)updates) / (10.0 + (double)updates);
        if (ramp < optim.ema_decay) optim.ema_decay = ramp;
    }
    const OptimVectors flat = {vectors->weights, train_step_total(step), vectors->moment1, vectors->moment2,
                               vectors->ema};
    const double clip = optim_clip_scale(norm, config->clip_grad);
    OptimStep update = {
        .number = updates, .lr = lr, .lr_body = lr_body, .grad_scale = clip * optim_own_clip(optim.kind, clip * norm)};
    Status status = optim.kind == OPT_LAMB ? lamb_norms(step, &flat, &update, error) : STATUS_OK;
    if (status) return status;
    optim_step(&optim, step->table, step->pool, &flat, vectors->begin, vectors->end, &update);
    charge(step, PHASE_UPDATE);
    if (step->reducer) status = reducer_gather(step->reducer, vectors->weights, error);
    if (status) return status;
    model_set_weights(step->model, vectors->weights);
    timeline_add(step->timeline, TIMELINE_COMPUTE, "update", step->number, start, clock_seconds());
    return STATUS_OK;
}
