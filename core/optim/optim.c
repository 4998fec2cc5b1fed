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

/* ---- walking the table */

typedef struct Job {
    const OptimConfig *config;
    const ParamTable *table;
    OptimVectors vectors;
    int64_t begin, end;
    float keep; /* of tensors that decay: 1 - lr * weight_decay */
    Adam adam;
    Sgd sgd;
} Job;

static void update_chunk(const Job *job, const Param *param, int64_t at, int64_t count)
{
    const OptimVectors *x = &job->vectors;
    const int64_t own = at - job->begin; /* where the moments are: only the range has any */
    if (param->trainable && job->config->kind == OPT_ADAMW) {
        Adam adam = job->adam;
        adam.keep = param->decay ? job->keep : 1;
        update_adam(adam, count, x->weights + at, x->grads + at, x->moment1 + own, x->moment2 + own);
    } else if (param->trainable) {
        Sgd sgd = job->sgd;
        if (!param->decay) sgd.decay = 0;
        update_sgd(sgd, count, x->weights + at, x->grads + at, x->moment1 + own);
    }
    if (job->config->ema_decay > 0) update_ema(job->config->ema_decay, count, x->ema + at, x->weights + at);
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

void optim_step(const OptimConfig *config, const ParamTable *table, Pool *pool, const OptimVectors *vectors,
                int64_t begin, int64_t end, int64_t step, double lr, double grad_scale)
{
    bool nesterov = config->kind == OPT_SGD;
    Job job = {
        .config = config,
        .table = table,
        .vectors = *vectors,
        .begin = begin,
        .end = end,
        .keep = (float)(1 - lr * config->weight_decay),
        .adam = {.beta1 = (float)config->beta1,
                 .rest1 = (float)(1 - config->beta1),
                 .beta2 = (float)config->beta2,
                 .rest2 = (float)(1 - config->beta2),
                 .step_size = (float)(lr / (1 - pow(config->beta1, (double)step))),
                 .root = (float)sqrt(1 - pow(config->beta2, (double)step)),
                 .eps = (float)config->eps,
                 .grad_scale = (float)grad_scale},
        .sgd = {.lr = (float)lr,
                .momentum = (float)config->momentum,
                .decay = (float)config->weight_decay,
                .grad_scale = (float)grad_scale,
                .direct = nesterov ? 1 : 0,
                .through = nesterov ? (float)config->momentum : 1},
    };
    pool_run(pool, tiles(end - begin), update_tile, &job);
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

double optim_clip_scale(double norm, double max_norm)
{
    return max_norm > 0 ? fmin(1, max_norm / (norm + 1e-6)) : 1;
}
