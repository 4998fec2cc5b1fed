#include "dist/monitor/tensorboard.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/base/file.h"
#include "core/base/printable.h"
#include "dist/monitor/record_file.h"

/* ---- CRC-32C (Castagnoli; reflected polynomial 0x82F63B78), a bit at a time: events are a few dozen bytes */

static uint32_t crc32c(const unsigned char *bytes, size_t size)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0x82f63b78u & -(crc & 1));
    }
    return ~crc;
}

/* Masked, as a CRC of data that contains CRCs would be weak. */
uint32_t tensorboard_masked_crc(const void *bytes, size_t size)
{
    uint32_t crc = crc32c(bytes, size);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* ---- protocol buffers: a tag is field number << 3 | wire type */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
enum { EVENT = 8192, TAG = 256 };

typedef struct Buffer {
    unsigned char bytes[EVENT];
    size_t size;
} Buffer;

static void put_little(Buffer *buffer, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) buffer->bytes[buffer->size++] = (unsigned char)(value >> 8 * i);
}

static void put_varint(Buffer *buffer, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) put_little(buffer, value | 0x80, 1);
    put_little(buffer, value, 1);
}

static void put_tag(Buffer *buffer, int field, int type)
{
    put_varint(buffer, (uint64_t)(field << 3 | type));
}

static void put_bytes(Buffer *buffer, int field, const void *bytes, size_t size)
{
    put_tag(buffer, field, BYTES);
    put_varint(buffer, size);
    if (size > 0) memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
}

static void begin_event(Buffer *event, int64_t step)
{
    const double wall = clock_wall_seconds();
    uint64_t bits;
    memcpy(&bits, &wall, sizeof bits);
    event->size = 0;
    put_tag(event, 1, FIXED64); /* Event.wall_time */
    put_little(event, bits, 8);
    put_tag(event, 2, VARINT); /* Event.step */
    put_varint(event, (uint64_t)step);
}

static void put_scalar(Buffer *event, const Scalar *scalar)
{
    Buffer value = {.size = 0}, summary = {.size = 0};
    float number = (float)scalar->value;
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    put_bytes(&value, 1, scalar->tag, strnlen(scalar->tag, TAG)); /* Summary.Value.tag */
    put_tag(&value, 2, FIXED32);                                  /* Summary.Value.simple_value */
    put_little(&value, bits, 4);
    put_bytes(&summary, 1, value.bytes, value.size);  /* Summary.value */
    put_bytes(event, 5, summary.bytes, summary.size); /* Event.summary */
}

static void put_text(Buffer *event, const char *tag, const char *text)
{
    enum { DT_STRING = 7 };
    Buffer value = {.size = 0}, part = {.size = 0}, plugin = {.size = 0};
    char cut[TENSORBOARD_TEXT];
    printable_lines(cut, sizeof cut, text);
    put_bytes(&value, 1, tag, strnlen(tag, TAG));   /* Summary.Value.tag */
    put_bytes(&plugin, 1, "text", 4);               /* SummaryMetadata.PluginData.plugin_name */
    put_bytes(&part, 1, plugin.bytes, plugin.size); /* SummaryMetadata.plugin_data */
    put_bytes(&value, 9, part.bytes, part.size);    /* Summary.Value.metadata */
    part.size = 0;
    put_tag(&part, 1, VARINT); /* TensorProto.dtype */
    put_varint(&part, DT_STRING);
    put_bytes(&part, 2, NULL, 0);                /* TensorProto.tensor_shape: a scalar */
    put_bytes(&part, 8, cut, strlen(cut));       /* TensorProto.string_val */
    put_bytes(&value, 8, part.bytes, part.size); /* Summary.Value.tensor */
    part.size = 0;
    put_bytes(&part, 1, value.bytes, value.size); /* Summary.value */
    put_bytes(event, 5, part.bytes, part.size);   /* Event.summary */
}

static Status write_record(TensorBoard *board, const Buffer *event, Error *error)
{
    unsigned char record[EVENT + 16];
    Buffer head = {.size = 0};
    put_little(&head, event->size, 8);
    put_little(&head, tensorboard_masked_crc(head.bytes, 8), 4);
    memcpy(record, head.bytes, 12);
    memcpy(record + 12, event->bytes, event->size);
    Buffer tail = {.size = 0};
    put_little(&tail, tensorboard_masked_crc(event->bytes, event->size), 4);
    memcpy(record + 12 + event->size, tail.bytes, 4);
    return record_file_append(board->fd, record, event->size + 16, "tb/", error);
}

/* The file, with the two records that every reader wants first. */
static Status open_events(TensorBoard *board, Error *error)
{
    char path[PATH_SIZE], name[320], host[256] = "";
    if (board->fd >= 0) return STATUS_OK;
    Status status = file_make_folders(board->folder, error);
    if (status) return status;
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "events.out.tfevents.%" PRId64 ".%s.%d", (int64_t)time(NULL), host, (int)getpid());
    status = path_join(path, sizeof path, board->folder, name, error);
    if (!status) status = record_file_open(&board->fd, path, error);
    if (status) return status;

    Buffer event;
    begin_event(&event, 0);
    put_bytes(&event, 3, "brain.Event:2", 13); /* Event.file_version */
    status = write_record(board, &event, error);
    if (status) return status;
    begin_event(&event, board->step + 1);
    put_bytes(&event, 7, (const unsigned char[]){1 << 3 | VARINT, 1}, 2); /* Event.session_log: status START */
    return write_record(board, &event, error);
}

void tensorboard_open(TensorBoard *board, const char *folder, int64_t step)
{
    *board = (TensorBoard){.fd = -1, .step = step};
    snprintf(board->folder, sizeof board->folder, "%s", folder);
}

void tensorboard_close(TensorBoard *board)
{
    if (board->fd >= 0) close(board->fd);
    board->fd = -1;
}

Status tensorboard_write(TensorBoard *board, int64_t step, const Scalar *scalars, int count, Error *error)
{
    Status status = open_events(board, error);
    for (int i = 0; i < count && !status; i++) {
        if (isnan(scalars[i].value)) continue;
        Buffer event;
        begin_event(&event, step);
        put_scalar(&event, &scalars[i]);
        status = write_record(board, &event, error);
    }
    return status;
}

Status tensorboard_text(TensorBoard *board, int64_t step, const char *tag, const char *text, Error *error)
{
    Status status = open_events(board, error);
    if (status) return status;
    Buffer event;
    begin_event(&event, step);
    put_text(&event, tag, text);
    return write_record(board, &event, error);
}
