#include "dist/train/evaluate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "dist/comm/world.h"
#include "dist/train/signals.h"

enum { MAX_MODELS = 2, SUMS = 4 };
static const double MAX_BAD_SHARE = 0.01;

typedef struct Work { /* one rank's */
    Pool *pool;
    Loader *loader;
    float *logits, *targets; /* (batch, classes) */
    int classes;
    int64_t *confusion;            /* or NULL */
    Prediction *predictions;       /* or NULL; of all images */
    double sums[MAX_MODELS][SUMS]; /* count, top1, top5, loss; counts are exact in a double */
} Work;

void share_range(int64_t total, int64_t unit, int rank, int ranks, int64_t *begin, int64_t *end)
{
    int64_t units = total / unit;
    *begin = units * rank / ranks * unit;
    *end = rank == ranks - 1 ? total : units * (rank + 1) / ranks * unit;
}

static Status check_labels(const Batch *batch, int classes, Error *error)
{
    for (int i = 0; i < batch->count; i++)
        if (batch->labels[i] < 0 || batch->labels[i] >= classes)
            return error_set(error, STATUS_DATA,
                             "image %" PRId64 " has label %" PRId64 "; the model knows classes 0 to %d",
                             batch->indices[i], batch->labels[i], classes - 1);
    return STATUS_OK;
}

/* A multiple of 2^-30, far below what a float's loss resolves: up to 8 million in all, sums of such numbers are exact in a
 * double, so they do not depend on their order or on who adds what. */
static double exactly_summable(double loss)
{
    return isfinite(loss) ? ldexp(nearbyint(ldexp(loss, 30)), -30) : loss;
}

/* Ties go to the lower class, as in loss_topk. */
static void add_confusion(const Work *work, const Batch *batch, int64_t *confusion)
{
    for (int i = 0; i < batch->count; i++) {
        const float *logits = work->logits + (size_t)i * (size_t)work->classes;
        int best = 0;
        for (int c = 1; c < work->classes; c++)
            if (logits[c] > logits[best]) best = c;
        confusion[batch->labels[i] * work->classes + best]++;
    }
}

static void add_predictions(const Work *work, const Batch *batch)
{
    for (int i = 0; i < batch->count; i++) {
        Prediction *prediction = &work->predictions[batch->indices[i]];
        prediction->label = batch->labels[i];
        loss_likeliest(work->logits + (size_t)i * (size_t)work->classes, work->classes, PREDICTED, prediction->top);
    }
}

/* Sums of a batch that a signal cut short are of no use, and not used. */
static void add_batch(Work *work, Model *const *models, int count, const Batch *batch)
{
    loss_smooth_targets(batch->labels, batch->count, work->classes, 0, work->targets);
    ModelInput input = {.count = batch->count, .images = batch->images};
    for (int i = 0; i < count; i++) {
        double *sums = work->sums[i];
        if (work->pool) pool_stop_when(work->pool, signals_flag());
        model_forward(models[i], &input, work->logits);
        if (work->pool) pool_stop_when(work->pool, NULL);
        sums[0] += batch->count;
        sums[1] += loss_topk(work->logits, batch->labels, batch->count, work->classes, 1);
        sums[2] += loss_topk(work->logits, batch->labels, batch->count, work->classes, 5);
        sums[3] +=
            exactly_summable(loss_soft_target(work->logits, work->targets, batch->count, work->classes, 1, NULL));
        if (i == 0 && work->confusion) add_confusion(work, batch, work->confusion);
        if (i == 0 && work->predictions) add_predictions(work, batch);
    }
}

static Status evaluate_batch(Work *work, Model *const *models, int count, bool *ended, Error *error)
{
    Batch *batch = NULL;
    Status status = loader_next(work->loader, &batch, error);
    if (status) return status;
    *ended = !batch;
    if (!batch) return STATUS_OK;
    status = check_labels(batch, work->classes, error);
    if (!status) add_batch(work, models, count, batch);
    loader_release(work->loader, batch);
    return status;
}

/* The largest of the ranks' statuses; all ranks return the same. */
static Status agree(const EvaluateConfig *config, Status status, Error *error)
{
    int mine = status, worst = 0;
    if (!mine && config->stop && config->stop(config->context)) mine = STATUS_STOPPED;
    int code = MPI_Allreduce(&mine, &worst, 1, MPI_INT, MPI_MAX, config->comm);
    return code == MPI_SUCCESS ? (Status)worst : world_mpi_failed(code, "agreeing on a validation", error);
}

static Status sum_over_ranks(Work *work, const EvaluateConfig *config, Error *error)
{
    int code = MPI_Allreduce(MPI_IN_PLACE, work->sums, MAX_MODELS * SUMS, MPI_DOUBLE, MPI_SUM, config->comm);
    if (code == MPI_SUCCESS && config->confusion)
        code = MPI_Allreduce(MPI_IN_PLACE, config->confusion, work->classes * work->classes, MPI_INT64_T, MPI_SUM,
                             config->comm);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "adding up a validation", error);
}

static Status work_create(Work *work, const EvaluateConfig *config, int classes, int64_t begin, int64_t end,
                          Error *error)
{
    LoaderConfig loader = {.pipeline = config->pipeline,
                           .begin = begin,
                           .end = end,
                           .batch = config->batch,
                           .classes = classes,
                           .workers = config->workers,
                           .depth = 3,
                           .max_bad_share = MAX_BAD_SHARE};
    const size_t row = (size_t)classes * sizeof(float);
    work->classes = classes;
    work->logits = memory_alloc(config->batch, row, "validation", error);
    work->targets = memory_alloc(config->batch, row, "validation", error);
    if (!work->logits || !work->targets) return STATUS_FAILED;
    if (dataset_classes(config->dataset) > classes)
        return error_set(error, STATUS_DATA, "the data set has %d classes and the model %d: set num_classes",
                         dataset_classes(config->dataset), classes);
    Status status = loader_create(&work->loader, config->dataset, &loader, error);
    return status ? status : loader_start(work->loader, 0, 0, error);
}

/* Every rank's part to rank 0. */
static Status gather_predictions(const EvaluateConfig *config, int64_t unit, int rank, int ranks, Error *error)
{
    MPI_Datatype type;
    int code = MPI_Type_contiguous(sizeof(Prediction), MPI_BYTE, &type);
    if (code == MPI_SUCCESS) code = MPI_Type_commit(&type);
    if (code != MPI_SUCCESS) return world_mpi_failed(code, "gathering predictions", error);
    for (int r = 1; r < ranks && code == MPI_SUCCESS; r++) {
        int64_t begin, end;
        share_range(dataset_count(config->dataset), unit, r, ranks, &begin, &end);
        Prediction *part = config->predictions + begin;
        if (rank == r) code = MPI_Send(part, (int)(end - begin), type, 0, 0, config->comm);
        if (rank == 0) code = MPI_Recv(part, (int)(end - begin), type, r, 0, config->comm, MPI_STATUS_IGNORE);
    }
    MPI_Type_free(&type);
    return code == MPI_SUCCESS ? STATUS_OK : world_mpi_failed(code, "gathering predictions", error);
}

/* Images that stay like this cannot be used. */
static void clear_predictions(Prediction *predictions, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        predictions[i] = (Prediction){.label = -1};
        for (int k = 0; k < PREDICTED; k++) predictions[i].top[k].class = -1;
    }
}

Status evaluate(const EvaluateConfig *config, Model *const *models, int count, Evaluation *results, Error *error)
{
    int rank, ranks;
    MPI_Comm_rank(config->comm, &rank);
    MPI_Comm_size(config->comm, &ranks);
    int64_t images = dataset_count(config->dataset), begin, end, most = 0, unit = config->unit > 0 ? config->unit : 1;
    for (int i = 0; i < ranks; i++) {
        share_range(images, unit, i, ranks, &begin, &end);
        if (end - begin > most) most = end - begin;
    }
    share_range(images, unit, rank, ranks, &begin, &end);
    Work work = {.pool = config->pool, .confusion = config->confusion, .predictions = config->predictions};
    if (config->predictions) clear_predictions(config->predictions + begin, end - begin);
    bool ended = begin == end;
    Status status = work_create(&work, config, model_config(models[0])->num_classes, begin, end, error);
    status = agree(config, status, error);
    for (int64_t done = 0; !status && done < most; done += config->batch) {
        Status mine = ended ? STATUS_OK : evaluate_batch(&work, models, count, &ended, error);
        status = agree(config, mine, error);
        int64_t seen = (done + config->batch) * ranks;
        if (!status && config->progress) config->progress(config->context, seen < images ? seen : images, images);
    }
    if (!status) status = sum_over_ranks(&work, config, error);
    if (!status && config->predictions) status = gather_predictions(config, unit, rank, ranks, error);
    if (!status) {
        for (int i = 0; i < count; i++)
            results[i] = (Evaluation){(int64_t)work.sums[i][0], (int64_t)work.sums[i][1], (int64_t)work.sums[i][2],
                                      work.sums[i][3]};
        LoaderCounts counts = loader_counts(work.loader);
        if (counts.bad)
            log_write(config->log, LOG_WARNING,
                      "%" PRId64 " validation images cannot be used and are left out, the first: %s", counts.bad,
                      counts.bad_example);
    }
    loader_free(work.loader);
    free(work.targets);
    free(work.logits);
    return status;
}

double evaluation_top1(const Evaluation *evaluation)
{
    return evaluation->count ? 100.0 * (double)evaluation->top1 / (double)evaluation->count : 0;
}

double evaluation_top5(const Evaluation *evaluation)
{
    return evaluation->count ? 100.0 * (double)evaluation->top5 / (double)evaluation->count : 0;
}

double evaluation_loss(const Evaluation *evaluation)
{
    return evaluation->count ? evaluation->loss / (double)evaluation->count : 0;
}
