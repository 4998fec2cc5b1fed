#include "tools/image_input.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"

enum { LARGEST_FILE = 1 << 28 };

Status pictures_create(Pictures *pictures, const PipelineConfig *config, Error *error)
{
    *pictures = (Pictures){0};
    Status status = preprocess_init(&pictures->preprocess, config, error);
    return status ? status : canvas_create(&pictures->canvas, config->img_size, error);
}

void pictures_free(Pictures *pictures)
{
    canvas_free(&pictures->canvas);
    preprocess_scratch_free(&pictures->scratch);
    *pictures = (Pictures){0};
}

Status pictures_read(Pictures *pictures, const char *path, float *image, uint8_t *pixels, Error *error)
{
    char *bytes;
    size_t size, side = (size_t)pictures->preprocess.config.img_size;
    Status status = file_read(path, LARGEST_FILE, &bytes, &size, error);
    if (status) return status;
    status = preprocess_evaluate(&pictures->preprocess, &pictures->scratch, bytes, size, &pictures->canvas, error);
    free(bytes);
    if (status) return error_add(error, "  while reading %s", path);
    preprocess_floats(&pictures->preprocess, pictures->canvas.pixels, image);
    if (pixels) memcpy(pixels, pictures->canvas.pixels, 3 * side * side);
    return STATUS_OK;
}
