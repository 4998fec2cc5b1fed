/* Any bytes as a configuration: the first line as --set, the rest as the file. Must never crash or leak; what is
 * accepted must load back equal after saving. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "dist/config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Loads from a file in memory. */
static Status load(Config *config, const char *text, size_t size, const char *set, Error *error)
{
    char path[64];
    int fd = memfd_create("config", MFD_CLOEXEC);
    if (fd < 0 || write(fd, text, size) != (ssize_t)size) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    Status status = config_load(config, path, &set, set ? 1 : 0, error);
    close(fd);
    if ((status != STATUS_OK) != (error->message[0] != '\0')) abort();
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *input = malloc(size + 1), *saved;
    if (!input) abort();
    memcpy(input, bytes, size);
    input[size] = '\0';
    char *newline = memchr(input, '\n', size), *file = newline ? newline + 1 : input + size;
    if (newline) *newline = '\0';

    Config config, back;
    Error error = {0};
    memset(&config, 0, sizeof config);
    memset(&back, 0, sizeof back);
    if (load(&config, file, size - (size_t)(file - input), input[0] ? input : NULL, &error) == STATUS_OK) {
        if (config_text(&config, &saved, &error) != STATUS_OK) abort();
        if (load(&back, saved, strlen(saved), NULL, &error) != STATUS_OK) abort();
        char text[4096];
        if (config_differences(&config, &back, true, text, sizeof text) != 0) abort();
        free(saved);
    }
    free(input);
    return 0;
}
