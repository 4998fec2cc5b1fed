/* replica.c: the steps of a run: one rank's result on any number of them, and whatever stops one rank stops all before
 * the update.
 *
 *     mpirun -np N replica DATA [key=value]...
 */
#include <math.h>

#include "dist/train/replica.h"
#include "tests/mpi/tiny_run.h"

enum { STEPS = 6 }; /* beyond an epoch, which has 4 */

static const StepRequest NOTHING = {0};

static void replica_open(Replica *replica, const TinyRun *run, const World *world, RunPosition *position)
{
    Error error = {0};
    NEED(replica_create(replica, &run->config, world, run->images, run->pool, NULL, &error) == STATUS_OK, "%s",
         error.message);
    NEED(replica->epoch_steps == 4, "%lld steps", (long long)replica->epoch_steps);
    params_init(replica->step.table, 1, replica->step.vectors.weights);
    *position = (RunPosition){.global_batch = TINY_BATCH, .best_epoch = -1};
    NEED(replica_start(replica, position, &error) == STATUS_OK, "%s", error.message);
}

/* The same on all ranks, bit for bit. */
static void need_same(const TinyRun *run, const void *value, size_t bytes, const char *what)
{
    void *roots = malloc(bytes);
    memcpy(roots, value, bytes);
    MPI_Bcast(roots, (int)bytes, MPI_BYTE, 0, run->world.comm);
    NEED(memcmp(roots, value, bytes) == 0, "rank %d has other %s than rank 0", run->world.rank, what);
    free(roots);
}

static void step_well(Replica *replica, RunPosition *position, const StepRequest *request, StepResult *result)
{
    Error error = {0};
    NEED(replica_step(replica, position, request, result, &error) == STATUS_OK, "%s", error.message);
    NEED(!result->stop, "nobody asked for it");
}

static void check_steps(TinyRun *run)
{
    const World lone = {.comm = MPI_COMM_SELF, .size = 1, .local_size = 1, .node_count = 1};
    Replica together, alone;
    RunPosition position, position_alone;
    replica_open(&together, run, &run->world, &position);
    replica_open(&alone, run, &lone, &position_alone);
    for (int i = 0; i < STEPS; i++) {
        StepResult result, expected;
        RunPosition next = replica_next(&together, &position);
        step_well(&together, &position, &NOTHING, &result);
        step_well(&alone, &position_alone, &NOTHING, &expected);
        NEED(memcmp(&next, &position, sizeof next) == 0 && memcmp(&next, &position_alone, sizeof next) == 0, "step %d",
             i);
        NEED(position.step == i + 1 && position.epoch == (i + 1) / 4 && position.epoch_step == (i + 1) % 4, "step %d",
             i);
        NEED(result.stats.step == i + 1 && result.stats.epoch == i / 4 && !result.checkpoint, "step %d", i);
        NEED(fabs(result.stats.loss - expected.stats.loss) < 1e-4 * expected.stats.loss,
             "step %d: loss %.9g, alone %.9g", i, result.stats.loss, expected.stats.loss);
        NEED(fabs(result.stats.grad_norm - expected.stats.grad_norm) < 1e-3 * expected.stats.grad_norm,
             "step %d: norm %.9g, alone %.9g", i, result.stats.grad_norm, expected.stats.grad_norm);
        need_same(run, &result.stats.loss, sizeof(double), "loss");
        need_same(run, together.step.vectors.weights, (size_t)together.step.table->size * sizeof(float), "weights");
    }
    replica_free(&alone);
    replica_free(&together);
}

/* One rank's wish is everybody's. */
static void check_checkpoint(TinyRun *run, Replica *replica, RunPosition *position)
{
    StepResult result;
    const StepRequest request = {.checkpoint = run->world.rank == 0};
    step_well(replica, position, &request, &result);
    NEED(result.checkpoint, "rank 0 wanted one");
}

/* The step failed or was dropped: weights and position are those before it, and the run can go on from there. */
static void need_unchanged(Replica *replica, const RunPosition *position, const RunPosition *before,
                           const float *weights)
{
    Error error = {0};
    NEED(memcmp(position, before, sizeof *before) == 0, "the position moved");
    NEED(memcmp(replica->step.vectors.weights, weights, (size_t)replica->step.table->size * sizeof(float)) == 0,
         "the weights moved");
    NEED(replica_start(replica, position, &error) == STATUS_OK, "%s", error.message);
}

static void check_refusals(TinyRun *run, Replica *replica, RunPosition *position)
{
    const size_t bytes = (size_t)replica->step.table->size * sizeof(float);
    const bool last = run->world.rank == run->world.size - 1;
    const RunPosition before = *position;
    float *weights = malloc(bytes), *own = replica->step.vectors.weights;
    StepResult result;
    Error error = {0};
    memcpy(weights, own, bytes);

    const StepRequest stop = {.stop = last};
    NEED(replica_step(replica, position, &stop, &result, &error) == STATUS_OK && result.stop, "%s", error.message);
    need_unchanged(replica, position, &before, weights);

    const StepRequest ill = {.health = last ? error_set(&error, STATUS_DATA, "the last rank is ill") : STATUS_OK};
    NEED(replica_step(replica, position, &ill, &result, &error) == STATUS_DATA, "%s", error.message);
    NEED(strstr(error.message, "the last rank is ill"), "%s", error.message);
    need_unchanged(replica, position, &before, weights);

    RunPosition other = before;
    other.epoch_step++;
    error = (Error){0};
    NEED(replica_step(replica, &other, &NOTHING, &result, &error) == STATUS_FAILED, "%s", error.message);
    NEED(strstr(error.message, "is due"), "%s", error.message);
    need_unchanged(replica, position, &before, weights);

    error = (Error){0};
    const Param *bias = params_find(replica->step.table, "head.bias");
    if (last) own[bias->offset] = NAN;
    model_set_weights(replica->step.model, own);
    NEED(replica_step(replica, position, &NOTHING, &result, &error) == STATUS_FAILED, "%s", error.message);
    NEED(strstr(error.message, "the gradient of ") && strstr(error.message, "the weights were not changed"), "%s",
         error.message);
    if (last) own[bias->offset] = weights[bias->offset];
    need_unchanged(replica, position, &before, weights);

    step_well(replica, position, &NOTHING, &result);
    NEED(memcmp(own, weights, bytes) != 0, "a step moves the weights");
    free(weights);
}

int main(int argc, char **argv)
{
    TinyRun run = {0};
    Replica replica;
    RunPosition position;
    if (argc < 2 || argc > 6) return 2;
    tiny_run_open(&run, argv[1], (const char *const *)argv + 2, argc - 2, false);
    check_steps(&run);
    replica_open(&replica, &run, &run.world, &position);
    check_checkpoint(&run, &replica, &position);
    check_refusals(&run, &replica, &position);
    replica_free(&replica);
    tiny_run_close(&run);
    return 0;
}
