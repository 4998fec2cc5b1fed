#include <math.h>
#include <string.h>

#include "core/model/params.h"
#include "core/base/rng.h"

static const double TWO_PI = 6.283185307179586476925286766559;

static double dot(const float *a, const float *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (double)a[i] * b[i];
    return sum;
}

/* A uniformly random orthogonal frame, as torch.nn.init.orthogonal_ draws it: the rows of a normal matrix made
 * orthonormal one after the other (Gram-Schmidt; twice, since once loses digits when a row lies close to the span of
 * those before), times sqrt(rows). rows <= columns. */
static void fill_orthogonal(Rng *rng, int64_t rows, int64_t columns, float *out /* (rows, columns) */)
{
    for (int64_t i = 0; i < rows; i++) {
        float *row = out + i * columns;
        for (int64_t j = 0; j < columns; j++) row[j] = (float)rng_normal(rng);
        for (int64_t k = 0; k < 2 * i; k++) {
            const float *other = out + k % i * columns;
            double share = dot(row, other, columns) / (double)rows;
            for (int64_t j = 0; j < columns; j++) row[j] = (float)(row[j] - share * other[j]);
        }
        double scale = sqrt((double)rows / dot(row, row, columns));
        for (int64_t j = 0; j < columns; j++) row[j] = (float)(row[j] * scale);
    }
}

void params_sinusoid(int64_t positions, int64_t width, float *out)
{
    for (int64_t p = 0; p < positions; p++)
        for (int64_t j = 0; j < width; j++) {
            double angle = (double)p / pow(10000.0, 2.0 * (double)(j / 2) / (double)width);
            out[p * width + j] = (float)(j % 2 ? cos(angle) : sin(angle));
        }
}

/* Box and Muller's pairs, both halves used: at tens of millions of weights that is a second less at every start. */
static void fill_normal(Rng *rng, double deviation, float *out, int64_t count)
{
    for (int64_t i = 0; i < count; i += 2) {
        double radius = deviation * sqrt(-2 * log1p(-rng_uniform(rng))), angle = TWO_PI * rng_uniform(rng);
        out[i] = (float)(radius * cos(angle));
        if (i + 1 < count) out[i + 1] = (float)(radius * sin(angle));
    }
}

static void fill_uniform(Rng *rng, double bound, float *out, int64_t count)
{
    for (int64_t i = 0; i < count; i++) out[i] = (float)rng_range(rng, -bound, bound);
}

/* PyTorch's convolutions start at uniform(-1, 1) / sqrt(inputs per output), weight and bias alike. A bias follows its
 * weight in the table. */
static double conv_bound(const Param *param)
{
    const Param *weight = param->ndim == 1 ? param - 1 : param;
    return 1 / sqrt((double)(weight->numel / weight->shape[0]));
}

void params_init(const ParamTable *table, uint64_t seed, float *weights)
{
    memset(weights, 0, (size_t)table->size * sizeof *weights);
    for (int i = 0; i < table->count; i++) {
        const Param *param = &table->items[i];
        Rng rng = rng_make(seed, RNG_INIT, 0, (uint64_t)i);
        float *out = weights + param->offset;
        switch (param->init) {
        case INIT_ZERO:
            break;
        case INIT_ONE:
            for (int64_t j = 0; j < param->numel; j++) out[j] = 1;
            break;
        case INIT_NORMAL:
            fill_normal(&rng, 0.02, out, param->numel);
            break;
        case INIT_UNIFORM:
            fill_uniform(&rng, conv_bound(param), out, param->numel);
            break;
        case INIT_SINUSOID:
            params_sinusoid(param->shape[1], param->shape[2], out);
            break;
        case INIT_ORTHOGONAL:
            fill_orthogonal(&rng, param->shape[0], param->shape[1], out);
            break;
        }
    }
}
