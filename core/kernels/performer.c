#include "core/kernels/performer.h"

static const float EPSILON = 1e-8f; /* added to the denominator, as in the reference */

typedef struct PerformerScratch {
    float *phi, *dphi;   /* (rows, m) */
    float *a;            /* (rows, width) */
    float *transposed;   /* (width, m) */
    float *inverse, *dd; /* (rows) */
} PerformerScratch;

static size_t performer_carve(PerformerScratch *scratch, float *base, const Performer *performer, int rows)
{
    size_t phi = floats_padded((size_t)rows * (size_t)performer->features),
           a = floats_padded((size_t)rows * (size_t)performer->width);
    size_t transposed = floats_padded((size_t)performer->width * (size_t)performer->features),
           vector = floats_padded((size_t)rows);
    if (base) {
        scratch->phi = base;
        scratch->dphi = scratch->phi + phi;
        scratch->a = scratch->dphi + phi;
        scratch->transposed = scratch->a + a;
        scratch->inverse = scratch->transposed + transposed;
        scratch->dd = scratch->inverse + vector;
    }
    return 2 * phi + a + transposed + 2 * vector;
}

size_t performer_sums_size(const Performer *performer)
{
    return (size_t)performer->features * (size_t)(performer->width + 1);
}

size_t performer_scratch(const Performer *performer, int rows)
{
    return performer_carve(NULL, NULL, performer, rows);
}

static void performer_features(const Kernels *kernels, const Performer *p, int rows, const float *x, int ld, float *phi)
{
    packed_gemm(kernels, rows, &p->w_packed, 0, p->features, x, ld, 0.0f, phi, p->features);
    kernels->features(rows, p->features, phi, p->features, x, ld, p->width);
}

/* dx = (or +=) what dphi says, by way of dphi * phi = gradient of the exponent. */
static void performer_features_backward(const Kernels *kernels, const Performer *p, int rows, const float *x, int ld,
                                        const float *phi, float *dphi, float *dx, int ldg)
{
    kernels->features_backward(rows, p->features, phi, p->features, dphi, p->features, x, ld, p->width, false, dx, ldg);
    kernels->gemm(GEMM_NN, rows, p->width, p->features, dphi, p->features, p->w, p->width, 1.0f, dx, ldg);
}

void performer_sums(const Kernels *kernels, const Performer *p, int rows, const float *k, const float *v, int ld,
                    float *sums, float *scratch)
{
    PerformerScratch t;
    performer_carve(&t, scratch, p, rows);
    performer_features(kernels, p, rows, k, ld, t.phi);
    kernels->gemm(GEMM_TN, p->features, p->width, rows, t.phi, p->features, v, ld, 1.0f, sums, p->width);
    kernels->column_sums(rows, p->features, t.phi, p->features, sums + p->features * p->width);
}

/* inverse = 1 / (phi . sum k + epsilon) */
static void denominators(const Kernels *kernels, const Performer *p, int rows, const float *phi, const float *sums,
                         float *inverse)
{
    kernels->row_dots(rows, p->features, phi, p->features, sums + p->features * p->width, 0, inverse);
    for (int r = 0; r < rows; r++) inverse[r] = 1.0f / (inverse[r] + EPSILON);
}

void performer_apply(const Kernels *kernels, const Performer *p, int rows, const float *q, int ld, const float *sums,
                     float *y, int ldy, float *scratch)
{
    PerformerScratch t;
    performer_carve(&t, scratch, p, rows);
    performer_features(kernels, p, rows, q, ld, t.phi);
    denominators(kernels, p, rows, t.phi, sums, t.inverse);
    kernels->gemm(GEMM_NN, rows, p->width, p->features, t.phi, p->features, sums, p->width, 0.0f, y, ldy);
    kernels->scale(rows, p->width, t.inverse, y, ldy);
}

void performer_apply_backward(const Kernels *kernels, const Performer *p, int rows, const float *q, int ld,
                              const float *sums, const float *y, const float *dy, int ldy, float *dq, int ldg,
                              float *dsums, float *scratch)
{
    int m = p->features, width = p->width;
    const float *sum_k = sums + m * width;
    float *dsum_k = dsums + m * width;
    PerformerScratch t;
    performer_carve(&t, scratch, p, rows);
    performer_features(kernels, p, rows, q, ld, t.phi);
    denominators(kernels, p, rows, t.phi, sums, t.inverse);
    kernels->row_dots(rows, width, dy, ldy, y, ldy, t.dd);
    for (int r = 0; r < rows; r++) {
        t.dd[r] *= -t.inverse[r];
        for (int c = 0; c < width; c++) t.a[r * width + c] = dy[(int64_t)r * ldy + c] * t.inverse[r];
        for (int c = 0; c < m; c++) {
            t.dphi[r * m + c] = t.dd[r] * sum_k[c];
            dsum_k[c] += t.dd[r] * t.phi[r * m + c];
        }
    }
    kernels->transpose(m, width, sums, width, t.transposed, m);
    kernels->gemm(GEMM_NN, rows, m, width, t.a, width, t.transposed, m, 1.0f, t.dphi, m);
    kernels->gemm(GEMM_TN, m, width, rows, t.phi, m, t.a, width, 1.0f, dsums, width);
    performer_features_backward(kernels, p, rows, q, ld, t.phi, t.dphi, dq, ldg);
}

void performer_sums_backward(const Kernels *kernels, const Performer *p, int rows, const float *k, const float *v,
                             int ld, const float *dsums, float *dk, int ldk, float *dv, int ldv, float *scratch)
{
    int m = p->features, width = p->width;
    const float *dsum_k = dsums + m * width;
    PerformerScratch t;
    performer_carve(&t, scratch, p, rows);
    performer_features(kernels, p, rows, k, ld, t.phi);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < m; c++) t.dphi[r * m + c] = dsum_k[c];
    kernels->transpose(m, width, dsums, width, t.transposed, m);
    kernels->gemm(GEMM_NN, rows, m, width, v, ld, t.transposed, m, 1.0f, t.dphi, m);
    kernels->gemm(GEMM_NN, rows, width, m, t.phi, m, dsums, width, 1.0f, dv, ldv);
    performer_features_backward(kernels, p, rows, k, ld, t.phi, t.dphi, dk, ldk);
}
