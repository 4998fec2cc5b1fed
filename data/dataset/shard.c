/* shard.c: the layout of a record; a shard's hash, and reading it. */
#include "data/dataset/shard.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lmdb.h>
#include <xxhash.h>

#include "core/base/file.h"
#include "core/base/memory.h"
#include "core/base/path.h"

/* ---- a record */

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
        return error_set(error, STATUS_DATA, "a record claims an image of %" PRIu64 " x %" PRIu64 " pixels", width,
                         height);
    if (get(header + 20, 4) != size - RECORD_HEADER)
        return error_set(error, STATUS_DATA, "a record says %" PRIu64 " bytes of image, but holds %zu",
                         get(header + 20, 4), size - RECORD_HEADER);
    *record = (Record){.label = (int64_t)label,
                       .width = (int)width,
                       .height = (int)height,
                       .format = (ImageFormat)format,
                       .hash = get(header + 24, 8),
                       .bytes = header + RECORD_HEADER,
                       .size = size - RECORD_HEADER};
    uint64_t found = record_hash(record->bytes, record->size);
    if (found != record->hash)
        return error_set(error, STATUS_DATA,
                         "the image's bytes have hash %016" PRIx64 ", but the record says %016" PRIx64, found,
                         record->hash);
    return STATUS_OK;
}

/* ---- a file of them */

Status shard_hash_file(const char *path, char hash[33], Error *error)
{
    enum { CHUNK = 1 << 18 };
    Status status = STATUS_OK;
    XXH3_state_t *state = XXH3_createState();
    char *chunk = memory_alloc(CHUNK, 1, path, error);
    FILE *file = fopen(path, "rb");
    if (!state || !chunk) {
        status = memory_failed(path, error);
        goto close_file;
    }
    if (!file) {
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

struct Shard {
    char path[PATH_SIZE];
    MDB_env *env;
    MDB_dbi dbi;
};

struct ShardReader {
    const Shard *shard;
    MDB_txn *txn;
};

static Status lmdb_error(Error *error, const char *path, const char *action, int code)
{
    return error_set(error, STATUS_DATA, "%s: cannot %s: %s", path, action, mdb_strerror(code));
}

Status shard_check_file(const char *path, const ShardSummary *expected, Error *error)
{
    if (access(path, R_OK) != 0) {
        error_set(error, STATUS_DATA, "%s: missing or unreadable: %m", path);
        return error_add(error, "  manifest.json says it holds %" PRId64 " images; copy it again, or convert again",
                         expected->count);
    }
    uint64_t size = file_size(path);
    if (size != expected->size)
        return error_set(error, STATUS_DATA,
                         "%s: %" PRIu64 " bytes, but manifest.json says %" PRIu64
                         "; the copy is incomplete or of another data set: "
                         "copy it again",
                         path, size, expected->size);
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
    if (code) return lmdb_error(error, shard->path, "read", code);
    code = mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &shard->dbi);
    if (!code) code = mdb_stat(txn, shard->dbi, &stat);
    mdb_txn_abort(txn);
    if (code) return lmdb_error(error, shard->path, "read", code);
    if (((uint64_t)info.me_last_pgno + 1) * stat.ms_psize > expected->size)
        return error_set(error, STATUS_DATA, "%s: damaged: its header speaks of page %zu, past its end", shard->path,
                         info.me_last_pgno);
    if ((int64_t)stat.ms_entries != expected->count)
        return error_set(error, STATUS_DATA,
                         "%s: holds %zu images, but manifest.json says %" PRId64
                         "; shard and manifest are of different data "
                         "sets: copy both again",
                         shard->path, stat.ms_entries, expected->count);
    return STATUS_OK;
}

Status shard_open(Shard **result, const char *path, const ShardSummary *expected, bool random, Error *error)
{
    *result = NULL;
    Status status = shard_check_file(path, expected, error);
    if (status) return status;
    Shard *shard = memory_alloc(1, sizeof *shard, "a shard", error);
    if (!shard) return STATUS_FAILED;
    snprintf(shard->path, sizeof shard->path, "%s", path);
    int code = mdb_env_create(&shard->env);
    if (!code) code = mdb_env_set_mapsize(shard->env, expected->size);
    if (!code)
        code = mdb_env_open(shard->env, path,
                            MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS | MDB_NOSUBDIR | (random ? MDB_NORDAHEAD : 0u), 0);
    status = code ? lmdb_error(error, path, "open", code) : check_table(shard, expected, error);
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
    ShardReader *reader = memory_alloc(1, sizeof *reader, "a reader of a shard", error);
    if (!reader) return STATUS_FAILED;
    reader->shard = shard;
    int code = mdb_txn_begin(shard->env, NULL, MDB_RDONLY, &reader->txn);
    if (code) {
        free(reader);
        return lmdb_error(error, shard->path, "start reading", code);
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
        return error_set(error, STATUS_DATA, "%s: cannot read key %" PRId64 ": %s", reader->shard->path, key,
                         mdb_strerror(code));
    Status status = record_parse(value.mv_data, value.mv_size, record, error);
    if (status)
        error_add(error, "  in %s, key %" PRId64 "; `t2t verify` tells what else is damaged", reader->shard->path, key);
    return status;
}

void shard_prefetch(ShardReader *reader, int64_t key)
{
    MDB_val value;
    if (find(reader, key, &value)) return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)value.mv_data & ~(page - 1);
    madvise((void *)begin, (uintptr_t)value.mv_data + value.mv_size - begin, MADV_WILLNEED);
}
