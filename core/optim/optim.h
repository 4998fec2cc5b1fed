/* optim.h: from gradients to new weights, on flat vectors.
 *
 * Everything works on a range [begin, end) of the flat vector, so that a sharded update (zero: 1) is the same code on
 * a slice. One pass reads gradient, weight, moments and EMA once and writes them once.
 *
 * AdamW: Loshchilov, Hutter (ICLR 2019), as torch.optim.AdamW. SGD: torch.optim.SGD with momentum 0.9, Nesterov when
 * asked (timm's `opt: sgd`), coupled decay. LAMB: You et al. (ICLR 2020) as timm.optim.Lamb, which timm ships since
 * 0.5, and NVIDIA's FusedLAMB have it: the step of a tensor that decays is scaled by |weights| / |step|, its decay being
 * part of that step; other tensors make Adam's. EMA: timm's ModelEma over all tensors, frozen ones included.
 *
 *     OptimStep step = {.number = 1, .lr = lr, .lr_body = lr, .grad_scale = optim_clip_scale(...)};
 *     optim_step(&config, table, pool, &vectors, begin, end, &step);
 *
 * LAMB takes two calls, between which the figures are summed over whoever has the other slices:
 *
 *     optim_lamb_squares(&config, table, pool, &vectors, begin, end, &step, squares);
 *     step.lamb_squares = squares;
 *     optim_step(&config, table, pool, &vectors, begin, end, &step);
 */
#ifndef CORE_OPTIM_OPTIM_H
#define CORE_OPTIM_OPTIM_H

#include "core/model/params.h"
#include "core/base/thread_pool.h"

/* timm: adamw, sgd (Nesterov), momentum, lamb */
typedef enum OptKind { OPT_ADAMW, OPT_SGD, OPT_MOMENTUM, OPT_LAMB } OptKind;

typedef struct OptimConfig {
    OptKind kind;
    double weight_decay;
    double beta1, beta2, eps; /* AdamW: 0.9, 0.999, 1e-8; timm's LAMB: 0.9, 0.999, 1e-6 */
    double momentum;          /* SGD: 0.9 */
    double ema_decay;         /* 0: no EMA */
} OptimConfig;

typedef struct OptimVectors { /* flat vectors; the caller's */
    float *weights;
    const float *grads;
    float *moment1; /* (end - begin) of the range: Adam's m, or SGD's momentum buffer; element i at [i - begin] */
    float *moment2; /* likewise Adam's v; NULL for SGD */
    float *ema;     /* NULL when ema_decay is 0 */
} OptimVectors;

typedef struct OptimStep {
    int64_t number;             /* 1 for the first update */
    double lr;                  /* of the head */
    double lr_body;             /* of everything else: the same, but when a trained model gets another head */
    double grad_scale;          /* of all gradients: clipping */
    const double *lamb_squares; /* (table->count, 2) of optim_lamb_squares; others: NULL */
} OptimStep;

/* One update of the range. Frozen tensors stay as they are. */
void optim_step(const OptimConfig *config, const ParamTable *table, Pool *pool, const OptimVectors *vectors,
                int64_t begin, int64_t end, const OptimStep *step);

bool optim_has_moment2(OptKind kind);

/* LAMB's first half: updates the moments of the range, and gives for each tensor the sums of squares of its weights and
 * of its step, over the range's part of it: squares (table->count, 2), in double, in a fixed order at any thread count. */
void optim_lamb_squares(const OptimConfig *config, const ParamTable *table, Pool *pool, const OptimVectors *vectors,
                        int64_t begin, int64_t end, const OptimStep *step, double *squares);

/* Sum of squares over a range, in double, in a fixed order at any thread count. */
double optim_sum_squares(Pool *pool, const float *vector, int64_t begin, int64_t end);
/* The same without frozen tensors: of the gradient that an update will follow. */
double optim_grad_squares(const ParamTable *table, Pool *pool, const float *grads, int64_t begin, int64_t end);

/* torch.nn.utils.clip_grad_norm_: min(1, max_norm / (norm + 1e-6)); max_norm <= 0 means no clipping. */
double optim_clip_scale(double norm, double max_norm);

/* What an optimizer clips by itself, of gradients whose norm is `norm`: timm's LAMB divides by max(1, norm). */
double optim_own_clip(OptKind kind, double norm);

#endif
