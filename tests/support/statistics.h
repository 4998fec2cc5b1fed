/* statistics.h: is this sample from that distribution? */
#ifndef TESTS_SUPPORT_STATISTICS_H
#define TESTS_SUPPORT_STATISTICS_H

/* Pearson's chi-square of counts against expected counts; fails the test when a true hypothesis would do worse with a
 * probability of about 1e-4 only (Wilson and Hilferty's approximation). Seeds are fixed, so it passes always or
 * never. */
void assert_chi_square(const char *what, const double *observed, const double *expected, int cells);

/* Kolmogorov and Smirnov: `values` (sorted in place) against a continuous distribution function; the same level. */
void assert_distribution(const char *what, double *values, int count, double (*cdf)(double value, const void *context),
                         const void *context);

double cdf_uniform(double value, const void *range);  /* range: two doubles */
double cdf_normal(double value, const void *moments); /* mean, deviation */

#endif
