/* shard.h: one file of records.
 *
 * A shard is an LMDB file (MDB_NOSUBDIR, one unnamed table with integer keys). Its bytes depend on its records alone.
 * Key k = 0, 1, ... count-1 (8 bytes, native order) holds one record, little-endian:
 *
 *     1. u32  magic "T2TR"
 *     2. u16  version, 1
 *     3. u16  format of the bytes: 1 JPEG, 2 PNG
 *     4. u32  label
 *     5. u32  width in pixels
 *     6. u32  height
 *     7. u32  size of the bytes
 *     8. u64  XXH3-64 of the bytes
 *     9. the image's bytes, at offset 32
 *
 * Writing:
 *     ShardWriter *writer;
 *     Status status = shard_writer_create(&writer, path, error);
 *     if (status) return status;
 *     while (!status && ...) status = shard_writer_append(writer, &record, error);
 *     return shard_writer_finish(writer, status, &summary, error);      // frees it; on failure removes the file
 *
 * Reading is read-only and lock-free, as network file systems want it. A Shard may be shared by threads; each has its
 * own ShardReader. Records point into the map and are valid until the shard is closed.
 */
#ifndef DATA_DATASET_SHARD_H
#define DATA_DATASET_SHARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/base/status.h"
#include "data/image/image.h"

typedef struct Record {
    int64_t label;
    int width, height;
    ImageFormat format;
    uint64_t hash; /* XXH3-64 of the bytes */
    const void *bytes;
    size_t size;
} Record;

enum { RECORD_HEADER = 32 };

void record_write_header(const Record *record, uint8_t header[RECORD_HEADER]);
/* Parses one value and checks all of it, hash included; the message does not say where it came from. */
Status record_parse(const void *value, size_t size, Record *record, Error *error);
uint64_t record_hash(const void *bytes, size_t size);

typedef struct ShardSummary {
    int64_t count;
    uint64_t size; /* bytes of the file */
    char hash[33]; /* XXH3-128 of the file, hexadecimal */
} ShardSummary;

/* Whether the file is there and has the expected size. */
Status shard_check_file(const char *path, const ShardSummary *expected, Error *error);
Status shard_hash_file(const char *path, char hash[33], Error *error);

typedef struct ShardWriter ShardWriter;
Status shard_writer_create(ShardWriter **writer, const char *path, Error *error);
/* Copies the record; computes record->hash itself. Memory: about 8 MiB, or the largest record if that is more. */
Status shard_writer_append(ShardWriter *writer, const Record *record, Error *error);
Status shard_writer_finish(ShardWriter *writer, Status status, ShardSummary *summary, Error *error);

typedef struct Shard Shard;
typedef struct ShardReader ShardReader;

/* Checks the file's size and then its count against `expected` before anything is read. random: tell the kernel not to
 * read ahead, for data sets larger than memory. */
Status shard_open(Shard **shard, const char *path, const ShardSummary *expected, bool random, Error *error);
void shard_close(Shard *shard); /* accepts NULL; readers first */

Status shard_reader_create(ShardReader **reader, const Shard *shard, Error *error);
void shard_reader_free(ShardReader *reader); /* accepts NULL */
Status shard_read(ShardReader *reader, int64_t key, Record *record, Error *error);
void shard_prefetch(ShardReader *reader, int64_t key); /* asks the kernel to bring the record into memory */

#endif
