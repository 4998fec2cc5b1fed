#include "core/step.h"

#include <stdio.h>
#include <string.h>

/* ---- finding parameters */

static const Param *find(const Finder *finder, const char *name)
{
    char full[160];
    snprintf(full, sizeof full, "%s%s", finder->prefix, name);
    return params_find(finder->table, full);
}

bool has_param(const Finder *finder, const char *name)
{
    return find(finder, name) != NULL;
}

int64_t find_offset(Finder *finder, const char *name)
{
    const Param *param = find(finder, name);
    if (param) return param->offset;
    if (!finder->missing) finder->missing = name;
    return 0;
}

static int64_t find_member(Finder *finder, const char *name, const char *member, bool optional)
{
    char full[96];
    snprintf(full, sizeof full, "%s.%s", name, member);
    const Param *param = find(finder, full);
    if (param) return param->offset;
    if (!optional && !finder->missing) finder->missing = name;
    return -1;
}

Linear find_linear(Finder *finder, const char *name, int in, int out)
{
    return (Linear){.in = in,
                    .out = out,
                    .ld = out,
                    .weight = find_member(finder, name, "weight", false),
                    .bias = find_member(finder, name, "bias", true)};
}

Norm find_norm(Finder *finder, const char *name, int width, double eps)
{
    return (Norm){.width = width,
                  .eps = (float)eps,
                  .weight = find_member(finder, name, "weight", false),
                  .bias = find_member(finder, name, "bias", false)};
}

/* ---- regions */

typedef struct TimedJob {
    Profile *profile;
    PoolTask task;
    void *context;
    Part part;
} TimedJob;

static void timed_task(void *context, int64_t task, int thread)
{
    const TimedJob *job = context;
    profile_lap(job->profile, thread, PART_IDLE);
    job->task(job->context, task, thread);
    profile_lap(job->profile, thread, job->part);
}

void step_run(const Step *step, int64_t tasks, PoolTask task, void *context, Part part)
{
    if (!step->profile) {
        pool_run(step->pool, tasks, task, context);
        return;
    }
    TimedJob job = {step->profile, task, context, part};
    profile_lap(step->profile, 0, PART_OTHER);
    pool_run(step->pool, tasks, timed_task, &job);
    profile_lap(step->profile, 0, PART_IDLE);
}

/* ---- linear layers */

void linear_carve(Linear *linear, Arena *arena)
{
    linear->transposed = arena_floats(arena, (size_t)linear->in * (size_t)linear->out);
}

enum { TRANSPOSE_ROWS = 64 };

typedef struct TransposeJob {
    const Step *step;
    Linear *const *linears;
} TransposeJob;

static int transpose_tasks(const Linear *linear)
{
    return (linear->out + TRANSPOSE_ROWS - 1) / TRANSPOSE_ROWS;
}

static void transpose_task(void *context, int64_t task, int thread)
{
    (void)thread;
    const TransposeJob *job = context;
    Linear *const *at = job->linears;
    while (task >= transpose_tasks(*at)) task -= transpose_tasks(*at++);
    const Linear *linear = *at;
    int first = (int)task * TRANSPOSE_ROWS, left = linear->out - first;
    job->step->kernels->transpose(left < TRANSPOSE_ROWS ? left : TRANSPOSE_ROWS, linear->in,
                                  job->step->weights + linear->weight + (int64_t)first * linear->in, linear->in,
                                  linear->transposed + first, linear->ld);
}

void linears_transpose(const Step *step, Linear *const *linears, int count)
{
    TransposeJob job = {step, linears};
    int64_t tasks = 0;
    for (int i = 0; i < count; i++) tasks += transpose_tasks(linears[i]);
    step_run(step, tasks, transpose_task, &job, PART_LINEARS);
}

void linear_forward(const Step *step, const Linear *linear, int rows, const float *x, int ldx, float *y, int ldy)
{
    step->kernels->gemm(GEMM_NN, rows, linear->out, linear->in, x, ldx, linear->transposed, linear->ld, 0.0f, y, ldy);
}

void linear_backward(const Step *step, const Linear *linear, int rows, const float *dy, int lddy, float beta, float *dx,
                     int lddx)
{
    step->kernels->gemm(GEMM_NN, rows, linear->in, linear->out, dy, lddy, step->weights + linear->weight, linear->in,
                        beta, dx, lddx);
}

/* ---- gradients of weights
 *
 * A task is a tile of one gradient over a chunk of the rows. Large gradients have tiles enough and one chunk; small
 * ones (the token layers') are cut along the rows, and their chunks are summed afterwards. */

enum { GRAD_ROWS = 192, GRAD_COLS = 384, GRAD_TASKS = 16, GRAD_MIN_ROWS = 1024, MAX_GRADS = 8 };

typedef struct GradPlan {
    int tile_rows, tile_cols; /* tiles along each side */
    int64_t chunks, chunk_rows;
    int64_t tasks, partial; /* tasks of this item; where its partial sums start */
} GradPlan;

static int ceil_div(int64_t a, int64_t b)
{
    return (int)((a + b - 1) / b);
}

static GradPlan plan_grad(int64_t rows, const Linear *linear)
{
    GradPlan plan = {.tile_rows = ceil_div(linear->out, GRAD_ROWS), .tile_cols = ceil_div(linear->in, GRAD_COLS)};
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
    return plan.chunks > 1 ? (size_t)plan.chunks * floats_aligned((size_t)linear->out * (size_t)linear->in) : 0;
}

typedef struct GradJob {
    const Step *step;
    const WeightGrad *items;
    GradPlan plans[MAX_GRADS];
    int count;
    bool add;
    float *partials;
} GradJob;

static int min_int(int64_t a, int64_t b)
{
    return (int)(a < b ? a : b);
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
    int i = (int)(tile / plan->tile_cols) * GRAD_ROWS, j = (int)(tile % plan->tile_cols) * GRAD_COLS;
    int m = min_int(GRAD_ROWS, out - i), n = min_int(GRAD_COLS, in - j);
    int k = min_int(plan->chunk_rows, grad->rows - first);
    float *to = grad->to ? grad->to : job->step->grads + grad->linear->weight, beta = job->add ? 1.0f : 0.0f;
    if (plan->chunks > 1) {
        to = job->partials + plan->partial + chunk * (int64_t)floats_aligned((size_t)out * (size_t)in);
        beta = 0.0f;
    }
    job->step->kernels->gemm(GEMM_TN, m, n, k, grad->dy + first * grad->lddy + i, grad->lddy,
                             grad->x + first * grad->ldx + j, grad->ldx, beta, to + (int64_t)i * in + j, in);
}

void weight_grads(const Step *step, const WeightGrad *items, int count, bool add, float *partials)
{
    GradJob job = {.step = step, .items = items, .count = count, .add = add, .partials = partials};
    int64_t tasks = 0, partial = 0;
    for (int i = 0; i < count; i++) {
        job.plans[i] = plan_grad(items[i].rows, items[i].linear);
        job.plans[i].partial = partial;
        partial += (int64_t)weight_grads_partials(items[i].rows, items[i].linear);
        tasks += job.plans[i].tasks;
    }
    step_run(step, tasks, grad_task, &job, PART_LINEARS);
    for (int i = 0; i < count; i++) {
        if (job.plans[i].chunks == 1) continue;
        int64_t size = (int64_t)items[i].linear->out * items[i].linear->in;
        PartialSum sum = {.count = size};
        partial_sums(step, partials + job.plans[i].partial, job.plans[i].chunks, (int64_t)floats_aligned((size_t)size),
                     &sum, 1, add, items[i].to ? items[i].to : step->grads + items[i].linear->weight);
    }
}

/* ---- partial sums */

enum { SUM_CHUNK = 2048 };

typedef struct SumJob {
    const Step *step;
    const float *partials;
    int64_t slots, stride;
    const PartialSum *sums;
    bool add;
    float *to;
} SumJob;

static void sum_task(void *context, int64_t task, int thread)
{
    (void)thread;
    const SumJob *job = context;
    const PartialSum *sum = job->sums;
    while (task >= ceil_div(sum->count, SUM_CHUNK)) task -= ceil_div((sum++)->count, SUM_CHUNK);
    int64_t first = task * SUM_CHUNK;
    int n = min_int(SUM_CHUNK, sum->count - first);
    float *to = job->to + sum->grad + first;
    if (!job->add) memset(to, 0, (size_t)n * sizeof(float));
    job->step->kernels->column_sums((int)job->slots, n, job->partials + sum->at + first, (int)job->stride, to);
}

void partial_sums(const Step *step, const float *partials, int64_t slots, int64_t stride, const PartialSum *sums,
                  int count, bool add, float *to)
{
    SumJob job = {step, partials, slots, stride, sums, add, to};
    int64_t tasks = 0;
    for (int i = 0; i < count; i++) tasks += ceil_div(sums[i].count, SUM_CHUNK);
    step_run(step, tasks, sum_task, &job, PART_LINEARS);
}

/* ---- randomness */

uint64_t site_key(const Step *step, int image, int layer, int site)
{
    Rng rng = rng_make(step->seed, RNG_DROPOUT, step->epoch, step->samples[image]);
    return rng_split(rng, (uint64_t)(layer * SITES_PER_LAYER + site)).key;
}
