/* Any bytes as a checkpoint's manifest: as they are, and with the last line that makes their hash right, since no mutation
 * would ever guess it. And as the numbers and a file's name in a manifest that is otherwise whole. Must never crash or leak; what is accepted is a position that a run can go on from. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "dist/checkpoint/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void check_position(const RunPosition *position)
{
    const int64_t largest = INT64_C(1000000000000000);
    if (position->step < 0 || position->step > largest || position->epoch_step < 0) abort();
    if (position->epoch < 0 || position->validated < 0 || position->validated > position->epoch) abort();
    if (position->best_epoch < -1 || position->best_epoch > position->epoch) abort();
    if (position->global_batch < 1 || position->epoch_step > largest / position->global_batch) abort();
    if (!(position->best_top1 >= 0 && position->best_top1 <= 100)) abort();
}

static void parse(const char *text, size_t size)
{
    Checkpoint checkpoint;
    Error error = {0};
    Status status = checkpoint_manifest_parse(&checkpoint, "manifest.json", text, size, &error);
    if ((status != STATUS_OK) != (error.message[0] != 0) || (status && status != STATUS_DATA)) abort();
    if (!status) {
        check_position(&checkpoint.position);
        for (int i = 0; i < checkpoint.count; i++) {
            const char *name = checkpoint.files[i].name;
            if (!name[0] || name[0] == '.' || strchr(name, '/')) abort();
        }
    }
    checkpoint_close(&checkpoint);
}

enum { TAIL = 64 };

/* `text` has room for the last line. */
static void parse_signed(char *text, size_t size)
{
    int tail = snprintf(text + size, TAIL, "  \"xxh3\": \"%016" PRIx64 "\"\n}\n", XXH3_64bits(text, size));
    parse(text, size + (size_t)tail);
}

static void parse_numbers(const uint8_t *bytes, size_t size)
{
    enum { NUMBERS = 7 };
    int64_t numbers[NUMBERS] = {0};
    double top1;
    char name[80], text[2048 + TAIL];
    if (size < sizeof numbers + sizeof top1) return;
    memcpy(numbers, bytes, sizeof numbers);
    memcpy(&top1, bytes + sizeof numbers, sizeof top1);
    size_t length = 0;
    for (size_t i = sizeof numbers + sizeof top1; i < size && length + 1 < sizeof name; i++)
        if (bytes[i] >= ' ' && bytes[i] < 127 && bytes[i] != '"' && bytes[i] != '\\') name[length++] = (char)bytes[i];
    name[length] = 0;
    int used = snprintf(text, sizeof text - TAIL,
                        "{\"format\": \"t2t checkpoint\", \"version\": 1, \"code\": \"\", \"config\": \"\",\n"
                        "\"position\": {\"step\": %" PRId64 ", \"epoch\": %" PRId64 ", \"epoch_step\": %" PRId64
                        ", \"global_batch\": %" PRId64 ", \"validated\": %" PRId64 ", \"best_epoch\": %" PRId64
                        ", \"best_top1\": %g},\n\"files\": [{\"name\": \"%s\", \"bytes\": %" PRId64
                        ", \"xxh3\": \"%016" PRIx64 "\"}],\n",
                        numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], top1, name, numbers[6],
                        (uint64_t)numbers[0]);
    parse_signed(text, (size_t)used);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *text = malloc(size + TAIL);
    if (!text) abort();
    memcpy(text, bytes, size);
    parse(text, size);
    parse_signed(text, size);
    free(text);
    parse_numbers(bytes, size);
    return 0;
}
