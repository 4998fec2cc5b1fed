/* simd_transpose.h: transposition in registers by LANES x LANES blocks: for each bit of the index, lanes that have it
 * change places with rows that have it. Included by simd_vectors.h. */

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (VecInt){__VA_ARGS__})
#endif
#define FIRST(lane, bit)  ((lane) & (bit) ? LANES + (lane) - (bit) : (lane))
#define SECOND(lane, bit) ((lane) & (bit) ? LANES + (lane) : (lane) + (bit))
#define LANES4(f, l, bit) f(l, bit), f(l + 1, bit), f(l + 2, bit), f(l + 3, bit)
#if LANES == 4
#define EACH_LANE(f, bit) LANES4(f, 0, bit)
#elif LANES == 8
#define EACH_LANE(f, bit) LANES4(f, 0, bit), LANES4(f, 4, bit)
#else
#define EACH_LANE(f, bit) LANES4(f, 0, bit), LANES4(f, 4, bit), LANES4(f, 8, bit), LANES4(f, 12, bit)
#endif

/* Lane i and lane i ^ bit in each other's place. */
#define SWAPPED(lane, bit) ((lane) ^ (bit))
#define SWAP_LANES(v, bit) SHUFFLE(v, v, EACH_LANE(SWAPPED, bit))

#define EXCHANGE(bit)                                                                                                  \
    _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++)                                                           \
    {                                                                                                                  \
        if (i & (bit)) continue;                                                                                       \
        Vec a = row[i], b = row[i | (bit)];                                                                            \
        row[i] = SHUFFLE(a, b, EACH_LANE(FIRST, bit));                                                                 \
        row[i | (bit)] = SHUFFLE(a, b, EACH_LANE(SECOND, bit));                                                        \
    }

INLINE void transpose_block(const float *in, int64_t ldi, float *out, int64_t ldo)
{
    Vec row[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) row[i] = load(in + i * ldi);
    EXCHANGE(1)
    EXCHANGE(2)
#if LANES > 4
    EXCHANGE(4)
#endif
#if LANES > 8
    EXCHANGE(8)
#endif
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) store(out + i * ldo, row[i]);
}

static void simd_transpose(int rows, int cols, const float *in, int ldi, float *out, int ldo)
{
    int whole_rows = rows / LANES * LANES, whole_cols = cols / LANES * LANES;
    for (int r = 0; r < whole_rows; r += LANES)
        for (int c = 0; c < whole_cols; c += LANES)
            transpose_block(in + (int64_t)r * ldi + c, ldi, out + (int64_t)c * ldo + r, ldo);
    for (int r = 0; r < rows; r++)
        for (int c = r < whole_rows ? whole_cols : 0; c < cols; c++)
            out[(int64_t)c * ldo + r] = in[(int64_t)r * ldi + c];
}
