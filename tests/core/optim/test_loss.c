#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/optim/loss.h"
#include "tests/support/golden.h"

static void check_golden(const char *name, double smoothing, int classes)
{
    char path[64];
    snprintf(path, sizeof path, "ops/loss_%s_c%d", name, classes);
    Safetensors file = golden_open(path);
    int64_t count, values;
    float *logits = golden_floats(&file, "in.x", &count), *targets;
    int batch = (int)(count / classes);
    if (smoothing >= 0) {
        int64_t *labels = golden_ints(&file, "in.target", &values);
        targets = malloc((size_t)count * sizeof *targets);
        loss_smooth_targets(labels, batch, classes, smoothing, targets);
        free(labels);
    } else {
        targets = golden_floats(&file, "in.target", &values);
    }
    double *loss = golden_doubles(&file, "out.loss_f64", &values);
    double *grad = golden_doubles(&file, "grad.x_f64", &values);
    float *ours = malloc((size_t)count * sizeof *ours);
    double got = loss_soft_target(logits, targets, batch, classes, 1.0 / batch, ours);
    cr_assert_float_eq(got, *loss, 2e-7 * *loss, "%s: %.9g, expected %.9g", path, got, *loss);
    cr_assert_eq(loss_soft_target(logits, targets, batch, classes, 1.0 / batch, NULL), got);
    for (int64_t i = 0; i < count; i++)
        cr_assert_float_eq(ours[i], grad[i], 2e-8, "%s: gradient %d: %g, expected %g", path, (int)i, ours[i], grad[i]);
    free(ours), free(grad), free(loss), free(targets), free(logits);
    safetensors_close(&file);
}

Test(loss, goldens)
{
    for (int classes = 10; classes <= 1000; classes += 990) {
        check_golden("cross_entropy", 0, classes);
        check_golden("label_smoothing", 0.1, classes);
        check_golden("soft_target", -1, classes);
    }
}

Test(loss, gradient_is_the_difference_quotient)
{
    enum { BATCH = 3, CLASSES = 7 };
    float logits[BATCH * CLASSES], targets[BATCH * CLASSES], grad[BATCH * CLASSES];
    fill_scaled("logits", 4, logits, BATCH * CLASSES);
    fill_scaled("targets", 0.5, targets, BATCH * CLASSES); /* mixing can leave sums other than 1: any weights go */
    loss_soft_target(logits, targets, BATCH, CLASSES, 0.25, grad);
    for (int i = 0; i < BATCH * CLASSES; i++) {
        float kept = logits[i], up = kept + 0x1p-8f, down = kept - 0x1p-8f;
        logits[i] = up;
        double high = loss_soft_target(logits, targets, BATCH, CLASSES, 0.25, NULL);
        logits[i] = down;
        double low = loss_soft_target(logits, targets, BATCH, CLASSES, 0.25, NULL);
        logits[i] = kept;
        cr_assert_float_eq((high - low) / ((double)up - down), grad[i], 2e-6);
    }
}

Test(loss, huge_logits_stay_finite)
{
    float logits[] = {3e38f, -3e38f, 0}, targets[] = {0.9f, 0.05f, 0.05f}, grad[3];
    cr_assert(isfinite(loss_soft_target(logits, targets, 1, 3, 1, grad)));
    for (int c = 0; c < 3; c++) cr_assert(isfinite(grad[c]));
}

Test(loss, a_nan_shows)
{
    float logits[] = {NAN, 1, 0}, targets[] = {0, 1, 0};
    cr_assert(isnan(loss_soft_target(logits, targets, 1, 3, 1, NULL)));
}

Test(loss, topk_breaks_ties_by_class_and_never_counts_a_nan)
{
    const float row[] = {1, 3, 3, 2, NAN, 0};
    static const struct {
        int64_t label;
        int first; /* the smallest k that hits; 0: none up to 5 */
    } CASES[] = {{1, 2}, {2, 3}, {3, 4}, {0, 5}, {4, 0}};
    for (int i = 0; i < 5; i++)
        for (int k = 1; k <= 5; k++)
            cr_assert_eq(loss_topk(row, &CASES[i].label, 1, 6, k), CASES[i].first && k >= CASES[i].first,
                         "label %d, k %d", (int)CASES[i].label, k);
    const float rows[] = {5, 1, 2, 0, 0, 0, 1, 2, 3};
    const int64_t labels[] = {0, 0, 1};
    cr_assert_eq(loss_topk(rows, labels, 3, 3, 1), 2); /* equal logits: class 0 comes first */
    cr_assert_eq(loss_topk(rows, labels, 3, 3, 2), 3);
}

Test(loss, likeliest_are_the_largest_in_order)
{
    const float row[] = {1, 3, 3, 2, 0};
    static const int ORDER[] = {1, 2, 3, 0, 4};
    double sum = 0;
    for (int c = 0; c < 5; c++) sum += exp(row[c]);
    for (int k = 1; k <= 7; k++) {
        Guess top[7];
        int count = loss_likeliest(row, 5, k, top);
        cr_assert_eq(count, k < 5 ? k : 5);
        for (int i = 0; i < count; i++) {
            cr_assert_eq(top[i].class, ORDER[i], "%d of %d", i, k);
            cr_assert_float_eq(top[i].probability, exp(row[ORDER[i]]) / sum, 1e-12);
        }
    }
    const float huge[] = {-3e38f, 3e38f};
    Guess top[2];
    cr_assert_eq(loss_likeliest(huge, 2, 2, top), 2);
    cr_assert(top[0].class == 1 && top[0].probability == 1 && top[1].probability == 0);
}
