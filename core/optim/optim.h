/* optim.h: from gradients to new weights, on flat vectors.
 *
 * Everything works on a range [begin, end) of the flat vector, so that a sharded update (zero: 1) is the same code on
 * a slice. One pass reads gradient, weight, moments and EMA once and writes them once.
 *
 * AdamW: Loshchilov, Hutter (ICLR 2019), as torch.optim.AdamW. SGD: torch.optim.SGD with momentum 0.9, Nesterov when
 * asked (timm's `opt: sgd`), coupled decay. EMA: timm's ModelEma over all tensors, frozen ones included.
 */
#ifndef CORE_OPTIM_OPTIM_H
#define CORE_OPTIM_OPTIM_H

#include "core/model/params.h"
#include "core/base/thread_pool.h"

typedef enum OptKind { OPT_ADAMW, OPT_SGD, OPT_MOMENTUM } OptKind; /* timm: adamw, sgd (Nesterov), momentum */

typedef struct OptimConfig {
    OptKind kind;
    double weight_decay;
    double beta1, beta2, eps; /* AdamW: 0.9, 0.999, 1e-8 */
    double momentum;          /* SGD: 0.9 */
    double ema_decay;         /* 0: no EMA */
} OptimConfig;

typedef struct OptimVectors { /* flat vectors; the caller's */
    float *weights;
    const float *grads;
    float *moment1; /* (end - begin) of the range: AdamW's m, or SGD's momentum buffer; element i at [i - begin] */
    float *moment2; /* likewise AdamW's v; NULL for SGD */
    float *ema;     /* NULL when ema_decay is 0 */
} OptimVectors;

/* Update number `step` (1 for the first) of the range, with gradients scaled by grad_scale (clipping). */
void optim_step(const OptimConfig *config, const ParamTable *table, Pool *pool, const OptimVectors *vectors,
                int64_t begin, int64_t end, int64_t step, double lr, double grad_scale);

/* Sum of squares over a range, in double, in a fixed order at any thread count. */
double optim_sum_squares(Pool *pool, const float *vector, int64_t begin, int64_t end);

/* torch.nn.utils.clip_grad_norm_: min(1, max_norm / (norm + 1e-6)); max_norm <= 0 means no clipping. */
double optim_clip_scale(double norm, double max_norm);

#endif
