#include "data/normal.h"

#include <math.h>

/* For 128 layers of equal area AREA, the tail beyond TAIL counted with the lowest. */
static const double TAIL = 3.442619855899, AREA = 9.91256303526217e-3;

static double density(double x)
{
    return exp(-0.5 * x * x);
}

void normal_table(NormalTable *table)
{
    double *edge = table->edge;
    edge[0] = AREA / density(TAIL); /* the base as if it were a box of the same area */
    edge[1] = TAIL;
    for (int i = 2; i < NORMAL_LAYERS; i++) edge[i] = sqrt(-2.0 * log(AREA / edge[i - 1] + density(edge[i - 1])));
    edge[NORMAL_LAYERS] = 0.0;
    for (int i = 0; i < NORMAL_LAYERS; i++) table->inner[i] = edge[i + 1] / edge[i];
}

/* Beyond TAIL (Marsaglia 1964). */
static double draw_tail(Rng *rng, bool negative)
{
    double x, y;
    do {
        x = log(1.0 - rng_uniform(rng)) / TAIL;
        y = log(1.0 - rng_uniform(rng));
    } while (-2.0 * y < x * x);
    return negative ? x - TAIL : TAIL - x;
}

double normal_draw(const NormalTable *table, Rng *rng)
{
    for (;;) {
        uint64_t bits = rng_u64(rng);
        int layer = (int)(bits % NORMAL_LAYERS);
        double u = (double)((int64_t)bits >> 11) * 0x1p-52; /* -1 .. 1 from the upper bits */
        double x = u * table->edge[layer];
        if (fabs(u) < table->inner[layer]) return x;
        if (layer == 0) return draw_tail(rng, u < 0.0);
        double high = density(table->edge[layer]), low = density(table->edge[layer + 1]);
        if (high + rng_uniform(rng) * (low - high) < density(x)) return x;
    }
}
