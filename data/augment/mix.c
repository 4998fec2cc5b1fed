#include "data/augment/mix.h"

#include <math.h>
#include <string.h>

#include "data/image/pixel_kernels.h"

static int clamp(int value, int high)
{
    return value < 0 ? 0 : value > high ? high : value;
}

Mix mix_cutmix_box(int height, int width, double lam, int centre_y, int centre_x)
{
    double ratio = sqrt(1.0 - lam);
    int half_height = (int)(height * ratio) / 2, half_width = (int)(width * ratio) / 2;
    Mix mix = {.cutmix = true,
               .top = clamp(centre_y - half_height, height),
               .bottom = clamp(centre_y + half_height, height),
               .left = clamp(centre_x - half_width, width),
               .right = clamp(centre_x + half_width, width)};
    double area = (double)(mix.bottom - mix.top) * (mix.right - mix.left);
    mix.lam = 1.0 - area / ((double)height * width);
    return mix;
}

Mix mix_sample(const PipelineConfig *config, Rng *rng, int size)
{
    const Mix none = {.lam = 1.0};
    if (config->mixup <= 0.0 && config->cutmix <= 0.0) return none;
    bool active = rng_uniform(rng) < config->mixup_prob, switched = rng_uniform(rng) < config->mixup_switch_prob;
    bool cutmix = config->cutmix > 0.0 && (config->mixup <= 0.0 || switched);
    int y = (int)rng_below(rng, (uint64_t)size), x = (int)rng_below(rng, (uint64_t)size);
    if (!active) return none;
    double alpha = cutmix ? config->cutmix : config->mixup;
    double lam = rng_beta(rng, alpha, alpha);
    return cutmix ? mix_cutmix_box(size, size, lam, y, x) : (Mix){.lam = lam};
}

Mix mix_rows(const Mix *mix, int first, int rows)
{
    Mix part = *mix;
    part.top = clamp(mix->top - first, rows);
    part.bottom = clamp(mix->bottom - first, rows);
    return part;
}

void mix_pixels(const Mix *mix, int height, int width, const uint8_t *own, const uint8_t *partner, uint8_t *out)
{
    const int64_t row = 3 * (int64_t)width;
    if (!mix->cutmix && mix->lam < 1.0) {
        pixel_kernels()->mixup(own, partner, row * height, (float)mix->lam, (float)(1.0 - mix->lam), out);
        return;
    }
    if (out != own) memcpy(out, own, (size_t)(row * height));
    size_t bytes = 3 * (size_t)(mix->right - mix->left);
    for (int y = mix->top; y < mix->bottom; y++)
        memcpy(out + y * row + 3 * mix->left, partner + y * row + 3 * mix->left, bytes);
}

void mix_target(float *target, int classes, int64_t label, int64_t label_partner, double lam, double smoothing)
{
    const double rest = smoothing / classes;
    const float off = (float)rest, on = (float)(1.0 - smoothing + rest), keep = (float)lam, take = (float)(1.0 - lam);
    for (int c = 0; c < classes; c++) {
        float own = c == label ? on : off, partner = c == label_partner ? on : off;
        target[c] = lam < 1.0 ? own * keep + partner * take : own;
    }
}
