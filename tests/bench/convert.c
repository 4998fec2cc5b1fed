/* How fast a conversion with original bytes is, on one thread, from the page cache: records a second, beside what
 * merely reading the files takes. Aim: at least 5,000 records a second on an idle core.
 *
 *     build/tests/bench/convert [FOLDER]        FOLDER (default /dev/shm) takes 1 GB for the time being
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/file.h"
#include "core/base/rng.h"
#include "data/convert/convert.h"
#include "tests/support/command.h"

enum { IMAGES = 5000, CLASSES = 10, WIDTH = 500, HEIGHT = 400, QUALITY = 92 };

typedef struct Clock {
    double wall, cpu;
} Clock;

static Clock now(void)
{
    struct timespec wall, cpu;
    clock_gettime(CLOCK_MONOTONIC, &wall);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return (Clock){(double)wall.tv_sec + 1e-9 * (double)wall.tv_nsec, (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec};
}

static void print_rate(const char *what, Clock begin, double megabytes)
{
    Clock end = now();
    double wall = end.wall - begin.wall, cpu = end.cpu - begin.cpu;
    printf("%-22s %8.0f records/s  %7.0f MB/s   (%.2f s, of which on the processor %.2f s: %.0f records/s)\n", what,
           IMAGES / wall, megabytes / wall, wall, cpu, IMAGES / cpu);
}

/* About 100 KB, as ImageNet's are on average. */
static Status make_jpeg(unsigned char **bytes, size_t *size, Error *error)
{
    Image image = {0};
    Status status = image_reserve(&image, WIDTH, HEIGHT, error);
    if (status) return status;
    Rng rng = rng_make(0, RNG_SYNTHETIC, 0, 0);
    for (int i = 0; i < WIDTH * HEIGHT * 3; i++) image.pixels[i] = (uint8_t)(i / 9 % 200 + (int)rng_below(&rng, 17));
    status = image_encode_jpeg(&image, QUALITY, false, bytes, size, error);
    image_free(&image);
    return status;
}

static void image_path(char path[4096], const char *root, int number)
{
    snprintf(path, 4096, "%s/source/train/class%d/%05d.JPEG", root, number % CLASSES, number);
}

static Status write_images(const char *root, const unsigned char *bytes, size_t size, Error *error)
{
    char path[4096];
    Status status = STATUS_OK;
    for (int i = 0; i < CLASSES && !status; i++) {
        snprintf(path, sizeof path, "%s/source/train/class%d", root, i);
        status = file_make_folders(path, error);
    }
    for (int i = 0; i < IMAGES && !status; i++) {
        image_path(path, root, i);
        FILE *file = fopen(path, "wb");
        if (!file || fwrite(bytes, 1, size, file) != size)
            status = error_set(error, STATUS_FAILED, "%s: cannot write: %m", path);
        if (file) fclose(file);
    }
    return status;
}

static Status read_images(const char *root, Error *error)
{
    Status status = STATUS_OK;
    for (int i = 0; i < IMAGES && !status; i++) {
        char path[4096], *bytes;
        size_t size;
        image_path(path, root, i);
        status = file_read(path, 1 << 24, &bytes, &size, error);
        if (!status) free(bytes);
    }
    return status;
}

static Status convert(const char *root, Error *error)
{
    char source[4096], dest[4096];
    snprintf(source, sizeof source, "%s/source", root);
    snprintf(dest, sizeof dest, "%s/dataset", root);
    ConvertConfig config;
    convert_defaults(&config);
    config.source = source;
    config.dest = dest;
    Convert *convert;
    Status status = convert_create(&convert, &config, error);
    if (!status) status = convert_run(convert, error);
    if (!status) status = convert_finish(convert, error);
    convert_free(convert);
    return status;
}

static Status measure(const char *root, Error *error)
{
    unsigned char *bytes;
    size_t size;
    Status status = make_jpeg(&bytes, &size, error);
    if (status) return status;
    status = write_images(root, bytes, size, error);
    free(bytes);
    double megabytes = 1e-6 * (double)size * IMAGES, load = 0;
    if (getloadavg(&load, 1) == 1)
        printf("conversion of %d images of %.1f KB, one thread, load of the machine %.1f\n", IMAGES, (double)size / 1e3,
               load);
    Clock begin = now();
    if (!status) status = read_images(root, error);
    if (!status) print_rate("open, read, close", begin, megabytes);
    begin = now();
    if (!status) status = convert(root, error);
    if (!status) print_rate("convert", begin, megabytes);
    return status;
}

int main(int argc, char **argv)
{
    char root[1024], command[1100];
    if (!make_unique_folder(root, sizeof root, argc > 1 ? argv[1] : "/dev/shm")) {
        fprintf(stderr, "%s: %m\n", root);
        return STATUS_FAILED;
    }
    mallopt(M_MMAP_THRESHOLD, 64 << 20); /* as tools/convert.c does */
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
    Error error = {0};
    Status status = measure(root, &error);
    if (status) fprintf(stderr, "%s\n", error.message);
    snprintf(command, sizeof command, "rm -r '%s'", root);
    if (system(command) != 0) fprintf(stderr, "%s is left over\n", root);
    return status;
}
