/* cls_block_internal.h: what cls_block.c and cls_block_backward.c share; the formulas stand in cls_block.c. */
#ifndef CORE_MODEL_CLS_BLOCK_INTERNAL_H
#define CORE_MODEL_CLS_BLOCK_INTERNAL_H

#include "core/model/block_internal.h"

enum { CLASS_TILE = 4 /* images */ };

typedef struct ClassJob {
    Block *block;
    const StepContext *step;
    const BlockBuffers *buffers;
    const float *x; /* (R, dim) */
    float *out;     /* forward */
    float *dx;      /* (R, dim): dout, which is 0 but for class rows, then the gradient of x */
} ClassJob;

typedef struct ClassImages { /* of a tile */
    int first, count;
} ClassImages;

/* The three matrices of `sides`. */
enum { CLASS_SIDE_FOLDED, CLASS_SIDE_DCONTEXT, CLASS_SIDE_FOLDED_AGAIN, CLASS_SIDES };

/* What a thread needs for a tile beside the rows of the MLP; a head's scores are a row of T. */
typedef struct ClassScratch {
    float *branch, *norm; /* (CLASS_TILE, dim) */
    float *hidden;        /* (CLASS_TILE, fc1.out) */
    float *rows;          /* (T, dim): n, and backward its gradient */
    float *scores;        /* (CLASS_TILE, 2, heads, T): p and, backward, the gradient of the scores */
    float *sides;         /* (CLASS_TILE, CLASS_SIDES, heads, dim) */
    float *mask;          /* (heads, T) */
    float *mass;          /* (CLASS_TILE, heads): the sum of p, which is 1 without dropout */
    float *max, *sum;     /* (heads): of softmax */
    float *correction;    /* (heads): likewise */
    float *delta;         /* (heads): of softmax, backward */
    float *dmass;         /* (heads) */
} ClassScratch;

/* Carves a thread's part of the scratch memory at `base`, if that is not NULL; floats of it. */
size_t class_scratch_carve(ClassScratch *scratch, const Block *block, float *base);
ClassImages class_images(const StepContext *step, int64_t tile);

/* qkv's rows for the queries as a layer of its own. */
Linear class_queries(const Block *block);

enum { CLASS_KEYS = 1, CLASS_VALUES = 2 }; /* third of qkv's rows */

/* y (count, heads, dim) = W^T x for each head, from its columns of x (count, dim). */
void class_through_heads(const ClassJob *job, int third, int count, const float *x, float *y, int ldy);
/* Back: columns of y (count, dim) = W x for each head of x (count, heads, dim). */
void class_gather_heads(const ClassJob *job, int third, int count, const float *x, float *y);

/* A branch of the class rows: one row per image, so branches count rows as images. */
ResidualBranch class_branch(const Block *block, int which);

/* x (heads, T) times the dropout masks of a kept image's scores. */
bool class_drops_scores(const Block *block, const StepContext *step); /* whether there are any */
void class_drop_scores(const Block *block, const StepContext *step, int64_t image, float *x);

/* Of a row of scores: how much of the values' bias arrives. */
static inline float class_mass(int count, const float *scores)
{
    float sum = 0.0f;
    for (int i = 0; i < count; i++) sum += scores[i];
    return sum;
}

#endif
