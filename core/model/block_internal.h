/* block_internal.h: what block.c (forward), block_backward.c and the cls_block files ask of a block, and of each other. */
#ifndef CORE_MODEL_BLOCK_INTERNAL_H
#define CORE_MODEL_BLOCK_INTERNAL_H

#include "core/model/block.h"
#include "core/kernels/attention.h"
#include "core/kernels/gate.h"

/* Where a tile, whose sums start at `sums`, gathers its share of the gradient at offset `grad`. */
float *block_sum(const Block *block, float *sums, int64_t grad);

/* Of task = kept image * heads + head. Where q, k, v are half, they are widened into the first three of HEAD_MATRICES
 * pieces of scratch memory, block_head_floats each. */
AttentionHead block_head(const Block *block, const StepContext *step, int64_t task, float *scratch);
enum { HEAD_MATRICES = 5 }; /* q, k, v; attention's output; its gradient */
size_t block_head_floats(const Block *block);
uint64_t block_head_key(const Block *block, const StepContext *step, int64_t image,
                        int head); /* of attention's dropout */
ResidualBranch block_branch(const Block *block, int which);
int64_t block_rows(const Block *block, int which); /* kept ones */
Gate block_gate(const Block *block, const StepContext *step);
int block_tile_rows(int64_t rows, int64_t tile);

/* What lies between gelu and fc2 for rows `first` .. of the batch: ghost's cheap channels (which hold their own GELU,
 * so act is computed from hidden, fc1's output with bias) and dropout. act (kept rows, fc2.in) in place otherwise. */
void block_activate(const Block *block, const StepContext *step, int64_t first, int rows, const float *hidden,
                    float *act);

/* cls_block.c: the block when class_only */
void class_block_forward(Block *block, const StepContext *step, const float *x, float *out);
void class_block_backward(Block *block, const StepContext *step, const BlockBuffers *buffers, const float *x,
                          float *dx);
int64_t class_tile_count(int batch);
size_t class_scratch(const Block *block); /* floats for each thread */

#endif
