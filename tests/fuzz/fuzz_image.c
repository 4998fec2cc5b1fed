/* Any bytes as an image. */
#include "tests/fuzz/exercise_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    exercise_image(data, size);
    return 0;
}
