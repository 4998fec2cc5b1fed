#include "data/shard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <lmdb.h>
#include <xxhash.h>

#include "core/file.h"

/* ---- records */

static const uint8_t MAGIC[4] = {'T', '2', 'T', 'R'};
enum { RECORD_VERSION = 1 };

static void put(uint8_t *target, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) target[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const uint8_t *from, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)from[i] << 8 * i;
    return value;
}

uint64_t record_hash(const void *bytes, size_t size)
{
    return XXH3_64bits(bytes, size);
}

void record_write_header(const Record *record, uint8_t header[RECORD_HEADER])
{
    memcpy(header, MAGIC, 4);
    put(header + 4, RECORD_VERSION, 2);
    put(header + 6, record->format, 2);
    put(header + 8, (uint64_t)record->label, 4);
    put(header + 12, (uint64_t)record->width, 4);
    put(header + 16, (uint64_t)record->height, 4);
    put(header + 20, record->size, 4);
    put(header + 24, record->hash, 8);
}

Status record_parse(const void *value, size_t size, Record *record, Error *error)
{
    const uint8_t *header = value;
    if (size < RECORD_HEADER)
        return error_set(error, STATUS_DATA, "a record of %zu bytes, shorter than its header of %d", size,
                         RECORD_HEADER);
    if (memcmp(header, MAGIC, 4) != 0)
        return error_set(error, STATUS_DATA, "not a record: it does not start with T2TR");
    if (get(header + 4, 2) != RECORD_VERSION)
        return error_set(error, STATUS_DATA, "record version %d; this t2t reads version %d", (int)get(header + 4, 2),
                         RECORD_VERSION);
    uint64_t format = get(header + 6, 2), label = get(header + 8, 4);
    uint64_t width = get(header + 12, 4), height = get(header + 16, 4);
    if (format != IMAGE_JPEG && format != IMAGE_PNG)
        return error_set(error, STATUS_DATA, "unknown image format %d in a record", (int)format);
    if (width == 0 || height == 0 || width > IMAGE_MAX_PIXELS / height)
        return error_set(error, STATUS_DATA, "a record claims an image of %llu x %llu pixels",
                         (unsigned long long)width, (unsigned long long)height);
    if (get(header + 20, 4) != size - RECORD_HEADER)
        return error_set(error, STATUS_DATA, "a record says %llu bytes of image, but holds %zu",
                         (unsigned long long)get(header + 20, 4), size - RECORD_HEADER);
    *record = (Record){.label = (int64_t)label,
                       .width = (int)width,
                       .height = (int)height,
                       .format = (ImageFormat)format,
                       .hash = get(header + 24, 8),
                       .bytes = header + RECORD_HEADER,
                       .size = size - RECORD_HEADER};
    uint64_t found = record_hash(record->bytes, record->size);
    if (found != record->hash)
        return error_set(error, STATUS_DATA, "the image's bytes have hash %016llx, but the record says %016llx",
                         (unsigned long long)found, (unsigned long long)record->hash);
    return STATUS_OK;
}

Status shard_hash_file(const char *path, char hash[33], Error *error)
{
    enum { CHUNK = 1 << 18 };
    Status status = STATUS_OK;
    XXH3_state_t *state = XXH3_createState();
    char *chunk = malloc(CHUNK);
    FILE *file = fopen(path, "rb");
    if (!state || !chunk || !file) {
        status = error_set(error, STATUS_DATA, "%s: cannot open: %m", path);
        goto close_file;
    }
    setvbuf(file, NULL, _IONBF, 0);
    XXH3_128bits_reset(state);
    size_t got;
    while ((got = fread(chunk, 1, CHUNK, file)) > 0) XXH3_128bits_update(state, chunk, got);
    if (ferror(file)) status = error_set(error, STATUS_DATA, "%s: cannot read: %m", path);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    for (int i = 0; i < 16; i++) sprintf(hash + 2 * i, "%02x", canonical.digest[i]);
close_file:
    if (file) fclose(file);
    free(chunk);
    XXH3_freeState(state);
    return status;
}

/* ---- writing
 *
 * Records are gathered until there are about 8 MiB, then written in one transaction: a transaction that finds the map
 * full has to be repeated from its first record on a larger map. */

enum { BATCH_BYTES = 8 << 20, BATCH_RECORDS = 4096 };

struct ShardWriter {
    char path[4096];
    MDB_env *env;
    MDB_dbi dbi;
    bool table_open;
    size_t map_size;
    int64_t written; /* records in finished transactions */
    uint8_t *batch;  /* records, one after the other */
    size_t used, capacity;
    size_t ends[BATCH_RECORDS];
    int records;
};

static Status lmdb_error(Error *error, Status status, const char *path, const char *action, int code)
{
    return error_set(error, status, "%s: cannot %s: %s", path, action, mdb_strerror(code));
}

static Status write_error(ShardWriter *writer, const char *action, int code, Error *error)
{
    lmdb_error(error, STATUS_FAILED, writer->path, action, code);
    struct statvfs disk;
    bool full =
        code == ENOSPC || code == EDQUOT || code == EFBIG || code == EIO; /* EIO: LMDB's word for half a write */
    if (full && statvfs(writer->path, &disk) == 0)
        error_add(error,
                  "  hint: a full disk or quota does this (%.1f MB are free there); make room and run the same command "
                  "again: finished shards are kept",
                  (double)disk.f_bavail * (double)disk.f_frsize / 1e6);
    return STATUS_FAILED;
}

Status shard_writer_create(ShardWriter **result, const char *path, Error *error)
{
    *result = NULL;
    ShardWriter *writer = calloc(1, sizeof *writer);
    if (!writer) return error_set(error, STATUS_FAILED, "%s: no memory for a shard's buffer", path);
    snprintf(writer->path, sizeof writer->path, "%s", path);
    writer->map_size = 64 << 20;
    unlink(path); /* an interrupted attempt */
    int code = mdb_env_create(&writer->env);
    if (!code) code = mdb_env_set_mapsize(writer->env, writer->map_size);
    if (!code) code = mdb_env_open(writer->env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC | MDB_NORDAHEAD, 0644);
    if (code) {
        Status status = write_error(writer, "create", code, error);
        if (writer->env) mdb_env_close(writer->env);
        free(writer);
        return status;
    }
    *result = writer;
    return STATUS_OK;
}

static int put_batch(ShardWriter *writer)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(writer->env, NULL, 0, &txn);
    if (code) return code;
    code = mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &writer->dbi);
    size_t begin = 0;
    for (int i = 0; i < writer->records && !code; i++) {
        size_t number = (size_t)(writer->written + i);
        MDB_val key = {sizeof number, &number};
        MDB_val value = {writer->ends[i] - begin, writer->batch + begin};
        code = mdb_put(txn, writer->dbi, &key, &value, MDB_APPEND);
        begin = writer->ends[i];
    }
    if (code) {
        mdb_txn_abort(txn);
        return code;
    }
    return mdb_txn_commit(txn);
}

static Status write_batch(ShardWriter *writer, Error *error)
{
    int code;
    while ((code = put_batch(writer)) == MDB_MAP_FULL) {
        writer->map_size *= 2;
        code = mdb_env_set_mapsize(writer->env, writer->map_size);
        if (code) break;
    }
    if (code) return write_error(writer, "write", code, error);
    writer->written += writer->records;
    writer->records = 0;
    writer->used = 0;
    return STATUS_OK;
}

static Status grow_batch(ShardWriter *writer, size_t capacity, Error *error)
{
    uint8_t *batch = realloc(writer->batch, capacity);
    if (!batch)
        return error_set(error, STATUS_FAILED, "%s: no memory for %zu bytes of records", writer->path, capacity);
    writer->batch = batch;
    writer->capacity = capacity;
    return STATUS_OK;
}

Status shard_writer_append(ShardWriter *writer, const Record *record, Error *error)
{
    size_t size = RECORD_HEADER + record->size;
    if (record->size > UINT32_MAX - RECORD_HEADER)
        return error_set(error, STATUS_DATA, "an image of %zu bytes is too long for a record", record->size);
    if (writer->records == BATCH_RECORDS || (writer->records > 0 && writer->used + size > BATCH_BYTES)) {
        Status status = write_batch(writer, error);
        if (status) return status;
    }
    if (writer->used + size > writer->capacity) {
        size_t capacity = writer->used + size > BATCH_BYTES ? writer->used + size : BATCH_BYTES;
        Status status = grow_batch(writer, capacity, error);
        if (status) return status;
    }
    Record hashed = *record;
    hashed.hash = record_hash(record->bytes, record->size);
    record_write_header(&hashed, writer->batch + writer->used);
    memcpy(writer->batch + writer->used + RECORD_HEADER, record->bytes, record->size);
    writer->used += size;
    writer->ends[writer->records++] = writer->used;
    return STATUS_OK;
}

Status shard_writer_finish(ShardWriter *writer, Status status, ShardSummary *summary, Error *error)
{
    if (!status) status = write_batch(writer, error);
    if (!status) {
        int code = mdb_env_sync(writer->env, 1);
        if (code) status = write_error(writer, "write to disk", code, error);
    }
    mdb_env_close(writer->env);
    if (!status) status = shard_hash_file(writer->path, summary->hash, error);
    summary->count = writer->written;
    summary->size = file_size(writer->path);
    if (status) unlink(writer->path);
    free(writer->batch);
    free(writer);
    return status;
}

/* ---- reading */

struct Shard {
    char path[4096];
    MDB_env *env;
    MDB_dbi dbi;
};

struct ShardReader {
    const Shard *shard;
    MDB_txn *txn;
};

Status shard_check_file(const char *path, const ShardSummary *expected, Error *error)
{
    if (access(path, R_OK) != 0) {
        error_set(error, STATUS_DATA, "%s: missing or unreadable: %m", path);
        return error_add(error, "  manifest.json says it holds %lld images; copy it again, or convert again",
                         (long long)expected->count);
    }
    uint64_t size = file_size(path);
    if (size != expected->size)
        return error_set(error, STATUS_DATA,
                         "%s: %llu bytes, but manifest.json says %llu; the copy is incomplete or of another data set: "
                         "copy it again",
                         path, (unsigned long long)size, (unsigned long long)expected->size);
    return STATUS_OK;
}

/* LMDB trusts the numbers on its meta page; a page past the end of the file would be a bus error. */
static Status check_table(Shard *shard, const ShardSummary *expected, Error *error)
{
    MDB_envinfo info;
    MDB_stat stat;
    MDB_txn *txn;
    int code = mdb_env_info(shard->env, &info);
    if (!code) code = mdb_txn_begin(shard->env, NULL, MDB_RDONLY, &txn);
    if (code) return lmdb_error(error, STATUS_DATA, shard->path, "read", code);
    code = mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &shard->dbi);
    if (!code) code = mdb_stat(txn, shard->dbi, &stat);
    mdb_txn_abort(txn);
    if (code) return lmdb_error(error, STATUS_DATA, shard->path, "read", code);
    if (((uint64_t)info.me_last_pgno + 1) * stat.ms_psize > expected->size)
        return error_set(error, STATUS_DATA, "%s: damaged: its header speaks of page %zu, past its end", shard->path,
                         info.me_last_pgno);
    if ((int64_t)stat.ms_entries != expected->count)
        return error_set(error, STATUS_DATA,
                         "%s: holds %zu images, but manifest.json says %lld; shard and manifest are of different data "
                         "sets: copy both again",
                         shard->path, stat.ms_entries, (long long)expected->count);
    return STATUS_OK;
}

Status shard_open(Shard **result, const char *path, const ShardSummary *expected, bool random, Error *error)
{
    *result = NULL;
    Status status = shard_check_file(path, expected, error);
    if (status) return status;
    Shard *shard = calloc(1, sizeof *shard);
    if (!shard) return error_set(error, STATUS_FAILED, "%s: no memory", path);
    snprintf(shard->path, sizeof shard->path, "%s", path);
    int code = mdb_env_create(&shard->env);
    if (!code) code = mdb_env_set_mapsize(shard->env, expected->size);
    if (!code)
        code = mdb_env_open(shard->env, path,
                            MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS | MDB_NOSUBDIR | (random ? MDB_NORDAHEAD : 0u), 0);
    status = code ? lmdb_error(error, STATUS_DATA, path, "open", code) : check_table(shard, expected, error);
    if (status) {
        shard_close(shard);
        return status;
    }
    *result = shard;
    return STATUS_OK;
}

void shard_close(Shard *shard)
{
    if (!shard) return;
    if (shard->env) mdb_env_close(shard->env);
    free(shard);
}

Status shard_reader_create(ShardReader **result, const Shard *shard, Error *error)
{
    *result = NULL;
    ShardReader *reader = calloc(1, sizeof *reader);
    if (!reader) return error_set(error, STATUS_FAILED, "%s: no memory", shard->path);
    reader->shard = shard;
    int code = mdb_txn_begin(shard->env, NULL, MDB_RDONLY, &reader->txn);
    if (code) {
        free(reader);
        return lmdb_error(error, STATUS_FAILED, shard->path, "start reading", code);
    }
    *result = reader;
    return STATUS_OK;
}

void shard_reader_free(ShardReader *reader)
{
    if (!reader) return;
    mdb_txn_abort(reader->txn);
    free(reader);
}

static int find(ShardReader *reader, int64_t number, MDB_val *value)
{
    size_t bytes = (size_t)number;
    MDB_val key = {sizeof bytes, &bytes};
    return mdb_get(reader->txn, reader->shard->dbi, &key, value);
}

Status shard_read(ShardReader *reader, int64_t key, Record *record, Error *error)
{
    MDB_val value;
    int code = find(reader, key, &value);
    if (code)
        return error_set(error, STATUS_DATA, "%s: cannot read key %lld: %s", reader->shard->path, (long long)key,
                         mdb_strerror(code));
    Status status = record_parse(value.mv_data, value.mv_size, record, error);
    if (status)
        error_add(error, "  in %s, key %lld; `t2t verify` tells what else is damaged", reader->shard->path,
                  (long long)key);
    return status;
}

void shard_prefetch(ShardReader *reader, int64_t key)
{
    MDB_val value;
    if (find(reader, key, &value)) return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)value.mv_data & ~(page - 1);
    madvise((void *)begin, (uintptr_t)value.mv_data + value.mv_size - begin, MADV_WILLNEED);
}
