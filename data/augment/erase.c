#include "data/augment/erase.h"

#include <math.h>

/* ---- normal numbers */

/* For 128 layers of equal area AREA, the tail beyond TAIL counted with the lowest. */
static const double TAIL = 3.442619855899, AREA = 9.91256303526217e-3;

static double density(double x)
{
    return exp(-0.5 * x * x);
}

void gaussian_table(GaussianTable *table)
{
    double *edge = table->edge;
    edge[0] = AREA / density(TAIL); /* the base as if it were a box of the same area */
    edge[1] = TAIL;
    for (int i = 2; i < GAUSSIAN_LAYERS; i++) edge[i] = sqrt(-2.0 * log(AREA / edge[i - 1] + density(edge[i - 1])));
    edge[GAUSSIAN_LAYERS] = 0.0;
    for (int i = 0; i < GAUSSIAN_LAYERS; i++) table->inner[i] = edge[i + 1] / edge[i];
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

typedef struct Draw {
    int layer;
    double u; /* -1 .. 1 */
} Draw;

static inline Draw next_draw(Rng *rng)
{
    const uint64_t bits = rng_at(rng->key, rng->counter++);
    return (Draw){(int)(bits % GAUSSIAN_LAYERS), (double)((int64_t)bits >> 11) * 0x1p-52};
}

/* 98.8 % of the draws lie where the layer is under the curve everywhere. */
static inline bool is_inside(const GaussianTable *table, Draw draw)
{
    return fabs(draw.u) < table->inner[draw.layer];
}

static double draw_rarely(const GaussianTable *table, Rng *rng, Draw draw)
{
    for (;; draw = next_draw(rng)) {
        const double x = draw.u * table->edge[draw.layer];
        if (is_inside(table, draw)) return x;
        if (draw.layer == 0) return draw_tail(rng, draw.u < 0.0);
        double high = density(table->edge[draw.layer]), low = density(table->edge[draw.layer + 1]);
        if (high + rng_uniform(rng) * (low - high) < density(x)) return x;
    }
}

double gaussian_draw(const GaussianTable *table, Rng *rng)
{
    return draw_rarely(table, rng, next_draw(rng));
}

void gaussian_fill(const GaussianTable *table, Rng *rng, float *out, int count)
{
    Rng own = *rng;
    for (int i = 0; i < count; i++) {
        const Draw draw = next_draw(&own);
        if (is_inside(table, draw)) {
            out[i] = (float)(draw.u * table->edge[draw.layer]);
        } else {
            Rng rest = own; /* whose address is taken, so that `own` may stay in registers */
            out[i] = (float)draw_rarely(table, &rest, draw);
            own = rest;
        }
    }
    *rng = own;
}

/* ---- boxes */

static const double MIN_AREA = 0.02, MAX_AREA = 1.0 / 3.0, MIN_ASPECT = 0.3;

int erase_sample(Rng *rng, int size, double probability, int count, EraseBox boxes[ERASE_MAX_COUNT])
{
    if (rng_uniform(rng) >= probability) return 0;
    const double area = (double)size * size, spread = log(1.0 / MIN_ASPECT);
    if (count > 1) count = 1 + (int)rng_below(rng, (uint64_t)count);
    int found = 0;
    for (int i = 0; i < count; i++) {
        for (int attempt = 0; attempt < 10; attempt++) {
            double target = rng_range(rng, MIN_AREA, MAX_AREA) * area / count;
            double aspect = exp(rng_range(rng, -spread, spread));
            int height = (int)rint(sqrt(target * aspect)), width = (int)rint(sqrt(target / aspect));
            if (width >= size || height >= size) continue;
            int top = (int)rng_below(rng, (uint64_t)(size - height) + 1);
            int left = (int)rng_below(rng, (uint64_t)(size - width) + 1);
            boxes[found++] = (EraseBox){top, left, height, width};
            break;
        }
    }
    return found;
}

void erase_fill(const GaussianTable *table, Rng *rng, float *image, int size, EraseBox box, EraseMode mode)
{
    for (int c = 0; c < 3; c++) {
        float color = mode == ERASE_RAND ? (float)gaussian_draw(table, rng) : 0.0f;
        for (int y = box.top; y < box.top + box.height; y++) {
            float *row = image + ((int64_t)c * size + y) * size + box.left;
            if (mode == ERASE_PIXEL)
                gaussian_fill(table, rng, row, box.width);
            else
                for (int x = 0; x < box.width; x++) row[x] = color;
        }
    }
}
