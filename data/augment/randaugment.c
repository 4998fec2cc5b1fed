#include "data/augment/randaugment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/image/pixel_ops.h"

static const double MAX_MAGNITUDE = 10.0;

/* One "-" separated part: letters, then a number to the part's end. */
static bool parse_part(const char *part, size_t length, const char *key, double *value)
{
    size_t letters = strlen(key);
    if (length <= letters || strncmp(part, key, letters) != 0) return false;
    char digits[32], *end;
    if (length - letters >= sizeof digits) return false;
    memcpy(digits, part + letters, length - letters);
    digits[length - letters] = '\0';
    if (strspn(digits, "0123456789.") != length - letters) return false; /* strtod reads more than decimals */
    *value = strtod(digits, &end);
    return *end == '\0' && isfinite(*value);
}

static bool is_whole(double value, double low, double high)
{
    return value >= low && value <= high && value == floor(value);
}

static bool parse_value(RandAugment *policy, const char *part, size_t length)
{
    double value;
    if (parse_part(part, length, "mstd", &value)) {
        policy->deviation = value;
        return true;
    }
    if (parse_part(part, length, "inc", &value)) {
        policy->increasing = value == 1.0;
        return is_whole(value, 0, 1);
    }
    if (parse_part(part, length, "m", &value)) {
        policy->magnitude = value;
        return is_whole(value, 0, MAX_MAGNITUDE);
    }
    if (parse_part(part, length, "n", &value)) {
        policy->layers = is_whole(value, 1, AUGMENT_MAX_LAYERS) ? (int)value : 0;
        return policy->layers > 0;
    }
    return false;
}

Status randaugment_parse(RandAugment *policy, const char *text, Error *error)
{
    *policy = (RandAugment){0};
    if (!*text) return STATUS_OK;
    const char *hint = "expected rand-m9-n2-mstd0.5-inc1, every part but `rand` optional: m 0..10, n 1..16, inc 0 or 1";
    size_t length = strcspn(text, "-");
    if (length != 4 || strncmp(text, "rand", 4) != 0)
        return error_set(error, STATUS_USAGE, "aa: '%s' is no augmentation policy that t2t knows; %s", text, hint);
    RandAugment parsed = {.magnitude = MAX_MAGNITUDE, .layers = 2};
    for (const char *part = text + length; *part; part += length) {
        part++;
        length = strcspn(part, "-");
        if (!parse_value(&parsed, part, length))
            return error_set(error, STATUS_USAGE, "aa: '%.*s' in '%s' is not understood; %s", (int)length, part, text,
                             hint);
    }
    *policy = parsed;
    return STATUS_OK;
}

bool augment_is_signed(AugmentOp op, bool increasing)
{
    switch (op) {
    case AUGMENT_ROTATE:
    case AUGMENT_SHEAR_X:
    case AUGMENT_SHEAR_Y:
    case AUGMENT_TRANSLATE_X:
    case AUGMENT_TRANSLATE_Y:
        return true;
    case AUGMENT_COLOR:
    case AUGMENT_CONTRAST:
    case AUGMENT_BRIGHTNESS:
    case AUGMENT_SHARPNESS:
        return increasing;
    default:
        return false;
    }
}

double augment_argument(AugmentOp op, double magnitude, bool increasing, bool negate)
{
    double level = magnitude / MAX_MAGNITUDE, sign = negate ? -1.0 : 1.0;
    switch (op) {
    case AUGMENT_ROTATE:
        return sign * (level * 30.0);
    case AUGMENT_POSTERIZE:
        return increasing ? 4.0 - trunc(level * 4.0) : trunc(level * 4.0);
    case AUGMENT_SOLARIZE:
        return increasing ? 256.0 - trunc(level * 256.0) : trunc(level * 256.0);
    case AUGMENT_SOLARIZE_ADD:
        return trunc(level * 110.0);
    case AUGMENT_COLOR:
    case AUGMENT_CONTRAST:
    case AUGMENT_BRIGHTNESS:
    case AUGMENT_SHARPNESS:
        return increasing ? 1.0 + sign * (level * 0.9) : level * 1.8 + 0.1;
    case AUGMENT_SHEAR_X:
    case AUGMENT_SHEAR_Y:
        return sign * (level * 0.3);
    case AUGMENT_TRANSLATE_X:
    case AUGMENT_TRANSLATE_Y:
        return sign * (level * 0.45);
    default:
        return 0.0;
    }
}

int randaugment_sample(const RandAugment *policy, Rng *rng, Interpolation filter, AugmentStep steps[AUGMENT_MAX_LAYERS])
{
    int count = 0;
    for (int i = 0; i < policy->layers; i++) {
        /* Each layer draws the same number of times from a generator of its own, whatever it turns out to do. */
        Rng layer = rng_split(*rng, (uint64_t)i);
        AugmentOp op = (AugmentOp)rng_below(&layer, AUGMENT_OPS);
        bool applied = rng_uniform(&layer) <= 0.5, negate = rng_uniform(&layer) > 0.5,
             cubic = rng_uniform(&layer) > 0.5;
        if (!applied) continue;
        double magnitude = policy->magnitude;
        if (policy->deviation > 0.0) magnitude += policy->deviation * rng_normal(&layer);
        magnitude = fmin(MAX_MAGNITUDE, fmax(0.0, magnitude));
        negate = negate && augment_is_signed(op, policy->increasing);
        Interpolation drawn = cubic ? INTERPOLATION_BICUBIC : INTERPOLATION_BILINEAR;
        steps[count++] = (AugmentStep){
            .op = op,
            .argument = augment_argument(op, magnitude, policy->increasing, negate),
            .filter = filter == INTERPOLATION_RANDOM ? drawn : filter,
        };
    }
    return count;
}

static void exchange(Canvas *canvas)
{
    uint8_t *keep = canvas->pixels;
    canvas->pixels = canvas->spare;
    canvas->spare = keep;
}

static void transform(const AugmentStep *step, Affine affine, const uint8_t fill[3], Canvas *canvas)
{
    affine_apply(&affine, canvas->pixels, canvas->width, canvas->height, step->filter, fill, canvas->spare);
    exchange(canvas);
}

void augment_apply(const AugmentStep *step, const uint8_t fill[3], Canvas *canvas)
{
    uint8_t *pixels = canvas->pixels;
    int width = canvas->width, height = canvas->height;
    int64_t count = (int64_t)width * height;
    double argument = step->argument;
    switch (step->op) {
    case AUGMENT_AUTO_CONTRAST:
        imageops_auto_contrast(pixels, count);
        break;
    case AUGMENT_EQUALIZE:
        imageops_equalize(pixels, count);
        break;
    case AUGMENT_INVERT:
        imageops_invert(pixels, count);
        break;
    case AUGMENT_ROTATE:
        if (argument != 0.0) transform(step, affine_rotate(argument, width, height), fill, canvas);
        break;
    case AUGMENT_POSTERIZE:
        imageops_posterize(pixels, count, (int)argument);
        break;
    case AUGMENT_SOLARIZE:
        imageops_solarize(pixels, count, (int)argument);
        break;
    case AUGMENT_SOLARIZE_ADD:
        imageops_solarize_add(pixels, count, (int)argument);
        break;
    case AUGMENT_COLOR:
        imageops_color(pixels, count, argument);
        break;
    case AUGMENT_CONTRAST:
        imageops_contrast(pixels, count, argument);
        break;
    case AUGMENT_BRIGHTNESS:
        imageops_brightness(pixels, count, argument);
        break;
    case AUGMENT_SHARPNESS:
        imageops_sharpness(pixels, width, height, argument, canvas->spare);
        exchange(canvas);
        break;
    case AUGMENT_SHEAR_X:
        transform(step, affine_shear_x(argument), fill, canvas);
        break;
    case AUGMENT_SHEAR_Y:
        transform(step, affine_shear_y(argument), fill, canvas);
        break;
    case AUGMENT_TRANSLATE_X:
        transform(step, affine_translate(argument * width, 0), fill, canvas);
        break;
    case AUGMENT_TRANSLATE_Y:
        transform(step, affine_translate(0, argument * height), fill, canvas);
        break;
    case AUGMENT_OPS:
        break;
    }
}
