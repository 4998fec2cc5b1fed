/* model_internal.h: the inside of a Model, for model.c and for tests that look at activations. */
#ifndef CORE_MODEL_MODEL_INTERNAL_H
#define CORE_MODEL_MODEL_INTERNAL_H

#include "core/model/block.h"
#include "core/model/embed.h"
#include "core/model/head.h"
#include "core/model/observe.h"
#include "core/model/t2t_layer.h"

enum { TOKEN_LAYERS = MAX_SPLITS - 1 };

struct Model {
    ModelConfig config;
    ParamTable params;
    ModelMode mode;
    int max_batch, tokens;
    int token_layers; /* 2, or 0 for patches */
    int chunk;        /* images that the token layers work on at a time */
    int block_count;
    Arena arena;
    Kernels kernels;
    StepContext step; /* of the last forward; the rest of it lasts as long as the model */

    T2TLayer layers[TOKEN_LAYERS];
    Embed embed;
    Block *blocks;
    Head head;
    Linear **linears; /* of all layers */
    int linear_count;

    uint64_t *samples;              /* (max_batch): copied from the input */
    float *layer_out[TOKEN_LAYERS]; /* (images kept, tokens, width) */
    float **x;                      /* (blocks + 1) of (max_batch * tokens, width): x[i] goes into block i */
    float *dx[2];                   /* gradients of the stream; dx[1] only for the dense model */
    float *dlayer[TOKEN_LAYERS];    /* (chunk, tokens, width): gradients of layer_out */

    T2TBuffers layer_buffers[TOKEN_LAYERS];
    EmbedBuffers embed_buffers;
    BlockBuffers *block_buffers;

    ActivationTake take; /* MODEL_OBSERVE, or NULL */
    void *take_context;
    float *split_rows; /* MODEL_OBSERVE: (observe_floats) */
};

/* model_carve.c: all memory of a model whose layers are built, from its arena. Runs twice, see arena.h. */
void model_carve(Model *model, Arena *arena);
size_t model_layer_floats(const Model *model, int layer); /* of one image's layer_out */

/* observe.c: what model.c calls when a layer is done; nothing happens unless somebody observes. */
size_t observe_floats(const Model *model);
void observe_token_layer(const Model *model, int index, TokenChunk chunk, const float *source, const float *out);
void observe_embed(const Model *model, TokenChunk chunk, const float *source, const float *out);
void observe_block(const Model *model, int index);

#endif
