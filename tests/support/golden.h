/* golden.h: what every test of numbers needs: the goldens' deterministic fill, their tensors, and comparisons.
 *
 * tests/goldens holds results of the reference implementation; weights and inputs are not stored but computed by
 * fill() from their name (see tests/goldens/README.md).
 */
#ifndef TESTS_SUPPORT_GOLDEN_H
#define TESTS_SUPPORT_GOLDEN_H

#include <stdint.h>
#include "core/model/params.h"
#include "core/model/safetensors.h"

uint64_t fill_hash(const char *stream, uint64_t index);
double fill_unit(const char *stream, uint64_t index);                          /* [-1, 1), exact in float */
void fill_scaled(const char *stream, double scale, float *out, int64_t count); /* scale * u, rounded once */
void fill_param(const Param *param, float *out);                               /* the rule of the parameter's kind */
void fill_weights(const ParamTable *table, float *weights);

/* Opens tests/goldens/<name>.safetensors; a failure fails the test. */
Safetensors golden_open(const char *name);
/* A tensor as float (F64 is rounded), double or int64; malloc'ed; a missing name fails the test. */
float *golden_floats(const Safetensors *file, const char *name, int64_t *count);
double *golden_doubles(const Safetensors *file, const char *name, int64_t *count);
int64_t *golden_ints(const Safetensors *file, const char *name, int64_t *count);

double max_abs_difference(const float *a, const float *b, int64_t count);
double max_abs(const float *a, int64_t count);
double relative_l2(const float *got, const float *want, int64_t count); /* |got - want| / |want|, in double */

#endif
