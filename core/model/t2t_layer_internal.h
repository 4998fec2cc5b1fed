/* t2t_layer_internal.h: what t2t_layer.c and t2t_layer_backward.c share. */
#ifndef CORE_MODEL_T2T_LAYER_INTERNAL_H
#define CORE_MODEL_T2T_LAYER_INTERNAL_H

#include "core/model/residual.h"
#include "core/kernels/attention.h"
#include "core/model/t2t_layer.h"

/* Columns of q, k and v in a row of qkv. */
static inline int token_q(const T2TLayer *layer)
{
    return layer->performer ? layer->width : 0;
}

static inline int token_k(const T2TLayer *layer)
{
    return layer->performer ? 0 : layer->width;
}

static inline int token_v(const T2TLayer *layer)
{
    return 2 * layer->width;
}

/* Full attention of one image is cut into parts, by queries forwards and by keys backwards. */
enum { ATTENTION_PARTS = 4 };

typedef struct AttentionPart {
    int64_t image;
    int part, first, count; /* tokens of the image */
} AttentionPart;

int token_attention_parts(const T2TLayer *layer); /* at most ATTENTION_PARTS, for each image */
AttentionPart token_attention_part(const T2TLayer *layer, int64_t task);

/* Where in a thread's scratch memory the tiles lie of what is half: rows of qkv, then of three matrices as wide as the
 * layer or its input. */
size_t token_half_at(const T2TLayer *layer);

Performer token_performer(const T2TLayer *layer, const StepContext *step);
AttentionHead token_head(const T2TLayer *layer, int64_t image /* in what is saved */);
ResidualBranch token_branch(const T2TLayer *layer, int site);
/* The split rows of a tile to out (rows, in). */
void token_split(const T2TLayer *layer, const T2TTile *tile, const float *source, float *out);
/* dsource (images, source_size) = the sum over windows of buffers->dsplit (images, tokens, in) */
void token_gather(const T2TLayer *layer, const StepContext *step, const T2TBuffers *buffers, int images,
                  float *dsource);
/* One more sum over rows, of `count` floats, that goes to the gradients at `grad`; none if that is negative. */
void token_add_sum(T2TLayer *layer, int64_t grad, int64_t count);
/* total (images, size) = sum over each image's tiles; partial sums in order of the tiles */
void token_sum_tiles(const T2TLayer *layer, const StepContext *step, int images, const float *tile_sums, float *total);

/* conv_layer.c: what t2t_layer.h's functions do of a convolution. It keeps nothing for backward. */
void conv_layer_build(T2TLayer *layer, ParamLookup *lookup);
void conv_layer_carve_buffers(const T2TLayer *layer, T2TBuffers *buffers, Arena *arena, int images);
void conv_layer_forward(const T2TLayer *layer, const StepContext *step, TokenChunk chunk, const float *source,
                        float *out);
void conv_layer_backward(const T2TLayer *layer, const StepContext *step, const T2TBuffers *buffers, TokenChunk chunk,
                         bool add, const float *source, const float *dout, float *dsource);

#endif
