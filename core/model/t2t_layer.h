/* t2t_layer.h: one of the T2T module's two layers: soft split, then a small transformer of one head, by full
 * attention or by Performer features; or nothing but a convolution (conv_layer.c). Internal to core/.
 *
 *     t            = norm1(split(source))                    (tokens, in)
 *     qkv          = kqv(t)                                  (tokens, 3 * width); the performer's order is k, q, v
 *     residual_mid = v + drop(proj(attention(qkv)))          the skip connection is v: the width changes here
 *     out          = residual_mid + drop(mlp(norm2(residual_mid)))        dropout: performer only
 *
 * Work is done on chunks of images, so that scratch memory does not grow with the batch, and on tiles of rows within:
 * a part of one image or several whole images.
 */
#ifndef CORE_MODEL_T2T_LAYER_H
#define CORE_MODEL_T2T_LAYER_H

#include "core/kernels/performer.h"
#include "core/kernels/soft_split.h"
#include "core/model/step_context.h"

enum { CHUNK_LEAST = 8, CHUNK_MOST = 64 /* images */ };

/* Images of a chunk when the first layer has so many tokens: eight of the published 224 pixels or more, and of smaller
 * images as many as have the rows of those, so that each region has work for all threads. */
int t2t_chunk_images(int tokens);

/* How the rows of images are cut into tiles. */
typedef struct T2TTiles {
    int tokens;
    int per_image; /* tiles of one image; 1 when a tile holds whole images */
    int images;    /* images of a tile; 1 when per_image > 1 */
    int rows;      /* at most, of a tile */
} T2TTiles;

typedef struct T2TTile {
    int image, images; /* of the chunk */
    int row, rows;     /* of the first image; all rows of the tile */
    int64_t first;     /* row of the chunk */
} T2TTile;

T2TTiles t2t_tiles(int tokens);
int64_t t2t_tiles_count(const T2TTiles *tiles, int images);
T2TTile t2t_tile(const T2TTiles *tiles, int images, int64_t tile);

typedef struct T2TSaved {                 /* per row of all images that are kept; belongs to the model */
    float *mean1, *rstd1, *mean2, *rstd2; /* (R) */
    Stored qkv;                           /* (R, 3 * width) */
    Stored residual_mid;                  /* (R, width) */
    Stored hidden;                        /* (R, width), before GELU */
    float *attention, *lse;               /* transformer: (R, width), (R) */
    float *sums;                          /* performer: (images, performer_sums_size) */
} T2TSaved;

typedef struct T2TBuffers {              /* for one chunk */
    float *tile_sums;                    /* performer: (tiles, performer_sums_size) */
    float *image_sums;                   /* performer: (images, performer_sums_size), backward */
    float *dz_mlp, *dz_attention;        /* (R, width) */
    float *act, *attention, *dattention; /* (R, width) */
    Stored norm2;                        /* (R, width) */
    Stored norm1;                        /* (R, in); convolution: the split rows */
    float *dsplit;                       /* (R, in); not for pixels */
    float *row_sums;                     /* (tiles, row_sum_size) */
    float *weight_sums;
    float *plain;              /* pixels: (2, in), a norm's weight of 1 and bias of 0 */
    float *qkv_grad, *qkv_sum; /* pixels: (3 * width, in), (3 * width) */
} T2TBuffers;

typedef struct T2TLayer {
    int layer, tokens, in, width;
    bool half;              /* what is kept, and norm1 and norm2, is bfloat16: the performer's */
    bool performer, pixels; /* pixels: the source is the image, whose gradient nobody needs */
    bool convolution;       /* nothing but `conv`: no transformer, nothing saved */
    SplitShape split;
    int64_t source_size; /* floats of one image's source */
    T2TTiles tiles;
    float scale;
    double drop;
    Norm norm1, norm2;
    Linear qkv, proj, fc1, fc2, conv;
    int64_t w;              /* performer: offset of the features' matrix, which is frozen */
    Linear features;        /* performer: w as a layer, for its packed copy */
    PartialSum row_sums[8]; /* first those of the layer after attention */
    int row_sum_count, upper_sum_count;
    int64_t qkv_sum_at; /* sums over rows of the gradient of qkv, in a tile's sums */
    int64_t row_sum_size;
    T2TSaved saved;
} T2TLayer;

void t2t_layer_build(T2TLayer *layer, ParamLookup *lookup, const ModelConfig *config, int index);
int t2t_layer_linears(T2TLayer *layer, Linear **out); /* at most 5 */
void t2t_layer_carve_saved(T2TLayer *layer, Arena *arena, int images, int attention_images);
void t2t_layer_carve_buffers(T2TLayer *layer, T2TBuffers *buffers, Arena *arena, int images, bool training);
size_t t2t_layer_scratch(const T2TLayer *layer);

/* One chunk: images first .. first + images - 1 of the batch. */
typedef struct TokenChunk {
    int first, images;
    int slot;      /* place of the first one in what is saved ... */
    int attention; /* ... and in `attention` and `lse`, which may be there of more images */
} TokenChunk;

/* source: (images, source_size), out: (images, tokens, width), both of the chunk. again: `attention` and `lse` are
 * there from an earlier forward; all else is computed again. */
void t2t_layer_forward(T2TLayer *layer, const StepContext *step, const T2TBuffers *buffers, TokenChunk chunk,
                       bool again, const float *source, float *out);
/* dout is used as scratch; dsource may be NULL when the source is pixels. add: to the gradients of earlier chunks. */
void t2t_layer_backward(T2TLayer *layer, const StepContext *step, const T2TBuffers *buffers, TokenChunk chunk, bool add,
                        const float *source, float *dout, float *dsource);

#endif
