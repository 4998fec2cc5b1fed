/* shard_write.c: making a shard.
 *
 * Records are gathered until there are about 8 MiB, then written in one transaction: a transaction that finds the map
 * full has to be repeated from its first record on a larger map. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <lmdb.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/base/path.h"
#include "data/dataset/shard.h"

enum { BATCH_BYTES = 8 << 20, BATCH_RECORDS = 4096 };

struct ShardWriter {
    char path[PATH_SIZE];
    MDB_env *env;
    MDB_dbi dbi;
    size_t map_size;
    int64_t written; /* records in finished transactions */
    uint8_t *batch;  /* records, one after the other */
    size_t used, capacity;
    size_t ends[BATCH_RECORDS];
    int records;
};

static Status write_error(ShardWriter *writer, const char *action, int code, Error *error)
{
    error_set(error, STATUS_FAILED, "%s: cannot %s: %s", writer->path, action, mdb_strerror(code));
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
    ShardWriter *writer = memory_alloc(1, sizeof *writer, "the writer of a shard", error);
    if (!writer) return STATUS_FAILED;
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
    Status status = memory_resize((void **)&writer->batch, (int64_t)capacity, 1, "the records of a shard", error);
    if (!status) writer->capacity = capacity;
    return status;
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
