/* simd_math.h: exponentials, the normal distribution and GELU of a vector, by polynomials. Included by simd_body.h.
 */
#define LOG2_E 1.44269504f

/* e^x within 2 ulp: x = n ln 2 + r, a polynomial for e^r, and 2^n in two factors, so that results overflow to infinity
 * and fade to zero as they should. Below -126 ln 2 the results are denormal; they are cut to zero, since no sum here
 * can tell and denormals are slow. */
INLINE Vec exp_vec(Vec x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits */
    Vec clamped = select_vec(x > splat(89.0f), splat(89.0f), x);
    Vec shifted = multiply_add(clamped, splat(LOG2_E), splat(magic));
    Vec n = shifted - magic;
    VecInt exponent = (VecInt)shifted - (VecInt)splat(magic);
    Vec r = multiply_add(n, splat(-0.693145752f), clamped);
    r = multiply_add(n, splat(-1.42860677e-6f), r);
    Vec p = splat(1.98412698e-4f); /* Taylor to degree 7: |r| <= ln 2 / 2, rest below 6e-9 */
    p = multiply_add(p, r, splat(1.38888889e-3f));
    p = multiply_add(p, r, splat(8.33333333e-3f));
    p = multiply_add(p, r, splat(4.16666667e-2f));
    p = multiply_add(p, r, splat(1.66666667e-1f));
    p = multiply_add(p, r, splat(0.5f));
    p = multiply_add(p * r, r, r) + 1.0f;
    VecInt half = exponent >> 1;
    Vec scale1 = (Vec)((half + 127) << 23), scale2 = (Vec)((exponent - half + 127) << 23);
    return (Vec)((VecInt)(p * scale1 * scale2) & ~(x < splat(-87.3f))); /* NaN stays NaN */
}

/* 2^(n + r), |r| <= 1/2, by a polynomial of least relative error (8e-8) for 2^r. `shifted` is n + 1.5 * 2^23: shifted
 * up to the exponent, magic's own bits fall off, and n is added to the exponent. No denormal results: n >= -126. */
INLINE Vec exp2_within_half(Vec r, Vec shifted)
{
    Vec p = multiply_add(r, splat(1.32764725e-3f), splat(9.67554096e-3f));
    p = multiply_add(p, r, splat(5.55071309e-2f));
    p = multiply_add(p, r, splat(2.40221202e-1f));
    p = multiply_add(p, r, splat(6.93146944e-1f));
    p = multiply_add(p, r, splat(1.00000012f));
    return (Vec)((VecInt)p + ((VecInt)shifted << 23));
}

/* 2^x for x <= 127 within 2 ulp. Nothing is below 2^-100: no sum of softmax can tell, and products with it do not become
 * denormal. NaN stays NaN. */
INLINE Vec exp2_vec(Vec x)
{
    const float magic = 12582912.0f;
    Vec clamped = max_vec(splat(-100.0f), x);
    Vec shifted = clamped + magic;
    return exp2_within_half(clamped - (shifted - magic), shifted);
}

/* 1 / d for 1 <= d <= 4, given -d, within 1 ulp or so: the first guess subtracts the bits of d, exponent and all, from
 * a constant (off by 5 % at most), then a step of third and one of second order. A division would take longer than all
 * else here. */
INLINE Vec reciprocal_of_negated(Vec minus_d)
{
    Vec y = (Vec)(0x7EF311C7 - ((VecInt)minus_d & 0x7FFFFFFF));
    Vec error = multiply_add(minus_d, y, splat(1.0f));
    y = multiply_add(y, multiply_add(error, error, error), y);
    return multiply_add(y, multiply_add(minus_d, y, splat(1.0f)), y);
}

/* Phi(x), the normal distribution, and e = exp(-x^2 / 2). For a >= 0, Phi(-a) = e t P(t), t = 1 / (1 + 0.21 a): the
 * form of Abramowitz and Stegun 7.1.26 with a polynomial fitted to 1.4e-8, relative, for all a <= 13. e is a power of
 * two as in exp2_vec; beyond 13.2, where it would be denormal, it is zero. NaN gives e = 0 and Phi = 0: who multiplies by
 * x has a NaN again. */
INLINE Vec normal_cdf(Vec x, Vec *e)
{
    const float furthest = -13.2f, magic = 12582912.0f, half_log2_e = 0.721347520f;
    Vec a = max_vec((Vec)((VecInt)x | (VecInt)splat(-0.0f)), splat(furthest)); /* -|x| */
    Vec square = a * a, shifted = multiply_add(square, splat(-half_log2_e), splat(magic));
    Vec power = exp2_within_half(multiply_add(square, splat(-half_log2_e), magic - shifted), shifted);
    *e = (Vec)((VecInt)power & (a > splat(furthest)));
    Vec t = reciprocal_of_negated(multiply_add(a, splat(0.21f), splat(-1.0f)));
    Vec p = multiply_add(t, splat(-7.204896630e-2f), splat(2.855273982e-1f));
    p = multiply_add(p, t, splat(-3.343457874e-1f));
    p = multiply_add(p, t, splat(3.542172678e-1f));
    p = multiply_add(p, t, splat(-9.737719585e-2f));
    p = multiply_add(p, t, splat(1.264137868e-1f));
    p = multiply_add(p, t, splat(6.877414972e-2f));
    p = multiply_add(p, t, splat(8.513179870e-2f));
    p = multiply_add(p, t, splat(8.370755010e-2f));
    Vec tail = *e * t * p;
    return select_vec(x > splat(0.0f), 1.0f - tail, tail);
}

INLINE Vec gelu_vec(Vec x)
{
    Vec e;
    return x * normal_cdf(x, &e);
}

INLINE Vec gelu_slope(Vec x, Vec *y)
{
    Vec e, cdf = normal_cdf(x, &e);
    *y = x * cdf;
    return multiply_add(x * e, splat(0.398942280f), cdf); /* 1 / sqrt(2 pi) */
}
