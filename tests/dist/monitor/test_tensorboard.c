#include <criterion/criterion.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "dist/monitor/tensorboard.h"
#include "tests/support/command.h"

Test(tensorboard, checksum_of_published_vectors)
{
    /* RFC 3720, B.4: CRC-32C of 32 zero bytes, 32 bytes of ones, 0 .. 31; here unmasked again. */
    unsigned char bytes[32];
    const uint32_t expected[] = {0x8a9136aau, 0x62a8ab43u, 0x46dd794eu};
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 32; j++) bytes[j] = (unsigned char)(i == 0 ? 0 : i == 1 ? 0xff : j);
        uint32_t rotated = tensorboard_masked_crc(bytes, 32) - 0xa282ead8u;
        cr_assert_eq(rotated >> 17 | rotated << 15, expected[i]);
    }
}

/* ---- a reader of its own, as strict as the format */

typedef struct Event {
    double wall_time;
    int64_t step;
    char text[64]; /* file version or tag */
    float value;
    int session; /* SessionLog.status */
} Event;

static uint64_t little(const unsigned char *bytes, int count)
{
    uint64_t value = 0;
    for (int i = 0; i < count; i++) value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static uint64_t varint(const unsigned char **at)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        value |= (uint64_t)(**at & 0x7f) << shift;
        if (!(*(*at)++ & 0x80)) return value;
    }
}

/* Messages inside messages have the fields 1 and 2 in each case; `level` tells them apart. */
static void read_message(const unsigned char *at, const unsigned char *end, int level, Event *event)
{
    enum { EVENT, SUMMARY, VALUE, SESSION };
    while (at < end) {
        uint64_t tag = varint(&at);
        int field = (int)(tag >> 3), type = (int)(tag & 7);
        if (type == 0) {
            int64_t value = (int64_t)varint(&at);
            if (level == EVENT && field == 2) event->step = value;
            if (level == SESSION && field == 1) event->session = (int)value;
        } else if (type == 1) {
            uint64_t bits = little(at, 8);
            memcpy(&event->wall_time, &bits, 8);
            at += 8;
        } else if (type == 5) {
            uint32_t bits = (uint32_t)little(at, 4);
            memcpy(&event->value, &bits, 4);
            at += 4;
        } else {
            cr_assert_eq(type, 2);
            uint64_t size = varint(&at);
            cr_assert_leq(size, (uint64_t)(end - at));
            bool text = (level == EVENT && field == 3) || (level == VALUE && field == 1);
            if (text)
                snprintf(event->text, sizeof event->text, "%.*s", (int)size, (const char *)at);
            else if (level == EVENT)
                read_message(at, at + size, field == 5 ? SUMMARY : SESSION, event);
            else if (level == SUMMARY)
                read_message(at, at + size, VALUE, event);
            at += size;
        }
    }
    cr_assert_eq(at, end);
}

static int read_events(const char *folder, Event *events, int most)
{
    char pattern[600], *bytes;
    size_t size;
    glob_t found;
    Error error = {0};
    int count = 0;
    snprintf(pattern, sizeof pattern, "%s/events.out.tfevents.*", folder);
    cr_assert_eq(glob(pattern, 0, NULL, &found), 0);
    cr_assert_eq(found.gl_pathc, 1);
    cr_assert_eq(file_read(found.gl_pathv[0], 1 << 20, &bytes, &size, &error), STATUS_OK, "%s", error.message);
    const unsigned char *at = (const unsigned char *)bytes, *end = at + size;
    while (at < end) {
        cr_assert_geq(end - at, 16);
        uint64_t length = little(at, 8);
        cr_assert_eq(little(at + 8, 4), tensorboard_masked_crc(at, 8));
        cr_assert_leq(length, (uint64_t)(end - at - 16));
        cr_assert_eq(little(at + 12 + length, 4), tensorboard_masked_crc(at + 12, length));
        cr_assert_lt(count, most);
        events[count] = (Event){0};
        read_message(at + 12, at + 12 + length, 0, &events[count++]);
        at += length + 16;
    }
    free(bytes);
    globfree(&found);
    return count;
}

Test(tensorboard, what_is_written_reads_back)
{
    char folder[512];
    snprintf(folder, sizeof folder, "%s/tb", temporary_folder());
    TensorBoard board;
    Error error = {0};
    Event events[8];
    tensorboard_open(&board, folder, 300);
    cr_assert(!file_exists(folder), "made before anything was written");
    Scalar scalars[] = {{"train/loss", 6.875}, {"train/lr", NAN}, {"eval/top1", -0.5}};
    cr_assert_eq(tensorboard_write(&board, 1234567, scalars, 3, &error), STATUS_OK, "%s", error.message);
    tensorboard_close(&board);

    cr_assert_eq(read_events(folder, events, 8), 4);
    cr_assert_str_eq(events[0].text, "brain.Event:2");
    cr_assert_gt(events[0].wall_time, 1.6e9);
    cr_assert_eq(events[1].session, 1);
    cr_assert_eq(events[1].step, 301);
    cr_assert_str_eq(events[2].text, "train/loss");
    cr_assert_eq(events[2].value, 6.875f);
    cr_assert_eq(events[2].step, 1234567);
    cr_assert_str_eq(events[3].text, "eval/top1");
    cr_assert_eq(events[3].value, -0.5f);
}
