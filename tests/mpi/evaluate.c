/* evaluate.c: every image counts once on any number of ranks, and what one rank meets stops all.
 *
 *     mpirun -np N evaluate DATA
 */
#include <math.h>

#include "dist/train/evaluate.h"
#include "tests/mpi/tiny_run.h"

typedef struct Stopper {
    int rank, asked;
} Stopper;

static bool stop_second_time(void *context)
{
    Stopper *stopper = context;
    return stopper->rank == 0 && ++stopper->asked == 2;
}

static void check_counts(TinyRun *run, EvaluateConfig config)
{
    Evaluation together[1], alone[1];
    Error error = {0};
    config.comm = MPI_COMM_WORLD;
    NEED(evaluate(&config, &run->model, 1, together, &error) == STATUS_OK, "%s", error.message);
    config.comm = MPI_COMM_SELF;
    NEED(evaluate(&config, &run->model, 1, alone, &error) == STATUS_OK, "%s", error.message);
    NEED(together->count == dataset_count(run->images), "%lld images", (long long)together->count);
    NEED(together->top1 == alone->top1 && together->top5 == alone->top5, "other hits than one rank finds");
    NEED(fabs(together->loss - alone->loss) < 1e-6 * alone->loss, "loss %.9g, alone %.9g", together->loss, alone->loss);
}

/* Rank 0 has everybody's images in their order, the same as alone. */
static void check_predictions(TinyRun *run, EvaluateConfig config)
{
    int64_t count = dataset_count(run->images), hits = 0;
    Prediction *together = calloc((size_t)count, sizeof *together), *alone = calloc((size_t)count, sizeof *alone);
    Evaluation results[1];
    Error error = {0};
    NEED(together && alone, "no memory");
    config.comm = MPI_COMM_WORLD;
    config.predictions = together;
    NEED(evaluate(&config, &run->model, 1, results, &error) == STATUS_OK, "%s", error.message);
    config.comm = MPI_COMM_SELF;
    config.predictions = alone;
    NEED(evaluate(&config, &run->model, 1, results, &error) == STATUS_OK, "%s", error.message);
    for (int64_t i = 0; i < count && run->world.rank == 0; i++) {
        NEED(together[i].label == alone[i].label, "image %lld has label %lld, alone %lld", (long long)i,
             (long long)together[i].label, (long long)alone[i].label);
        for (int k = 0; k < PREDICTED; k++)
            NEED(fabs(together[i].top[k].probability - alone[i].top[k].probability) < 1e-5, "image %lld", (long long)i);
        hits += alone[i].top[0].class == alone[i].label;
    }
    NEED(run->world.rank > 0 || hits == results->top1, "%lld hits, counted %lld", (long long)hits,
         (long long)results->top1);
    free(together);
    free(alone);
}

static void check_stop(TinyRun *run, EvaluateConfig config)
{
    Stopper stopper = {.rank = run->world.rank};
    Evaluation results[1];
    Error error = {0};
    config.comm = MPI_COMM_WORLD;
    config.batch = 1;
    config.stop = stop_second_time;
    config.context = &stopper;
    NEED(evaluate(&config, &run->model, 1, results, &error) == STATUS_STOPPED, "%s", error.message);
}

/* A model of fewer classes than the data on the last rank alone. */
static void check_failure(TinyRun *run, EvaluateConfig config)
{
    Model *small;
    ModelConfig shape = run->config.model;
    Evaluation results[1];
    Error error = {0};
    if (run->world.rank == run->world.size - 1) shape.num_classes = 3;
    NEED(model_create(&small, &shape, TINY_BATCH, MODEL_EVAL, run->pool, &error) == STATUS_OK, "%s", error.message);
    config.comm = MPI_COMM_WORLD;
    NEED(evaluate(&config, &small, 1, results, &error) == STATUS_DATA, "%s", error.message);
    model_free(small);
}

int main(int argc, char **argv)
{
    TinyRun run = {0};
    if (argc != 2) return 2;
    tiny_run_open(&run, argv[1], NULL, 0, false);
    const EvaluateConfig config = {
        .dataset = run.images, .pipeline = run.config.pipeline, .log = &run.log, .batch = TINY_BATCH, .workers = 1};
    check_counts(&run, config);
    check_predictions(&run, config);
    check_stop(&run, config);
    check_failure(&run, config);
    tiny_run_close(&run);
    return 0;
}
