/* What VDPBF16PS and TDPBF16PS compute, in plain C: their order of sums and their rounding. */
#include "core/kernels/bf16_body.h"

#include <math.h>

#include "core/base/half.h"

/* The instructions read subnormal numbers as zeros and write zeros for them. */
static float flushed(float x)
{
    return (float_bits(x) & 0x7f800000) == 0 ? float_of_bits(float_bits(x) & 0x80000000) : x;
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

/* One step of a pair: both of its products, for a row of C's tile, from a row of B's. */
typedef void (*PairStep)(const uint16_t *a, const uint16_t *b, float *even, float *odd);

/* The operands of a pair, subnormal ones as zeros, which only a matrix stored elsewhere can hold. */
static float operand(uint16_t x)
{
    return flushed(bfloat_to_float(x));
}

static void vector_row(const uint16_t *a, const uint16_t *b, float *c)
{
    for (int pair = 0; pair < TILE_SIDE; pair++, a += 2, b += TILE_DEPTH)
        for (int j = 0; j < TILE_SIDE; j++) {
            c[j] = fused(operand(a[1]), operand(b[2 * j + 1]), c[j]);
            c[j] = fused(operand(a[0]), operand(b[2 * j]), c[j]);
        }
}

static void tile_row(const uint16_t *a, const uint16_t *b, float *c)
{
    float even[TILE_SIDE] = {0}, odd[TILE_SIDE] = {0};
    for (int pair = 0; pair < TILE_SIDE; pair++, a += 2, b += TILE_DEPTH)
        for (int j = 0; j < TILE_SIDE; j++) {
            even[j] = fused(operand(a[0]), operand(b[2 * j]), even[j]);
            odd[j] = fused(operand(a[1]), operand(b[2 * j + 1]), odd[j]);
        }
    for (int j = 0; j < TILE_SIDE; j++) c[j] = flushed(flushed(c[j]) + flushed(even[j] + odd[j]));
}

static void emulate(void (*row)(const uint16_t *a, const uint16_t *b, float *c), int blocks, int high, int wide,
                    const uint16_t *a, const uint16_t *b, bool add, float *c, int64_t ldc)
{
    for (int i = 0; i < high * TILE_SIDE; i++)
        for (int v = 0; v < wide; v++) {
            float *to = c + i * ldc + v * TILE_SIDE;
            if (!add) memset(to, 0, TILE_SIDE * sizeof *to);
            for (int j = 0; j < TILE_SIDE; j++) to[j] = flushed(to[j]);
            for (int block = 0; block < blocks; block++)
                row(a + block * STRIP_BLOCK + i * TILE_DEPTH, b + block * STRIP_BLOCK + v * TILE, to);
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
