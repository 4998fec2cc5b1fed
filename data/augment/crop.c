#include "data/augment/crop.h"

#include <math.h>

static int random_offset(Rng *rng, int room)
{
    return (int)rng_below(rng, (uint64_t)room + 1);
}

ImageBox crop_random(Rng *rng, int width, int height, const double scale[2], const double ratio[2])
{
    double area = (double)width * height;
    for (int attempt = 0; attempt < 10; attempt++) {
        double target = rng_range(rng, scale[0], scale[1]) * area;
        double aspect = exp(rng_range(rng, log(ratio[0]), log(ratio[1])));
        int w = (int)rint(sqrt(target * aspect)), h = (int)rint(sqrt(target / aspect));
        if (w < 1 || h < 1 || w > width || h > height) continue; /* Python would fail on an empty box: none is drawn */
        int y = random_offset(rng, height - h), x = random_offset(rng, width - w);
        return (ImageBox){x, y, w, h};
    }
    int w = width, h = height;
    double aspect = (double)width / height;
    if (aspect < ratio[0]) h = (int)rint(width / ratio[0]);
    if (aspect > ratio[1]) w = (int)rint(height * ratio[1]);
    if (w < 1) w = 1;
    if (h < 1) h = 1;
    return (ImageBox){(width - w) / 2, (height - h) / 2, w, h};
}

static int centre(int size, int part)
{
    return (int)rint((size - part) / 2.0); /* half to even */
}

ResizeTarget crop_centre(int width, int height, int side, int size)
{
    int w = side, h = side;
    if (width < height)
        h = (int)((int64_t)side * height / width);
    else
        w = (int)((int64_t)side * width / height);
    return (ResizeTarget){
        .width = w, .height = h, .x = centre(w, size), .y = centre(h, size), .columns = size, .rows = size};
}
