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
/* total (images, size) = sum over each image's tiles; partial sums in order of the tiles */
void token_sum_tiles(const T2TLayer *layer, const StepContext *step, int images, const float *tile_sums, float *total);

#endif
