/* compression.h: what a float looks like on the network, and the sums at both ends.
 *
 * bf16 is the upper half of a float; fp16 is IEEE binary16, which overflows to infinity above 65504 (the finite check
 * of the trainer then sees it). Both round to nearest, ties to even. Sums are always in fp32.
 *
 * Error feedback: what rounding took from a value stays with the sender and is added to its next gradient, so that
 * nothing is lost over time, only delayed (Seide et al., Interspeech 2014; Karimireddy et al., ICML 2019).
 *
 *     floats_add(vector, residual, n);                        // yesterday's loss returns
 *     floats_compress(WIRE_BF16, vector, residual, halves, n);    // residual = what today's rounding lost
 *
 * Plain loops for the compiler to vectorise; pointers do not overlap.
 */
#ifndef DIST_COMM_COMPRESSION_H
#define DIST_COMM_COMPRESSION_H

#include <stddef.h>
#include <stdint.h>
#include "dist/comm/settings.h"

size_t compressed_bytes(WireType type); /* of one float: 4 or 2 */

void floats_add(float *sum, const float *addend, int64_t count);                      /* sum += addend */
void floats_add2(float *sum, const float *first, const float *second, int64_t count); /* sum = first + second */

/* The rest only for WIRE_BF16 and WIRE_FP16. residual (NULL: none) becomes values - halves, or 0 where that is not
 * finite. */
void floats_compress(WireType type, const float *values, float *residual, uint16_t *halves, int64_t count);
void floats_decompress(WireType type, const uint16_t *halves, float *values, int64_t count);
void floats_decompress_add(WireType type, const uint16_t *halves, float *sum, int64_t count); /* sum += halves */

#endif
