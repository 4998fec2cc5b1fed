#include "core/model/step_context.h"

#include <stdio.h>
#include <string.h>
#include "core/base/numeric.h"

/* ---- finding parameters */

static const Param *find(const ParamLookup *lookup, const char *name)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", lookup->prefix, name);
    return params_find(lookup->table, full);
}

int64_t find_offset(ParamLookup *lookup, const char *name)
{
    const Param *param = find(lookup, name);
    if (param) return param->offset;
    if (!lookup->missing) lookup->missing = name;
    return 0;
}

static int64_t find_member(ParamLookup *lookup, const char *name, const char *member, bool optional)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", name, member);
    const Param *param = find(lookup, full);
    if (param) return param->offset;
    if (!optional && !lookup->missing) lookup->missing = name;
    return -1;
}

Linear find_linear(ParamLookup *lookup, const char *name, int in, int out)
{
    return linear_of(in, out, find_member(lookup, name, "weight", false), find_member(lookup, name, "bias", true));
}

Norm find_norm(ParamLookup *lookup, const char *name, int width, double eps)
{
    return (Norm){.width = width,
                  .eps = (float)eps,
                  .weight = find_member(lookup, name, "weight", false),
                  .bias = find_member(lookup, name, "bias", false)};
}

/* ---- regions */

typedef struct TimedWork {
    Profile *profile;
    Work work;
} TimedWork;

static void timed_task(void *context, int64_t task, int thread)
{
    const TimedWork *timed = context;
    profile_charge(timed->profile, thread, PHASE_IDLE);
    timed->work.task(timed->work.context, task, thread);
    profile_charge(timed->profile, thread, timed->work.phase);
}

void step_run_works(const StepContext *step, const Work *works, int count)
{
    TimedWork timed[POOL_WORKS];
    PoolWork run[POOL_WORKS];
    for (int i = 0; i < count; i++) {
        timed[i] = (TimedWork){step->profile, works[i]};
        run[i] = step->profile ? (PoolWork){works[i].tasks, timed_task, &timed[i]}
                               : (PoolWork){works[i].tasks, works[i].task, works[i].context};
    }
    step_charge(step, 0, PHASE_OTHER);
    pool_run_works(step->pool, run, count);
    step_charge(step, 0, PHASE_IDLE);
}

void step_run(const StepContext *step, int64_t tasks, PoolTask task, void *context, Phase phase)
{
    Work work = {tasks, task, context, phase};
    step_run_works(step, &work, 1);
}

/* ---- linear layers */

Linear linear_of(int in, int out, int64_t weight, int64_t bias)
{
    return (Linear){.in = in,
                    .out = out,
                    .weight = weight,
                    .bias = bias,
                    .forward = {.n = out, .k = in},
                    .backward = {.n = in, .k = out}};
}

void linear_carve(Linear *linear, Arena *arena, bool backward)
{
    size_t forth = packed_floats(linear->out, linear->in), back = packed_floats(linear->in, linear->out);
    linear->forward.at = arena_floats(arena, forth);
    if (backward) linear->backward.at = arena_floats(arena, back);
}

enum { PACK_COLS = 96 };

typedef struct PackJob {
    const StepContext *step;
    Linear *const *linears;
    bool backward;
} PackJob;

static int pack_tasks(const PackJob *job, const Linear *linear)
{
    if (job->backward && !linear->backward.at) return 0;
    int cols = job->backward ? linear->in : linear->out;
    return (cols + PACK_COLS - 1) / PACK_COLS;
}

static void pack_task(void *context, int64_t task, int thread)
{
    (void)thread;
    const PackJob *job = context;
    Linear *const *at = job->linears;
    for (; task >= pack_tasks(job, *at); at++) task -= pack_tasks(job, *at);
    const Linear *linear = *at;
    const PackedMatrix *to = job->backward ? &linear->backward : &linear->forward;
    int first = (int)task * PACK_COLS, left = to->n - first;
    const float *weight = job->step->weights + linear->weight;
    packed_fill(job->step->kernels, to, job->backward ? GEMM_NN : GEMM_NT, first, left < PACK_COLS ? left : PACK_COLS,
                weight + (job->backward ? first : (int64_t)first * linear->in), linear->in);
}

void linears_pack(const StepContext *step, Linear *const *linears, int count, bool backward)
{
    PackJob job = {step, linears, backward};
    int64_t tasks = 0;
    for (int i = 0; i < count; i++) tasks += pack_tasks(&job, linears[i]);
    if (tasks > 0) step_run(step, tasks, pack_task, &job, PHASE_LINEARS);
}

void linear_forward(const StepContext *step, const Linear *linear, int rows, const float *x, int ldx, float *y, int ldy)
{
    packed_gemm(step->kernels, rows, &linear->forward, 0, linear->out, x, ldx, 0.0f, y, ldy);
}

void linear_backward(const StepContext *step, const Linear *linear, int rows, const float *dy, int lddy, float beta,
                     float *dx, int lddx)
{
    if (linear->backward.at)
        packed_gemm(step->kernels, rows, &linear->backward, 0, linear->in, dy, lddy, beta, dx, lddx);
    else
        step->kernels->gemm(GEMM_NN, rows, linear->in, linear->out, dy, lddy, step->weights + linear->weight,
                            linear->in, beta, dx, lddx);
}

void linear_forward_stored(const StepContext *step, const Linear *linear, int rows, Stored x, int64_t at, int ldx,
                           float *y, int ldy)
{
    Stored from = stored_at(x, at);
    if (from.half)
        step->kernels->bf16->packed_stored(rows, &linear->forward, 0, linear->out, from.at, ldx, 0.0f, y, ldy);
    else
        linear_forward(step, linear, rows, from.at, ldx, y, ldy);
}

void linear_backward_stored(const StepContext *step, const Linear *linear, int rows, Stored dy, int64_t at, int lddy,
                            float beta, float *dx, int lddx)
{
    Stored from = stored_at(dy, at);
    if (from.half)
        step->kernels->bf16->packed_stored(rows, &linear->backward, 0, linear->in, from.at, lddy, beta, dx, lddx);
    else
        linear_backward(step, linear, rows, from.at, lddy, beta, dx, lddx);
}

/* ---- gradients of weights
 *
 * A task is a tile of one gradient over a chunk of the rows. Large gradients have tiles enough and one chunk; small
 * ones (the token layers') are cut along the rows, and their chunks are summed afterwards. */

enum { GRAD_ROWS = 192, GRAD_COLS = 384, GRAD_TASKS = 16, GRAD_MIN_ROWS = 1024 };

static int ceil_div(int64_t a, int64_t b)
{
    return (int)((a + b - 1) / b);
}

/* `count` parts of n of equal size, but for rounding up to whole micro-kernels. */
static int part_size(int n, int count, int unit)
{
    return ceil_div(ceil_div(n, count), unit) * unit;
}

/* Tiles of one gradient are equally large and, but for small ones, of even number: threads finish together. */
static GradPlan plan_grad(int64_t rows, const Linear *linear)
{
    GradPlan plan = {.tile_rows = linear->out <= GRAD_ROWS ? 1 : 2 * ceil_div(linear->out, 2 * GRAD_ROWS),
                     .tile_cols = ceil_div(linear->in, GRAD_COLS)};
    plan.rows = part_size(linear->out, plan.tile_rows, 4);
    plan.cols = part_size(linear->in, plan.tile_cols, 32);
    plan.tile_rows = ceil_div(linear->out, plan.rows);
    plan.tile_cols = ceil_div(linear->in, plan.cols);
    int64_t tiles = (int64_t)plan.tile_rows * plan.tile_cols;
    int64_t wanted = tiles >= 4 ? 1 : GRAD_TASKS / tiles, most = rows / GRAD_MIN_ROWS;
    plan.chunks = wanted < most ? wanted : most;
    if (plan.chunks < 1) plan.chunks = 1;
    plan.chunk_rows = ceil_div(rows, plan.chunks);
    plan.tasks = tiles * plan.chunks;
    return plan;
}

size_t weight_grads_partials(int64_t rows, const Linear *linear)
{
    GradPlan plan = plan_grad(rows, linear);
    return plan.chunks > 1 ? (size_t)plan.chunks * floats_padded((size_t)linear->out * (size_t)linear->in) : 0;
}

static void grad_task(void *context, int64_t task, int thread)
{
    (void)thread;
    const GradJob *job = context;
    int item = 0;
    while (task >= job->plans[item].tasks) task -= job->plans[item++].tasks;
    const GradPlan *plan = &job->plans[item];
    const WeightGrad *grad = &job->items[item];
    int out = grad->linear->out, in = grad->linear->in;
    int64_t chunk = task % plan->chunks, tile = task / plan->chunks, first = chunk * plan->chunk_rows;
    int i = (int)(tile / plan->tile_cols) * plan->rows, j = (int)(tile % plan->tile_cols) * plan->cols;
    int m = (int)min_i64(plan->rows, out - i), n = (int)min_i64(plan->cols, in - j);
    int k = (int)min_i64(plan->chunk_rows, grad->rows - first);
    float *to = grad->to ? grad->to : job->step->grads + grad->linear->weight, beta = job->add ? 1.0f : 0.0f;
    if (plan->chunks > 1) {
        to = job->partials + plan->partial + chunk * (int64_t)floats_padded((size_t)out * (size_t)in);
        beta = 0.0f;
    }
    Stored dy = stored_at(grad->dy, first * grad->lddy + i), x = stored_at(grad->x, first * grad->ldx + j);
    to += (int64_t)i * in + j;
    if (dy.half)
        job->step->kernels->bf16->gradient_stored(m, n, k, dy.at, grad->lddy, x.at, grad->ldx, beta, to, in);
    else
        job->step->kernels->gemm(GEMM_TN, m, n, k, dy.at, grad->lddy, x.at, grad->ldx, beta, to, in);
}

Work weight_grads_work(GradJob *job, const StepContext *step, const WeightGrad *items, int count, bool add,
                       float *partials)
{
    Work work = {.task = grad_task, .context = job, .phase = PHASE_LINEARS};
    int64_t partial = 0;
    *job = (GradJob){.step = step, .items = items, .count = count, .add = add, .partials = partials};
    for (int i = 0; i < count; i++) {
        job->plans[i] = plan_grad(items[i].rows, items[i].linear);
        job->plans[i].partial = partial;
        partial += (int64_t)weight_grads_partials(items[i].rows, items[i].linear);
        work.tasks += job->plans[i].tasks;
    }
    return work;
}

void weight_grads_end(const GradJob *job)
{
    for (int i = 0; i < job->count; i++) {
        const GradPlan *plan = &job->plans[i];
        const WeightGrad *item = &job->items[i];
        if (plan->chunks == 1) continue;
        int64_t size = (int64_t)item->linear->out * item->linear->in;
        PartialSum sum = {.count = size};
        partial_sums(job->step, job->partials + plan->partial, plan->chunks, (int64_t)floats_padded((size_t)size), &sum,
                     1, job->add, item->to ? item->to : job->step->grads + item->linear->weight);
    }
}

void weight_grads(const StepContext *step, const WeightGrad *items, int count, bool add, float *partials)
{
    GradJob job;
    Work work = weight_grads_work(&job, step, items, count, add, partials);
    step_run_works(step, &work, 1);
    weight_grads_end(&job);
}

/* ---- partial sums */

enum { SUM_CHUNK = 2048 };

static void sum_task(void *context, int64_t task, int thread)
{
    (void)thread;
    const PartialSumJob *job = context;
    const PartialSum *sum = job->sums;
    while (task >= ceil_div(sum->count, SUM_CHUNK)) task -= ceil_div((sum++)->count, SUM_CHUNK);
    int64_t first = task * SUM_CHUNK;
    int n = (int)min_i64(SUM_CHUNK, sum->count - first);
    float *to = job->to + sum->grad + first;
    if (!job->add) memset(to, 0, (size_t)n * sizeof(float));
    job->step->kernels->column_sums((int)job->slots, n, job->partials + sum->at + first, (int)job->stride, to);
}

Work partial_sums_work(PartialSumJob *job)
{
    Work work = {.task = sum_task, .context = job, .phase = PHASE_LINEARS};
    for (int i = 0; i < job->count; i++) work.tasks += ceil_div(job->sums[i].count, SUM_CHUNK);
    return work;
}

void partial_sums(const StepContext *step, const float *partials, int64_t slots, int64_t stride, const PartialSum *sums,
                  int count, bool add, float *to)
{
    PartialSumJob job = {step, partials, slots, stride, sums, count, add, to};
    Work work = partial_sums_work(&job);
    step_run_works(step, &work, 1);
}

/* ---- randomness */

uint64_t site_key(const StepContext *step, int image, int layer, int site)
{
    Rng rng = rng_make(step->seed, RNG_DROPOUT, step->epoch, step->samples[image]);
    return rng_split(rng, (uint64_t)(layer * SITES_PER_LAYER + site)).key;
}
