/* block_internal.h: what block.c and block_backward.c share. */
#ifndef CORE_BLOCK_INTERNAL_H
#define CORE_BLOCK_INTERNAL_H

#include "core/block.h"
#include "core/kernels/attention.h"
#include "core/kernels/gate.h"

enum { BRANCH_ATTENTION, BRANCH_MLP };

AttentionHead block_head(const Block *block, const Step *step, int64_t task); /* task = image * heads + head */
Branch block_branch(const Block *block, const Step *step, int which);
Gate block_gate(const Block *block, const Step *step);
int block_tile_rows(int64_t rows, int64_t tile);

/* What lies between gelu and fc2 for rows `first` .. of the batch: ghost's cheap channels (which hold their own GELU, so
 * act is computed from hidden, fc1's output with bias) and dropout. act (rows, fc2.in) in place otherwise. */
void block_activate(const Block *block, const Step *step, int64_t first, int rows, const float *hidden, float *act);

#endif
