/* collectives.c: every rank makes the same collectives in the same order, in runs that end well and in runs that one rank
 * cannot begin. dist/train/README.md has the table.
 *
 *     mpirun -np N collectives DATA FOLDER [key=value]...
 *
 * The program stands in for MPI's blocking collectives: before each one the ranks of its communicator compare what they
 * are about to do, so that a rank that is elsewhere ends the test with a message and does not hang.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dist/train/trainer.h"

enum { MOST_SETS = 32 };

static int64_t met; /* collectives so far */

static void fail(const char *what, const char *why)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    fprintf(stderr, "rank %d: %s: %s\n", rank, what, why);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

/* `detail`: what has to agree beside the name, such as the bytes that are sent. */
static void meet(const char *name, int64_t detail, MPI_Comm comm)
{
    char mine[64] = "", largest[64], smallest[64];
    snprintf(mine, sizeof mine, "%s(%lld)", name, (long long)detail);
    PMPI_Allreduce(mine, largest, sizeof mine, MPI_CHAR, MPI_MAX, comm);
    PMPI_Allreduce(mine, smallest, sizeof mine, MPI_CHAR, MPI_MIN, comm);
    if (memcmp(largest, smallest, sizeof mine) != 0) fail(mine, "another rank is in another collective");
    met++;
}

static int64_t bytes_of(int count, MPI_Datatype type)
{
    int size;
    PMPI_Type_size(type, &size);
    return (int64_t)count * size;
}

int MPI_Bcast(void *data, int count, MPI_Datatype type, int root, MPI_Comm comm)
{
    meet("MPI_Bcast", bytes_of(count, type), comm);
    return PMPI_Bcast(data, count, type, root, comm);
}

int MPI_Allreduce(const void *from, void *to, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm)
{
    meet("MPI_Allreduce", bytes_of(count, type), comm);
    return PMPI_Allreduce(from, to, count, type, op, comm);
}

int MPI_Allgather(const void *from, int from_count, MPI_Datatype from_type, void *to, int to_count,
                  MPI_Datatype to_type, MPI_Comm comm)
{
    meet("MPI_Allgather", bytes_of(to_count, to_type), comm);
    return PMPI_Allgather(from, from_count, from_type, to, to_count, to_type, comm);
}

int MPI_Barrier(MPI_Comm comm)
{
    meet("MPI_Barrier", 0, comm);
    return PMPI_Barrier(comm);
}

int MPI_Comm_split(MPI_Comm comm, int color, int key, MPI_Comm *part)
{
    meet("MPI_Comm_split", 0, comm);
    return PMPI_Comm_split(comm, color, key, part);
}

int MPI_Comm_dup(MPI_Comm comm, MPI_Comm *copy)
{
    meet("MPI_Comm_dup", 0, comm);
    return PMPI_Comm_dup(comm, copy);
}

typedef struct Setting {
    const World *world;
    Config config;
    int last; /* of the ranks that train */
    const char *folder;
} Setting;

/* A run, of which `name` is the folder; all ranks must end with `expected`. */
static void run(const Setting *setting, const char *what, const Config *config, TrainOptions options, const char *name,
                Status expected)
{
    char output[4096];
    Log log;
    TrainResult result;
    Error error = {0};
    int64_t before = met;
    snprintf(output, sizeof output, "%.2000s/%s", setting->folder, name);
    options.output = output;
    if (log_open(&log, setting->world->rank, LOG_WARNING, &error)) fail(what, error.message);
    Status status = train(setting->world, &log, config, &options, &result, &error);
    log_close(&log);
    if (status != expected) fail(what, status ? error.message : "it should have failed");
    if (met < before + 4) fail(what, "the collectives go past this program");
    meet(what, 0, MPI_COMM_WORLD);
}

static void runs(const Setting *setting)
{
    const bool odd = setting->world->rank == setting->last;
    const TrainOptions plain = {0}, again = {.resume = "auto"};
    Config config = setting->config;
    run(setting, "a new run", &config, plain, "run", STATUS_OK);
    run(setting, "a run that is done", &config, again, "run", STATUS_OK);

    const TrainOptions samples = {.samples = odd ? "/absent/samples" : NULL};
    run(setting, "no file for the samples of one rank", &config, samples, "samples", STATUS_FAILED);

    if (odd) snprintf(config.data, sizeof config.data, "/absent");
    run(setting, "no data on one rank", &config, plain, "data", STATUS_DATA);

    config = setting->config;
    if (odd) config.seed++;
    run(setting, "another seed on one rank", &config, plain, "seed", STATUS_USAGE);

    config = setting->config;
    run(setting, "a folder in the place of a file", &config, plain, "run/config.yaml/below", STATUS_FAILED);

    const TrainOptions absent = {.resume = "/absent/checkpoint"};
    run(setting, "no checkpoint to go on from", &config, absent, "resume", STATUS_DATA);
}

int main(int argc, char **argv)
{
    static const char *const SETS[] = {"model=t2t_vit_7",   "img_size=32",
                                       "num_classes=10",    "token_dim=16",
                                       "embed_dim=32",      "depth=2",
                                       "num_heads=2",       "batch_size=8",
                                       "epochs=2",          "threads=1",
                                       "workers=1",         "warmup_epochs=0",
                                       "cooldown_epochs=0", "checkpoint_every=2steps"};
    enum { COUNT = sizeof SETS / sizeof SETS[0] };
    const char *sets[MOST_SETS];
    char data[1100];
    World world = {0};
    Setting setting = {.world = &world};
    Error error = {0};
    if (argc < 3 || argc + COUNT > MOST_SETS) return 2;
    setting.folder = argv[2];
    snprintf(data, sizeof data, "data=%.1000s", argv[1]);
    memcpy(sets, SETS, sizeof SETS);
    sets[COUNT] = data;
    for (int i = 3; i < argc; i++) sets[COUNT + i - 2] = argv[i];
    if (world_start(&world, &error)) fail("MPI", error.message);
    if (config_load(&setting.config, NULL, sets, COUNT + argc - 2, &error)) fail("settings", error.message);
    setting.last = world.size - 1 - (setting.config.coordinator == COORDINATOR_DEDICATED);
    runs(&setting);
    world_end(&world);
    return 0;
}
