/* step_context.h: what the layers of a model share while a step runs. Internal to core/.
 *
 * A StepContext names the weights, the gradients and the randomness of the moment, the pool and the scratch memory. Layers
 * are described by offsets into flat vectors, so they hold no pointers that could go stale.
 *
 * The rows of a batch (images x tokens) are worked on in tiles of fixed size. Sums over all rows are made of the tiles'
 * partial sums, added in tile order; so results do not depend on who computed which tile.
 */
#ifndef CORE_MODEL_STEP_CONTEXT_H
#define CORE_MODEL_STEP_CONTEXT_H

#include "core/base/arena.h"
#include "core/kernels/packed.h"
#include "core/model/model.h"
#include "core/model/profile.h"
#include "core/model/stored.h"
#include "core/base/rng.h"

enum {
    /* Rows of a tile: its activations stay in the second-level cache, its products are large enough; batches of 8
     * images of 197 tokens are 8 tiles of nearly equal height. */
    ROW_TILE = 200,
};

typedef struct Linear {
    int in, out;
    int64_t weight, bias; /* offsets in a flat vector; bias is -1 when there is none */
    /* Copies for the products of both directions; belong to the model. */
    PackedMatrix forward;  /* (in, out) */
    PackedMatrix backward; /* (out, in); nowhere when the weight itself is as good */
} Linear;

typedef struct Norm {
    int width;
    float eps;
    int64_t weight, bias;
} Norm;

typedef struct StepContext {
    const Kernels *kernels;
    Pool *pool;
    const float *weights;
    float *grads;
    bool accumulate; /* add to grads instead of overwriting */
    int batch;
    const float *images;
    bool training;
    uint64_t seed, epoch;
    const uint64_t *samples; /* (batch) */
    float *scratch;          /* one piece for each thread */
    size_t scratch_size;     /* floats of a piece */
    Profile *profile;        /* NULL: none */
} StepContext;

static inline float *step_scratch(const StepContext *step, int thread)
{
    return step->scratch + (size_t)thread * step->scratch_size;
}

/* Charges the time since the thread's last call to a phase of the work. For tasks, when they are done with the phase. */
static inline void step_charge(const StepContext *step, int thread, Phase phase)
{
    if (step->profile) profile_charge(step->profile, thread, phase);
}

/* pool_run; what tasks do after their last charge is `phase`. */
void step_run(const StepContext *step, int64_t tasks, PoolTask task, void *context, Phase phase);

typedef struct Work {
    int64_t tasks;
    PoolTask task;
    void *context;
    Phase phase;
} Work;

/* pool_run_works: at most POOL_WORKS of them. */
void step_run_works(const StepContext *step, const Work *works, int count);

static inline int64_t tile_count(int64_t rows)
{
    return (rows + ROW_TILE - 1) / ROW_TILE;
}

/* ---- finding parameters; a name that is not there is a fault of the table */

typedef struct ParamLookup {
    const ParamTable *table;
    const char *prefix;
    const char *missing; /* the first name that was not found */
} ParamLookup;

int64_t find_offset(ParamLookup *lookup, const char *name);
Linear find_linear(ParamLookup *lookup, const char *name, int in, int out); /* bias if there is one */
Norm find_norm(ParamLookup *lookup, const char *name, int width, double eps);

/* ---- linear layers on a tile of rows; serial */

Linear linear_of(int in, int out, int64_t weight, int64_t bias);
void linear_carve(Linear *linear, Arena *arena, bool backward);
/* Fills the copies of each in parallel: those for forward, or those for backward that it has. */
void linears_pack(const StepContext *step, Linear *const *linears, int count, bool backward);
/* y (rows, out) = x (rows, in) W^T, without bias */
void linear_forward(const StepContext *step, const Linear *linear, int rows, const float *x, int ldx, float *y,
                    int ldy);
/* dx (rows, in) = dy (rows, out) W + beta * dx */
void linear_backward(const StepContext *step, const Linear *linear, int rows, const float *dy, int lddy, float beta,
                     float *dx, int lddx);
/* The same of x or dy that may be half, from an element on. */
void linear_forward_stored(const StepContext *step, const Linear *linear, int rows, Stored x, int64_t at, int ldx,
                           float *y, int ldy);
void linear_backward_stored(const StepContext *step, const Linear *linear, int rows, Stored dy, int64_t at, int lddy,
                            float beta, float *dx, int lddx);
static inline const float *linear_bias(const StepContext *step, const Linear *linear)
{
    return linear->bias < 0 ? NULL : step->weights + linear->bias;
}

/* ---- gradients of weights: dW (out, in) = dy^T x over all rows, in parallel; overwrites or adds by `add` */

typedef struct WeightGrad {
    const Linear *linear;
    int64_t rows; /* none: the gradient is 0 */
    Stored dy;    /* (rows, out) */
    int lddy;
    Stored x; /* (rows, in); half as dy is */
    int ldx;
    float *to; /* NULL: the gradient of linear's weight */
} WeightGrad;

enum { MAX_GRADS = 8 };

typedef struct GradPlan {
    int tile_rows, tile_cols;   /* tiles along each side */
    int rows, cols;             /* of a tile */
    int64_t chunks, chunk_rows; /* of the rows that are summed over */
    int64_t tasks, partial;     /* tasks of this item; where its partial sums start */
} GradPlan;

typedef struct GradJob {
    const StepContext *step;
    const WeightGrad *items;
    GradPlan plans[MAX_GRADS];
    int count;
    bool add;
    float *partials;
} GradJob;

void weight_grads(const StepContext *step, const WeightGrad *items, int count, bool add, float *partials);
size_t weight_grads_partials(int64_t rows, const Linear *linear); /* floats that one item needs */

/* weight_grads in two parts: the work, to run among others, and what follows it. */
Work weight_grads_work(GradJob *job, const StepContext *step, const WeightGrad *items, int count, bool add,
                       float *partials);
void weight_grads_end(const GradJob *job);

/* ---- partial sums: `slots` pieces of `stride` floats. Part `at` .. `at + count` of each is summed, in order of the
 * slots, into to[grad ..], in parallel. */

typedef struct PartialSum {
    int64_t at, count, grad;
} PartialSum;

typedef struct PartialSumJob {
    const StepContext *step;
    const float *partials;
    int64_t slots, stride;
    const PartialSum *sums;
    int count;
    bool add;
    float *to;
} PartialSumJob;

void partial_sums(const StepContext *step, const float *partials, int64_t slots, int64_t stride, const PartialSum *sums,
                  int count, bool add, float *to);
Work partial_sums_work(PartialSumJob *job); /* the same, to run among others */

/* ---- randomness: a site is a place in the network where masks are drawn */

enum { SITE_ATTENTION, SITE_PROJECTION, SITE_HIDDEN, SITE_OUTPUT, SITES_PER_LAYER };

uint64_t site_key(const StepContext *step, int image, int layer, int site);

#endif
