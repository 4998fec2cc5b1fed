#include "core/optim/optim.h"

#include <math.h>
#include <stddef.h>

enum {
    TILE = 1 << 16, /* floats of one task */
    CHUNK = 1024,   /* floats of all five vectors that stay in the first cache from the update to the EMA */
    LINE = 16,      /* a fixed inner count lets the compiler use vector instructions and ask nothing */
};

/* ---- the updates of one stretch: all vectors (count). The remainder loops give the same bits as the vector loops,
 * since nothing is contracted or reordered. */

typedef struct Adam {
    float beta1, rest1, beta2, rest2; /* rest = 1 - beta */
    float step_size;                  /* lr / (1 - beta1^t) */
    float root;                       /* sqrt(1 - beta2^t) */
    float eps;
    float keep; /* 1 - lr * weight_decay */
    float grad_scale;
} Adam;

static inline void adam_run(Adam a, int64_t count, float *restrict w, const float *restrict grad, float *restrict m,
                            float *restrict v)
{
    for (int64_t i = 0; i < count; i++) {
        float g = grad[i] * a.grad_scale;
        m[i] = a.beta1 * m[i] + a.rest1 * g;
        v[i] = a.beta2 * v[i] + a.rest2 * g * g;
        w[i] = w[i] * a.keep - a.step_size * (m[i] / (sqrtf(v[i]) / a.root + a.eps));
    }
}

static void update_adam(Adam a, int64_t count, float *restrict w, const float *restrict g, float *restrict m,
                        float *restrict v)
{
    int64_t i = 0;
    for (; i + LINE <= count; i += LINE) adam_run(a, LINE, w + i, g + i, m + i, v + i);
    adam_run(a, count - i, w + i, g + i, m + i, v + i);
}

typedef struct Sgd {
    float lr, momentum, decay, grad_scale;
    float direct;  /* how much of the gradient itself enters: 1 for Nesterov, else 0 */
    float through; /* how much of the momentum buffer: `momentum` for Nesterov, else 1 */
} Sgd;

static inline void sgd_run(Sgd s, int64_t count, float *restrict w, const float *restrict grad, float *restrict buffer)
{
    for (int64_t i = 0; i < count; i++) {
        float g = grad[i] * s.grad_scale + s.decay * w[i];
        buffer[i] = s.momentum * buffer[i] + g;
        w[i] -= s.lr * (s.direct * g + s.through * buffer[i]);
    }
}

static void update_sgd(Sgd s, int64_t count, float *restrict w, const float *restrict g, float *restrict buffer)
{
    int64_t i = 0;
    for (; i + LINE <= count; i += LINE) sgd_run(s, LINE, w + i, g + i, buffer + i);
    sgd_run(s, count - i, w + i, g + i, buffer + i);
}

static inline void ema_run(float keep, float rest, int64_t count, float *restrict ema, const float *restrict w)
{
    for (int64_t i = 0; i < count; i++) ema[i] = keep * ema[i] + rest * w[i];
}

static void update_ema(double decay, int64_t count, float *restrict ema, const float *restrict w)
{
    float keep = (float)decay, rest = (float)(1 - decay);
    int64_t i = 0;
    for (; i + LINE <= count; i += LINE) ema_run(keep, rest, LINE, ema + i, w + i);
    ema_run(keep, rest, count - i, ema + i, w + i);
}

/* LAMB before its trust ratio. The second pass computes the direction again rather than keep it. */
typedef struct Lamb {
    float beta1, rest1, beta2, rest2;
    float correct; /* 1 - beta1^t */
    float root;    /* sqrt(1 - beta2^t) */
    float eps, decay, grad_scale;
} Lamb;

static inline float lamb_direction(const Lamb *l, float w, float m, float v)
{
    return m / l->correct / (sqrtf(v) / l->root + l->eps) + l->decay * w;
}

static inline void lamb_moments_run(Lamb l, int64_t count, const float *restrict grad, float *restrict m,
                                    float *restrict v)
{
    for (int64_t i = 0; i < count; i++) {
        float g = grad[i] * l.grad_scale;
        m[i] = l.beta1 * m[i] + l.rest1 * g;
        v[i] = l.beta2 * v[i] + l.rest2 * g * g;
    }
}

static inline void lamb_run(Lamb l, float step_size, int64_t count, float *restrict w, const float *restrict m,
                            const float *restrict v)
{
    for (int64_t i = 0; i < count; i++) w[i] -= step_size * lamb_direction(&l, w[i], m[i], v[i]);
}

static void update_lamb(Lamb l, float step_size, int64_t count, float *restrict w, const float *restrict m,
                        const float *restrict v)
{
    int64_t i = 0;
    for (; i + LINE <= count; i += LINE) lamb_run(l, step_size, LINE, w + i, m + i, v + i);
    lamb_run(l, step_size, count - i, w + i, m + i, v + i);
}

/* ---- walking the table */

typedef struct Job {
    const OptimConfig *config;
    const ParamTable *table;
    OptimVectors vectors;
    int64_t begin, end;
    const OptimStep *step;
    double correct; /* 1 - beta1^t */
    Adam adam;      /* what all tensors share: their rate and decay come in update_chunk */
    Sgd sgd;
    Lamb lamb;
    double *squares; /* optim_lamb_squares */
} Job;

bool optim_has_moment2(OptKind kind)
{
    return kind == OPT_ADAMW || kind == OPT_LAMB;
}

/* |weights| / |step|, 1 where either is 0; tensors that do not decay are not adapted. */
static double trust_ratio(const Job *job, const Param *param)
{
    const double *squares = job->step->lamb_squares + 2 * (param - job->table->items);
    bool adapted = param->decay && job->config->weight_decay > 0 && squares[0] > 0 && squares[1] > 0;
    return adapted ? sqrt(squares[0]) / sqrt(squares[1]) : 1;
}

static Lamb lamb_of(const Job *job, const Param *param)
{
    Lamb lamb = job->lamb;
    if (!param->decay) lamb.decay = 0;
    return lamb;
}

static void update_chunk(const Job *job, const Param *param, int64_t at, int64_t count)
{
    const OptimVectors *x = &job->vectors;
    const OptimConfig *config = job->config;
    const int64_t own = at - job->begin; /* where the moments are: only the range has any */
    const double lr = param->head ? job->step->lr : job->step->lr_body;
    const bool trained = param->trainable && !param->frozen;
    if (trained && config->kind == OPT_ADAMW) {
        Adam adam = job->adam;
        adam.step_size = (float)(lr / job->correct);
        adam.keep = param->decay ? (float)(1 - lr * config->weight_decay) : 1;
        update_adam(adam, count, x->weights + at, x->grads + at, x->moment1 + own, x->moment2 + own);
    } else if (trained && config->kind == OPT_LAMB) {
        update_lamb(lamb_of(job, param), (float)(lr * trust_ratio(job, param)), count, x->weights + at,
                    x->moment1 + own, x->moment2 + own);
    } else if (trained) {
        Sgd sgd = job->sgd;
        sgd.lr = (float)lr;
        if (!param->decay) sgd.decay = 0;
        update_sgd(sgd, count, x->weights + at, x->grads + at, x->moment1 + own);
    }
    if (config->ema_decay > 0) update_ema(config->ema_decay, count, x->ema + at, x->weights + at);
}

/* The first tensor that ends behind `at`. */
static int first_param(const ParamTable *table, int64_t at)
{
    int low = 0, high = table->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (table->items[middle].offset + table->items[middle].numel <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void update_tile(void *context, int64_t task, int thread)
{
    (void)thread;
    const Job *job = context;
    int64_t begin = job->begin + task * TILE, end = least(begin + TILE, job->end);
    for (int i = first_param(job->table, begin); i < job->table->count; i++) {
        const Param *param = &job->table->items[i];
        if (param->offset >= end) return;
        int64_t last = least(param->offset + param->numel, end);
        for (int64_t at = most(param->offset, begin); at < last; at += CHUNK)
            update_chunk(job, param, at, least(CHUNK, last - at));
    }
}

static int64_t tiles(int64_t count)
{
    return (count + TILE - 1) / TILE;
}

static Job make_job(const OptimConfig *config, const ParamTable *table, const OptimVectors *vectors, int64_t begin,
                    int64_t end, const OptimStep *step)
{
    const bool nesterov = config->kind == OPT_SGD;
    const double t = (double)step->number;
    Job job = {
        .config = config,
        .table = table,
        .vectors = *vectors,
        .begin = begin,
        .end = end,
        .step = step,
        .correct = 1 - pow(config->beta1, t),
        .adam = {.beta1 = (float)config->beta1,
                 .rest1 = (float)(1 - config->beta1),
                 .beta2 = (float)config->beta2,
                 .rest2 = (float)(1 - config->beta2),
                 .root = (float)sqrt(1 - pow(config->beta2, t)),
                 .eps = (float)config->eps,
                 .grad_scale = (float)step->grad_scale},
        .sgd = {.momentum = (float)config->momentum,
                .decay = (float)config->weight_decay,
                .grad_scale = (float)step->grad_scale,
                .direct = nesterov ? 1 : 0,
                .through = nesterov ? (float)config->momentum : 1},
    };
    job.lamb = (Lamb){job.adam.beta1,     job.adam.rest1, job.adam.beta2, job.adam.rest2,
                      (float)job.correct, job.adam.root,  job.adam.eps,   (float)config->weight_decay,
                      job.adam.grad_scale};
    return job;
}

void optim_step(const OptimConfig *config, const ParamTable *table, Pool *pool, const OptimVectors *vectors,
                int64_t begin, int64_t end, const OptimStep *step)
{
    Job job = make_job(config, table, vectors, begin, end, step);
    pool_run(pool, tiles(end - begin), update_tile, &job);
}

/* A task is a tensor, so that its sums are added in one order whatever the threads. */
static void lamb_squares_task(void *context, int64_t task, int thread)
{
    (void)thread;
    const Job *job = context;
    const Param *param = &job->table->items[task];
    const OptimVectors *x = &job->vectors;
    const Lamb lamb = lamb_of(job, param);
    const int64_t begin = most(param->offset, job->begin), end = least(param->offset + param->numel, job->end);
    double weights[LINE] = {0}, steps[LINE] = {0}, *squares = job->squares + 2 * task;
    squares[0] = squares[1] = 0;
    if (!param->trainable || param->frozen) return;
    for (int64_t at = begin; at < end; at += LINE) {
        const int64_t own = at - job->begin;
        const int count = (int)least(LINE, end - at);
        lamb_moments_run(lamb, count, x->grads + at, x->moment1 + own, x->moment2 + own);
        for (int k = 0; k < count; k++) {
            double w = x->weights[at + k];
            double u = lamb_direction(&lamb, x->weights[at + k], x->moment1[own + k], x->moment2[own + k]);
            weights[k] += w * w;
            steps[k] += u * u;
        }
    }
    for (int k = 0; k < LINE; k++) {
        squares[0] += weights[k];
        squares[1] += steps[k];
    }
}

void optim_lamb_squares(const OptimConfig *config, const ParamTable *table, Pool *pool, const OptimVectors *vectors,
                        int64_t begin, int64_t end, const OptimStep *step, double *squares)
{
    Job job = make_job(config, table, vectors, begin, end, step);
    job.squares = squares;
    pool_run(pool, table->count, lamb_squares_task, &job);
}

/* ---- the norm */

enum { PARTIALS = 512 };

typedef struct Sum {
    const float *vector;
    int64_t begin, end;
    double partial[PARTIALS];
} Sum;

static void sum_tile(void *context, int64_t task, int thread)
{
    (void)thread;
    Sum *sum = context;
    int64_t begin = sum->begin + task * TILE, end = least(begin + TILE, sum->end), i = begin;
    const float *x = sum->vector;
    double lanes[LINE] = {0}, total = 0;
    for (; i + LINE <= end; i += LINE)
        for (int k = 0; k < LINE; k++) lanes[k] += (double)x[i + k] * x[i + k];
    for (; i < end; i++) total += (double)x[i] * x[i];
    for (int k = 0; k < LINE; k++) total += lanes[k];
    sum->partial[task] = total;
}

double optim_sum_squares(Pool *pool, const float *vector, int64_t begin, int64_t end)
{
    double total = 0;
    for (; begin < end; begin += (int64_t)PARTIALS * TILE) {
        Sum sum = {.vector = vector, .begin = begin, .end = least(begin + (int64_t)PARTIALS * TILE, end)};
        int64_t count = tiles(sum.end - sum.begin);
        pool_run(pool, count, sum_tile, &sum);
        for (int64_t i = 0; i < count; i++) total += sum.partial[i];
    }
    return total;
}

double optim_grad_squares(const ParamTable *table, Pool *pool, const float *grads, int64_t begin, int64_t end)
{
    double total = 0;
    int64_t from = begin;
    for (int i = 0; i < table->count; i++) {
        const Param *param = &table->items[i];
        if (!param->frozen || param->offset >= end || param->offset + param->numel <= begin) continue;
        total += optim_sum_squares(pool, grads, from, most(from, param->offset));
        from = most(from, param->offset + param->numel);
    }
    return total + optim_sum_squares(pool, grads, from, most(from, end));
}

double optim_clip_scale(double norm, double max_norm)
{
    return max_norm > 0 ? fmin(1, max_norm / (norm + 1e-6)) : 1;
}

double optim_own_clip(OptKind kind, double norm)
{
    return kind == OPT_LAMB ? 1 / fmax(1, norm) : 1;
}
