/* tensorboard.h: scalars and texts as TensorBoard reads them.
 *
 * Folder/events.out.tfevents.SECONDS.HOST.PID, a new file per process, made by its first record. Each record is
 *     u64 length, u32 masked CRC-32C of these 8 bytes, the bytes, u32 masked CRC-32C of the bytes     (little-endian)
 * and its bytes are a protocol buffer, tensorflow.Event, of which the few fields needed are written by hand.
 * Sources: tensorflow/core/lib/io/record_writer.h, core/util/event.proto, core/framework/summary.proto.
 */
#ifndef DIST_MONITOR_TENSORBOARD_H
#define DIST_MONITOR_TENSORBOARD_H

#include <stddef.h>
#include <stdint.h>
#include "core/base/path.h"
#include "core/base/status.h"

typedef struct TensorBoard {
    int fd; /* -1: nothing is written yet */
    int64_t step;
    char folder[PATH_SIZE];
} TensorBoard;

typedef struct Scalar {
    const char *tag; /* "train/loss"; the part before the slash groups the plots */
    double value;    /* written as float; NAN is left out */
} Scalar;

/* Touches nothing. `step`: the last one that earlier files in this folder are right about: a reader drops what they say
 * beyond it. */
void tensorboard_open(TensorBoard *board, const char *folder, int64_t step);
void tensorboard_close(TensorBoard *board);
Status tensorboard_write(TensorBoard *board, int64_t step, const Scalar *scalars, int count, Error *error);

/* Markdown, on the page of texts; cut after TENSORBOARD_TEXT bytes. */
enum { TENSORBOARD_TEXT = 6000 };
Status tensorboard_text(TensorBoard *board, int64_t step, const char *tag, const char *text, Error *error);

uint32_t tensorboard_masked_crc(const void *bytes, size_t size);

#endif
