/* What VDPBF16PS and TDPBF16PS compute, in plain C: their order of sums and their rounding. */
#include "core/kernels/bf16_body.h"

#include <math.h>

#include "core/base/half.h"

/* The instructions read subnormal numbers as zeros and write zeros for them. */
static float flushed(float x)
{
    uint32_t bits = float_bits(x);
    return float_of_bits((bits & 0x7f800000) == 0 ? bits & 0x80000000 : bits);
}

/* a * b + c, rounded once: a product of two bfloat16 is exact in double precision, and where its sum with c is not,
 * so little is lost that rounding to float is the same. */
static float fused(float a, float b, float c)
{
    return flushed((float)((double)a * b + c));
}

static float element(const Bf16Source *from, int i, int p)
{
    int64_t at = from->along_k ? i * from->ld + p : p * from->ld + i;
    return from->stored ? bfloat_to_float(((const uint16_t *)from->at)[at]) : ((const float *)from->at)[at];
}

static void bf16_tile(const Bf16Source *from, bool of_b, int first, int count, int p, int depth, uint16_t *out)
{
    memset(out, 0, TILE * sizeof *out);
    for (int i = 0; i < count; i++)
        for (int q = 0; q < depth; q++)
            out[of_b ? q / 2 * TILE_DEPTH + 2 * i + q % 2 : i * TILE_DEPTH + q] =
                float_to_bfloat(flushed(element(from, first + i, p + q)));
}

static void bf16_narrow(int rows, int cols, const float *x, int ldx, uint16_t *y, int ldy)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) y[(int64_t)r * ldy + c] = float_to_bfloat(flushed(x[(int64_t)r * ldx + c]));
}

static void bf16_widen(int rows, int cols, const uint16_t *x, int ldx, float *y, int ldy)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) y[(int64_t)r * ldy + c] = bfloat_to_float(x[(int64_t)r * ldx + c]);
}

/* A tile of B as floats: [pair][half][column]. Subnormal operands are zeros. */
typedef float Pairs[TILE_SIDE][2][TILE_SIDE];

static void widen_tile(const uint16_t *b, Pairs out)
{
    for (int pair = 0; pair < TILE_SIDE; pair++)
        for (int j = 0; j < TILE_DEPTH; j++)
            out[pair][j % 2][j / 2] = flushed(bfloat_to_float(b[pair * TILE_DEPTH + j]));
}

/* A row of C's tile += a row of A's tile times one of B. */
typedef void (*EmulatedRow)(const uint16_t *a, const Pairs b, float *c);

static void fuse_row(uint16_t a, const float *b, float *c)
{
    float x = flushed(bfloat_to_float(a));
    for (int j = 0; j < TILE_SIDE; j++) c[j] = fused(x, b[j], c[j]);
}

static void vector_row(const uint16_t *a, const Pairs b, float *c)
{
    for (int pair = 0; pair < TILE_SIDE; pair++, a += 2) {
        fuse_row(a[1], b[pair][1], c);
        fuse_row(a[0], b[pair][0], c);
    }
}

static void tile_row(const uint16_t *a, const Pairs b, float *c)
{
    float sum[2][TILE_SIDE] = {{0}};
    for (int pair = 0; pair < TILE_SIDE; pair++, a += 2)
        for (int half = 0; half < 2; half++) fuse_row(a[half], b[pair][half], sum[half]);
    for (int j = 0; j < TILE_SIDE; j++) c[j] = flushed(c[j] + flushed(sum[0][j] + sum[1][j]));
}

static void emulate(EmulatedRow row, int blocks, int high, int wide, const uint16_t *a, const uint16_t *b, bool add,
                    float *c, int64_t ldc)
{
    for (int i = 0; i < high * TILE_SIDE; i++)
        for (int j = 0; j < wide * TILE_SIDE; j++) c[i * ldc + j] = add ? flushed(c[i * ldc + j]) : 0.0f;
    for (int block = 0; block < blocks; block++, a += STRIP_BLOCK, b += STRIP_BLOCK)
        for (int v = 0; v < wide; v++) {
            Pairs pairs;
            widen_tile(b + v * TILE, pairs);
            for (int i = 0; i < high * TILE_SIDE; i++)
                row(a + i * TILE_DEPTH, (const float(*)[2][TILE_SIDE])pairs, c + i * ldc + v * TILE_SIDE);
        }
}

static void vector_emulate(int blocks, int high, int wide, const uint16_t *a, const uint16_t *b, bool add, float *c,
                           int64_t ldc)
{
    emulate(vector_row, blocks, high, wide, a, b, add, c, ldc);
}

static void tile_emulate(int blocks, int high, int wide, const uint16_t *a, const uint16_t *b, bool add, float *c,
                         int64_t ldc)
{
    emulate(tile_row, blocks, high, wide, a, b, add, c, ldc);
}

static const Bf16Micro VECTOR_EMULATED = {.run = vector_emulate}, TILE_EMULATED = {.run = tile_emulate};

BF16_KERNELS(bf16_emulated, VECTOR_EMULATED);
BF16_KERNELS(amx_emulated, TILE_EMULATED);
