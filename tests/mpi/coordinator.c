/* coordinator.c: a coordinator's whole life, with either backend, driven as the trainer does but without training.
 *
 *     mpirun -np N coordinator local|remote DATA FOLDER
 */
#include "core/base/file.h"
#include "dist/train/coordinator_server.h"
#include "tests/mpi/tiny_run.h"

static const char *const SETS[] = {"checkpoint_every=2steps", "checkpoint_failures=1"};
static const RunPosition START = {.global_batch = TINY_BATCH, .best_epoch = -1};

static void folder_make(const TinyRun *run, const char *folder)
{
    char path[PATH_SIZE];
    Error error = {0};
    tiny_path(path, folder, "config.yaml");
    if (run->world.rank == 0) {
        NEED(file_make_folders(folder, &error) == STATUS_OK, "%s", error.message);
        NEED(config_save(&run->config, path, &error) == STATUS_OK, "%s", error.message);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static bool is_there(const char *folder, const char *name)
{
    char path[PATH_SIZE];
    return file_exists(tiny_path(path, folder, name));
}

/* The rank that does not train, through one life of the others' coordinators. */
static void serve(const CoordinatorSetup *setup)
{
    CoordinatorServer *server;
    Error error = {0};
    NEED(coordinator_server_create(&server, setup, &error) == STATUS_OK, "%s", error.message);
    NEED(coordinator_server_run(server, &error) == STATUS_OK, "%s", error.message);
    coordinator_server_free(server);
}

static Coordinator *begin(const CoordinatorSetup *setup, const char *resume, RunPosition *position, bool *resumed)
{
    Coordinator *coordinator;
    Error error = {0};
    *position = START;
    NEED(coordinator_create(&coordinator, setup, &error) == STATUS_OK, "%s", error.message);
    NEED(coordinator_resume(coordinator, resume, position, resumed, &error) == STATUS_OK, "%s", error.message);
    return coordinator;
}

static void step(Coordinator *coordinator, const RunPosition *position)
{
    const StepStats stats = {.step = position->step, .loss = 1, .images = TINY_BATCH, .seconds = 0.1};
    Error error = {0};
    NEED(coordinator_step(coordinator, position, &stats, true, &error) == STATUS_OK, "%s", error.message);
    coordinator_drain(coordinator);
}

static void check_first_life(const TinyRun *run, const CoordinatorSetup *setup)
{
    const bool root = run->world.rank == 0;
    RunPosition position;
    bool resumed;
    Error error = {0};
    Coordinator *coordinator = begin(setup, "auto", &position, &resumed);
    NEED(!resumed, "there is nothing yet");
    position.step = position.epoch_step = 1;
    NEED(!coordinator_wants_checkpoint(coordinator, &position), "every second step");
    position.step = position.epoch_step = 2;
    NEED(coordinator_wants_checkpoint(coordinator, &position) == root, "rank %d", run->world.rank);
    step(coordinator, &position);
    NEED(!root || is_there(setup->output, "checkpoints/step-00000002/manifest.json"), "no checkpoint");
    NEED(coordinator_health(coordinator, &error) == STATUS_OK, "%s", error.message);

    position = (RunPosition){.step = 10, .epoch = 1, .global_batch = TINY_BATCH, .best_epoch = -1};
    NEED(coordinator_validate(coordinator, &position, &error) == STATUS_OK, "%s", error.message);
    NEED(position.validated == 1, "validated %lld", (long long)position.validated);
    NEED(coordinator_finish(coordinator, &position, &error) == STATUS_OK, "%s", error.message);
    NEED(!root || position.best_epoch == 0, "best epoch %lld", (long long)position.best_epoch);
    coordinator_free(coordinator);
    NEED(!root || is_there(setup->output, "best.safetensors"), "the first validation is the best");
    NEED(!root || !is_there(setup->output, "checkpoints/pending-00000001"), "the epoch is in the record");
}

/* Frozen tensors' moments, and the gaps, are not stored. */
static bool params_same(const ParamTable *table, const float *a, const float *b)
{
    for (int i = 0; i < table->count; i++) {
        const Param *param = &table->items[i];
        if (param->trainable && memcmp(a + param->offset, b + param->offset, (size_t)param->numel * sizeof *a))
            return false;
    }
    return true;
}

static void check_second_life(const TinyRun *run, const CoordinatorSetup *setup)
{
    const size_t bytes = (size_t)run->table->size * sizeof(float);
    RunPosition position;
    RunVectors were;
    bool resumed;
    Error error = {0};
    const RunVectorSet all = {.weights = true, .ema = true, .moment1 = true, .moment2 = true, .end = run->table->size};
    NEED(run_vectors_allocate(&were, run->table, &all, &error) == STATUS_OK, "%s", error.message);
    run_vectors_copy(run->pool, &were, &run->vectors, run->table->size);
    memset(run->vectors.weights, 0, bytes);
    memset(run->vectors.ema, 0, bytes);
    memset(run->vectors.moment1, 0, bytes);
    memset(run->vectors.moment2, 0, bytes);
    Coordinator *coordinator = begin(setup, "auto", &position, &resumed);
    NEED(resumed && position.step == 10 && position.epoch == 1, "step %lld", (long long)position.step);
    NEED(position.validated == 1 && position.best_epoch == 0, "the validation is forgotten");
    NEED(params_same(run->table, were.weights, run->vectors.weights), "weights");
    NEED(params_same(run->table, were.ema, run->vectors.ema), "average");
    NEED(params_same(run->table, were.moment1, run->vectors.moment1), "first moments");
    NEED(params_same(run->table, were.moment2, run->vectors.moment2), "second moments");
    coordinator_free(coordinator);
    run_vectors_free(&were);
}

/* A file stands where the folder of checkpoints should. */
static void check_failing_disk(const TinyRun *run, const CoordinatorSetup *setup)
{
    RunPosition position;
    bool resumed;
    Error error = {0};
    char path[PATH_SIZE];
    tiny_path(path, setup->output, "checkpoints");
    Coordinator *coordinator = begin(setup, NULL, &position, &resumed);
    if (run->world.rank == 0) NEED(file_write(path, "", 0, &error) == STATUS_OK, "%s", error.message);
    position.step = position.epoch_step = 2;
    step(coordinator, &position);
    Status health = coordinator_health(coordinator, &error);
    NEED(health == (run->world.rank == 0 ? STATUS_FAILED : STATUS_OK), "%s", error.message);
    NEED(coordinator_finish(coordinator, &position, &error) == STATUS_FAILED, "the last checkpoint has to succeed");
    coordinator_free(coordinator);
}

int main(int argc, char **argv)
{
    typedef void Life(const TinyRun *run, const CoordinatorSetup *setup);
    static Life *const LIVES[] = {check_first_life, check_second_life, check_failing_disk};
    TinyRun run = {0};
    if (argc != 4) return 2;
    const bool remote = strcmp(argv[1], "remote") == 0;
    tiny_run_open(&run, argv[2], SETS, 2, remote);
    const int server = remote ? run.world.size : -1;
    for (int i = 0; i < 3; i++) {
        char folder[PATH_SIZE];
        tiny_path(folder, argv[3], i < 2 ? "run" : "failing");
        folder_make(&run, folder);
        const CoordinatorSetup setup = tiny_run_setup(&run, folder, server);
        if (run.world.rank == server)
            serve(&setup);
        else
            LIVES[i](&run, &setup);
        MPI_Barrier(MPI_COMM_WORLD);
    }
    tiny_run_close(&run);
    return 0;
}
