#include "data/augment/color_jitter.h"

#include "data/image/pixel_ops.h"

ColorJitter color_jitter_sample(Rng *rng, double strength)
{
    ColorJitter jitter;
    double low = strength < 1.0 ? 1.0 - strength : 0.0;
    for (int i = 0; i < JITTER_KINDS; i++) {
        jitter.order[i] = (ColorJitterKind)i;
        jitter.factor[i] = rng_range(rng, low, 1.0 + strength);
    }
    for (int i = JITTER_KINDS - 1; i > 0; i--) {
        int j = (int)rng_below(rng, (uint64_t)i + 1);
        ColorJitterKind keep = jitter.order[i];
        jitter.order[i] = jitter.order[j];
        jitter.order[j] = keep;
    }
    return jitter;
}

void color_jitter_apply(const ColorJitter *jitter, uint8_t *pixels, int64_t count)
{
    static void (*const APPLY[JITTER_KINDS])(uint8_t *, int64_t, double) = {imageops_brightness, imageops_contrast,
                                                                            imageops_color};
    for (int i = 0; i < JITTER_KINDS; i++) APPLY[jitter->order[i]](pixels, count, jitter->factor[jitter->order[i]]);
}
