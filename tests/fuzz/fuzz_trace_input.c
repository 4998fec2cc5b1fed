/* Any bytes as the input of `t2t trace`, for a model of three classes and images of 2 x 2 pixels. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/trace_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char path[64];
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ModelConfig model = {.img_size = 2, .in_chans = 3, .num_classes = 3};
    TraceInput input = {0};
    Error error = {0};
    Status status = trace_input_read(&input, path, &model, 0.1, &error);
    if (status == STATUS_OK ? !input.images || input.batch < 1 : !error.message[0]) abort();
    trace_input_free(&input);
    close(fd);
    return 0;
}
