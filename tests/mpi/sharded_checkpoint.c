/* sharded_checkpoint.c: one checkpoint of many ranks, each with a slice of the moments; then one whose part cannot be written.
 *
 *     mpirun -np N sharded_checkpoint FOLDER
 */
#include <unistd.h>

#include "core/base/file.h"
#include "dist/checkpoint/sharded_checkpoint.h"
#include "tests/mpi/tiny_run.h"

typedef struct Shards {
    int rank, ranks;
    const char *folder;
    ParamTable table;
    RunVectors whole, slice; /* slice: what this rank has of whole */
    Pool *pool;
    ShardedCheckpoint sharded;
} Shards;

static void vectors_make(RunVectors *vectors, const RunVectorSet *which, const ParamTable *table)
{
    Error error = {0};
    NEED(run_vectors_allocate(vectors, table, which, &error) == STATUS_OK, "%s", error.message);
}

static void shards_open(Shards *shards, const char *folder)
{
    static const char *const NONE[] = {NULL};
    Error error = {0};
    ModelConfig model;
    *shards = (Shards){.folder = folder};
    MPI_Comm_rank(MPI_COMM_WORLD, &shards->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &shards->ranks);
    NEED(zoo_find("t2t_vit_7", &model, &error) == STATUS_OK, "%s", error.message);
    model.img_size = 32;
    model.embed_dim = 32;
    model.token_dim = 16;
    model.num_heads = model.depth = 2;
    NEED(params_build(&shards->table, &model, &error) == STATUS_OK, "%s", error.message);
    const int64_t size = shards->table.size;
    const RunVectorSet all = {.weights = true, .ema = true, .moment1 = true, .moment2 = true, .end = size};
    vectors_make(&shards->whole, &all, &shards->table);
    float *vectors[] = {shards->whole.weights, shards->whole.ema, shards->whole.moment1, shards->whole.moment2};
    for (int i = 0; i < 4; i++) tiny_fill(vectors[i], size, i);
    shards->slice = shards->whole;
    shards->slice.begin = size * shards->rank / shards->ranks;
    shards->slice.end = size * (shards->rank + 1) / shards->ranks;
    shards->slice.moment1 += shards->slice.begin;
    shards->slice.moment2 += shards->slice.begin;
    const bool head = shards->rank == 0;
    const WriterConfig writer = {.folder = folder,
                                 .run = folder,
                                 .table = &shards->table,
                                 .config = "",
                                 .layout = "",
                                 .metadata = NONE,
                                 .keep = 2,
                                 .head = head,
                                 .vectors = {.weights = head,
                                             .ema = head,
                                             .moment1 = true,
                                             .moment2 = true,
                                             .begin = shards->slice.begin,
                                             .end = shards->slice.end},
                                 .part = shards->rank,
                                 .parts = shards->ranks,
                                 .others = head ? shards->ranks - 1 : 0};
    NEED(pool_create(&shards->pool, 1, &error) == STATUS_OK, "%s", error.message);
    NEED(sharded_checkpoint_create(&shards->sharded, MPI_COMM_WORLD, 0, &writer, &error) == STATUS_OK, "%s",
         error.message);
}

/* The head's report; on other ranks there is none. */
static WriterReport shards_write(Shards *shards, int64_t step)
{
    const RunPosition position = {.step = step, .global_batch = 8, .best_epoch = -1};
    WriterReport report = {.step = -1};
    sharded_checkpoint_begin(&shards->sharded, shards->pool, &shards->slice, &position);
    NEED(sharded_checkpoint_busy(&shards->sharded), "it has just begun");
    bool reports = sharded_checkpoint_wait(&shards->sharded, &report);
    NEED(!sharded_checkpoint_busy(&shards->sharded), "it was waited for");
    NEED(reports == (shards->rank == 0), "rank %d: %d", shards->rank, reports);
    MPI_Barrier(MPI_COMM_WORLD);
    return report;
}

/* Every rank reads all parts of all ranks. */
static void check_whole(const Shards *shards, int64_t step)
{
    char path[CHECKPOINT_PATH];
    Error error = {0};
    Checkpoint checkpoint;
    RunVectors got;
    const int64_t size = shards->table.size;
    const RunVectorSet all = {.weights = true, .ema = true, .moment1 = true, .moment2 = true, .end = size};
    vectors_make(&got, &all, &shards->table);
    checkpoint_path(path, shards->folder, step);
    NEED(checkpoint_open(&checkpoint, path, &error) == STATUS_OK, "%s", error.message);
    NEED(checkpoint.count == shards->ranks + 2, "%d files", checkpoint.count);
    NEED(checkpoint_load(&checkpoint, &shards->table, &got, &error) == STATUS_OK, "%s", error.message);
    for (int p = 0; p < shards->table.count; p++) {
        const Param *param = &shards->table.items[p];
        const size_t bytes = (size_t)param->numel * sizeof(float);
        NEED(memcmp(got.weights + param->offset, shards->whole.weights + param->offset, bytes) == 0, "%s", param->name);
        NEED(memcmp(got.ema + param->offset, shards->whole.ema + param->offset, bytes) == 0, "%s", param->name);
        if (!param->trainable) continue;
        NEED(memcmp(got.moment1 + param->offset, shards->whole.moment1 + param->offset, bytes) == 0, "%s", param->name);
        NEED(memcmp(got.moment2 + param->offset, shards->whole.moment2 + param->offset, bytes) == 0, "%s", param->name);
    }
    checkpoint_close(&checkpoint);
    run_vectors_free(&got);
}

/* A folder has the name of the last rank's part, so that its file cannot get it. */
static void check_failing_part(Shards *shards)
{
    char path[CHECKPOINT_PATH], name[64], part[PATH_SIZE], who[32];
    Error error = {0};
    int64_t *steps;
    int count;
    checkpoint_path(path, shards->folder, 2);
    snprintf(name, sizeof name, "optimizer-%03d-of-%03d.safetensors", shards->ranks - 1, shards->ranks);
    snprintf(who, sizeof who, "rank %d: ", shards->ranks - 1);
    tiny_path(part, path, name);
    if (shards->rank == 0) NEED(file_make_folders(part, &error) == STATUS_OK, "%s", error.message);
    MPI_Barrier(MPI_COMM_WORLD);
    WriterReport report = shards_write(shards, 2);
    if (shards->rank == 0) {
        NEED(report.status == STATUS_FAILED, "status %d", report.status);
        NEED(strstr(report.error.message, who) && strstr(report.error.message, name), "%s", report.error.message);
        NEED(rmdir(part) == 0, "%s is still there", part);
    }
    NEED(checkpoint_list(shards->folder, &steps, &count, &error) == STATUS_OK, "%s", error.message);
    NEED(count == 1 && steps[0] == 1, "%d checkpoints", count);
    free(steps);
    MPI_Barrier(MPI_COMM_WORLD);
}

int main(int argc, char **argv)
{
    Shards shards;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_SERIALIZED, &(int){0});
    NEED(argc == 2, "usage: sharded_checkpoint FOLDER");
    shards_open(&shards, argv[1]);
    WriterReport report = shards_write(&shards, 1);
    NEED(shards.rank || report.status == STATUS_OK, "%s", report.error.message);
    NEED(shards.rank || report.step == 1, "step %d", (int)report.step);
    check_whole(&shards, 1);
    check_failing_part(&shards);
    report = shards_write(&shards, 3); /* the next one has nothing of it */
    NEED(shards.rank || report.status == STATUS_OK, "%s", report.error.message);
    check_whole(&shards, 3);
    sharded_checkpoint_free(&shards.sharded);
    pool_free(shards.pool);
    run_vectors_free(&shards.whole);
    params_free(&shards.table);
    MPI_Finalize();
    return 0;
}
