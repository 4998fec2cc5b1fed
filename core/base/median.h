/* median.h: the middle of some values. */
#ifndef CORE_BASE_MEDIAN_H
#define CORE_BASE_MEDIAN_H

/* Sorts the values; of an even number, the mean of the middle two. count is at least 1. */
double median_of(double *values, int count);

#endif
