/* params.h: the parameter table and the flat vectors.
 *
 * All weights of a model lie in one aligned float vector; gradients, moments and EMA are vectors of the same
 * layout. The table says what lies where. So a bucket of the all-reduce, a checkpoint, an optimizer and a norm are
 * slices and loops, and nothing else needs to know the model.
 *
 *     for (int i = 0; i < table->count; i++) {
 *         const Param *param = &table->items[i];
 *         scale(weights + param->offset, param->numel, ...);
 *     }
 *
 * Order is that of the official PyTorch state_dict, so the backward pass finishes the vector from its end to its
 * start. Offsets are multiples of 16 floats; the few floats between tensors stay zero in every vector.
 */
#ifndef CORE_MODEL_PARAMS_H
#define CORE_MODEL_PARAMS_H

#include <stdbool.h>
#include <stdint.h>
#include "core/base/status.h"
#include "core/model/zoo.h"

typedef enum ParamInit {
    INIT_ZERO,       /* biases, LayerNorm bias */
    INIT_ONE,        /* LayerNorm weight */
    INIT_NORMAL,     /* normal(0, 0.02), timm's trunc_normal_ whose bounds of +-2 never bite */
    INIT_UNIFORM,    /* uniform(-1, 1) x 1/sqrt(fan_in): PyTorch's default of Conv1d and Conv2d */
    INIT_SINUSOID,   /* fixed position table */
    INIT_ORTHOGONAL, /* performer w: orthogonal rows x sqrt(m) */
} ParamInit;

typedef struct Param {
    char name[96]; /* official state_dict name, e.g. "blocks.0.attn.qkv.weight" */
    int ndim;
    int64_t shape[4]; /* as in the state_dict */
    int64_t numel;
    int64_t offset; /* floats from the start of a flat vector */
    bool trainable; /* false: pos_embed when sinusoid, performer w */
    bool frozen;    /* this run leaves it as it is: params_freeze */
    bool head;      /* the classifier's */
    bool decay;     /* timm: no weight decay on 1-D tensors, ".bias", cls_token (and learned pos_embed) */
    int group;      /* 0: embeddings and T2T module; 1 .. depth: block; last: final norm and head */
    ParamInit init;
} Param;

typedef struct ParamTable {
    Param *items;
    int count;
    int64_t size;      /* floats in a flat vector, with the gaps */
    int64_t numel;     /* parameters, without them */
    int64_t trainable; /* parameters that are trained */
    int groups;
} ParamTable;

Status params_build(ParamTable *table, const ModelConfig *config, Error *error); /* config was checked by zoo_check */
void params_free(ParamTable *table);                                             /* accepts a zeroed table */
const Param *params_find(const ParamTable *table, const char *name);             /* NULL when there is none */

/* Freezes the trainable tensors whose name matches a shell pattern ("blocks.[0-3].*"); returns how many match. */
int params_freeze(ParamTable *table, const char *pattern);
void params_decay_all(ParamTable *table); /* weight decay on every trainable tensor */

/* Fills `weights` (table->size floats) as the reference initialises a new model; a pure function of the seed. */
void params_init(const ParamTable *table, uint64_t seed, float *weights);

/* The fixed position table (positions, width): even columns sin, odd columns cos of p / 10000^(2 floor(j/2) /
 * width). */
void params_sinusoid(int64_t positions, int64_t width, float *out);

/* The index of the first non-finite value of a flat vector and the parameter it lies in; -1 when all are finite. */
int64_t params_find_nonfinite(const ParamTable *table, const float *vector, const Param **where);

#endif
