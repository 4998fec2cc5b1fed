#include "tests/support/statistics.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

static const double NORMAL_1E4 = 3.719; /* exceeded with probability 1e-4 */

void assert_chi_square(const char *what, const double *observed, const double *expected, int cells)
{
    double sum = 0, freedom = cells - 1, spread = 2.0 / (9.0 * freedom);
    for (int i = 0; i < cells; i++) sum += (observed[i] - expected[i]) * (observed[i] - expected[i]) / expected[i];
    double limit = freedom * pow(1.0 - spread + NORMAL_1E4 * sqrt(spread), 3.0);
    cr_assert_lt(sum, limit, "%s: chi-square %g with %d cells, limit %g", what, sum, cells, limit);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void assert_distribution(const char *what, double *values, int count, double (*cdf)(double value, const void *context),
                         const void *context)
{
    double worst = 0;
    qsort(values, (size_t)count, sizeof *values, ascending);
    for (int i = 0; i < count; i++) {
        double want = cdf(values[i], context);
        worst = fmax(worst, fmax(fabs(want - (double)i / count), fabs(want - (double)(i + 1) / count)));
    }
    double limit = sqrt(-0.5 * log(1e-4 / 2) / count);
    cr_assert_lt(worst, limit, "%s: distance %g of %d values, limit %g", what, worst, count, limit);
}

double cdf_uniform(double value, const void *range)
{
    const double *ends = range;
    return value <= ends[0] ? 0.0 : value >= ends[1] ? 1.0 : (value - ends[0]) / (ends[1] - ends[0]);
}

double cdf_normal(double value, const void *moments)
{
    const double *m = moments;
    return 0.5 * erfc((m[0] - value) / (m[1] * sqrt(2.0)));
}
