/* tiny_run.h: what the MPI tests of dist/train share: a run of a small model, without the training. */
#ifndef TESTS_MPI_TINY_RUN_H
#define TESTS_MPI_TINY_RUN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/path.h"
#include "dist/comm/reducer.h"
#include "dist/train/coordinator.h"
#include "dist/train/run_folder.h"

enum { TINY_BATCH = 8 };

typedef struct TinyRun {
    World world;
    Log log;
    Config config;
    Pool *pool;
    Dataset *images;
    Model *model;
    const ParamTable *table;
    RunVectors vectors; /* filled with a pattern of its own each */
    Reducer *reducer;
} TinyRun;

/* Ends the program, on all ranks, unless `good`. */
#define NEED(good, ...)                                                                                                \
    do {                                                                                                               \
        if (good) break;                                                                                               \
        fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #good);                                                     \
        fprintf(stderr, __VA_ARGS__);                                                                                  \
        fputc('\n', stderr);                                                                                           \
        MPI_Abort(MPI_COMM_WORLD, 1);                                                                                  \
    } while (0)

/* FOLDER/name, in `path` of PATH_SIZE bytes. */
static inline const char *tiny_path(char *path, const char *folder, const char *name)
{
    Error error = {0};
    NEED(path_join(path, PATH_SIZE, folder, name, &error) == STATUS_OK, "%s", error.message);
    return path;
}

static inline void tiny_fill(float *vector, int64_t count, int seed)
{
    for (int64_t i = 0; i < count; i++) vector[i] = (float)((i * 7919 + seed * 104729) % 1000) * 1e-3f;
}

/* Every rank calls it. server: the last rank is one, and world.comm and the reducer are the others'. */
static inline void tiny_run_open(TinyRun *run, const char *data, const char *const *sets, int set_count, bool server)
{
    static const char *const SETS[] = {"model=t2t_vit_7",  "img_size=32", "num_classes=10", "token_dim=16",
                                       "embed_dim=32",     "depth=2",     "num_heads=2",    "batch_size=8",
                                       "epochs=4",         "threads=1",   "workers=1",      "warmup_epochs=0",
                                       "cooldown_epochs=0"};
    enum { COUNT = sizeof SETS / sizeof SETS[0] };
    const char *all[COUNT + 8];
    char folder[1100];
    Error error = {0};
    memcpy(all, SETS, sizeof SETS);
    for (int i = 0; i < set_count; i++) all[COUNT + i] = sets[i];
    snprintf(folder, sizeof folder, "data=%s", data);
    all[COUNT + set_count] = folder;
    NEED(world_start(&run->world, &error) == STATUS_OK, "%s", error.message);
    NEED(log_open(&run->log, run->world.rank, LOG_INFO, &error) == STATUS_OK, "%s", error.message);
    NEED(config_load(&run->config, NULL, all, COUNT + set_count + 1, &error) == STATUS_OK, "%s", error.message);
    NEED(pool_create(&run->pool, 1, &error) == STATUS_OK, "%s", error.message);
    NEED(dataset_open(&run->images, data, "val", &error) == STATUS_OK, "%s", error.message);
    NEED(model_create(&run->model, &run->config.model, TINY_BATCH, MODEL_EVAL, run->pool, &error) == STATUS_OK, "%s",
         error.message);
    run->table = model_params(run->model);
    const RunVectorSet all_vectors = {
        .weights = true, .ema = true, .moment1 = true, .moment2 = true, .end = run->table->size};
    NEED(run_vectors_allocate(&run->vectors, run->table, &all_vectors, &error) == STATUS_OK, "%s", error.message);
    params_init(run->table, 1, run->vectors.weights);
    params_init(run->table, 2, run->vectors.ema);
    tiny_fill(run->vectors.moment1, run->table->size, 3);
    tiny_fill(run->vectors.moment2, run->table->size, 4);
    model_set_weights(run->model, run->vectors.weights);
    MPI_Comm comm;
    run->world.size -= server;
    MPI_Comm_split(MPI_COMM_WORLD, run->world.rank < run->world.size, run->world.rank, &comm);
    const ReducerConfig reducer = {.comm = comm, .bucket_mb = 1};
    NEED(reducer_create(&run->reducer, &reducer, run->table->size, &error) == STATUS_OK, "%s", error.message);
    run->world.comm = comm;
}

static inline void tiny_run_close(TinyRun *run)
{
    MPI_Comm comm = run->world.comm;
    reducer_free(run->reducer);
    MPI_Comm_free(&comm);
    run_vectors_free(&run->vectors);
    model_free(run->model);
    dataset_close(run->images);
    pool_free(run->pool);
    log_close(&run->log);
    world_end(&run->world);
}

/* server: -1, or its rank. */
static inline CoordinatorSetup tiny_run_setup(TinyRun *run, const char *folder, int server)
{
    static const char *const METADATA[] = {"format", "pt", NULL};
    return (CoordinatorSetup){.config = &run->config,
                              .world = &run->world,
                              .log = &run->log,
                              .pool = run->pool,
                              .output = folder,
                              .metadata = METADATA,
                              .validation = run->images,
                              .table = run->table,
                              .vectors = &run->vectors,
                              .reducer = run->reducer,
                              .model = run->model,
                              .batch = TINY_BATCH,
                              .epoch_steps = 10,
                              .job = MPI_COMM_WORLD,
                              .server = server};
}

#endif
