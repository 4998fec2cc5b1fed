/* block.h: one entry of the backbone: a transformer block (plain, SE, ghost, dense) or a dense transition. Internal to
 * core/.
 *
 *     residual_mid = x + path(drop(proj(attention(qkv(norm1(x))))))     SE: a gate between proj and drop
 *     y = residual_mid + path(drop(fc2(drop(gelu(fc1(norm2(residual_mid)))))))
 *                                                               ghost: cheap channels beside qkv's and fc1's
 *     out = y, or for the dense model concat(x, dense_linear(y)); transition: gelu(linear(x))
 *
 * A branch that drop path dropped for an image is not computed for it: see residual.h.
 *
 * Forward is three parallel regions: rows (norm1, qkv), heads (attention), rows (the rest, while a tile is in cache).
 * Backward mirrors it; it keeps x, the norms' statistics, qkv, attention's output and row sums, residual_mid and fc1's output,
 * and computes the rest again. The last block of a plain model is one region: see cls_block.c.
 */
#ifndef CORE_MODEL_BLOCK_H
#define CORE_MODEL_BLOCK_H

#include "core/model/residual.h"

enum { BRANCH_ATTENTION, BRANCH_MLP, BRANCHES };

/* Of all rows R = batch * tokens; where only images count that keep a branch, their rows lie densely: A rows of those
 * that keep attention, M rows of those that keep the MLP. Belongs to the model. */
typedef struct BlockSaved {
    float *mean1, *rstd1; /* (A) */
    float *mean2, *rstd2; /* (M) */
    Stored x;             /* half: (R, dim), what norm1 reads; else it is the model's x itself */
    Stored qkv;           /* (A, 3 * dim) */
    float *class_q;       /* class_only, instead of qkv: (images of A, dim) */
    float *class_folded;  /* class_only: (images of A, heads, dim): W_k^T q, cls_block.c */
    float *class_context; /* class_only: (images of A, heads, dim): n^T p */
    Stored attention;     /* (A, dim) */
    float *lse;           /* (images of A, heads, tokens) */
    Stored residual_mid;  /* (R, dim), what norm2 reads */
    Stored hidden;        /* (M, fc1.out), before GELU; a transition: (R, out) */
    float *projected;     /* SE: (A, dim), before the gate */
    float *squeeze;       /* SE: (images of A, 2 * dim + se_hidden): mean, gate, squeezed */
    float *y;             /* dense: (R, dim), what dense_linear reads */
    DropPathMask kept[BRANCHES];
    int *kept_memory;
} BlockSaved;

/* What backward needs beside. Rows as in BlockSaved. */
typedef struct BlockBuffers {
    Stored dz_mlp;                /* (M, dim): gradients of what the two residual branches add */
    Stored dz_attention;          /* (A, dim) */
    Stored act;                   /* (M, fc2.in): input of fc2 */
    Stored norm;                  /* (M, dim): input of fc1, then (A, dim): of qkv */
    Stored dattention;            /* (A, dim) */
    Stored dqkv;                  /* (A, 3 * dim); qkv itself but for ghost */
    float *row_sums;              /* (tiles, row_sum_size) */
    float *class_norm, *class_dq; /* class_only: (images of A, dim) */
    float *class_dfolded;         /* class_only: (images of A, heads, dim) */
    float *gate_sums;             /* SE: (batch, 2 * dim * se_hidden) */
    float *weight_sums;           /* scratch of weight_grads */
} BlockBuffers;

enum { BLOCK_SUMS = 16, MAX_BLOCK_LINEARS = 7 };

typedef struct Block {
    int layer, tokens, dim, out, heads, se_hidden;
    float scale; /* of the scores */
    bool transition, ghost, se, dense;
    bool class_only;       /* the model reads only the first row of each image */
    bool half;             /* what is kept, and what products read, is bfloat16: plain blocks, but for the last */
    bool recompute_hidden; /* backward computes hidden a second time; its memory is shared, and the model's to set */
    double drop, attn_drop, drop_path;
    Norm norm1, norm2;
    Linear qkv[3];
    int qkv_parts; /* 1: q, k, v in one; 3: ghost, each computes the left half of its columns */
    Linear proj, fc1, fc2, linear /* dense_linear, or the transition's */;
    int64_t widen[3], expand[2]; /* ghost's factors */
    int64_t se1, se2;
    PartialSum row_sums[BLOCK_SUMS]; /* gradients that are sums over rows */
    int row_sum_count;
    int64_t row_sum_size;
    BlockSaved saved;
} Block;

void block_build(Block *block, ParamLookup *lookup, const ModelConfig *config, const BlockShape *shape, int layer,
                 int tokens);
int block_linears(Block *block, Linear **out); /* fills out (MAX_BLOCK_LINEARS); returns how many */

/* Backward of a block may overwrite whatever is kept of later ones: its buffers may lie there. */
void block_carve_saved(Block *block, Arena *arena, int batch);
void block_carve_buffers(Block *block, BlockBuffers *buffers, Arena *arena, int batch);
size_t block_scratch(const Block *block); /* floats for each thread */

/* x (R, dim) to out (R, out) */
void block_forward(Block *block, const StepContext *step, const float *x, float *out);
/* From dout (R, out) to dx (R, dim), and the gradients of the block's parameters. Where widths are equal (all but the
 * dense model's blocks) the work is in place: dx must be dout. dout is scratch afterwards. */
void block_backward(Block *block, const StepContext *step, const BlockBuffers *buffers, const float *x, float *dout,
                    float *dx);

#endif
