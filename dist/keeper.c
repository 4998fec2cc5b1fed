#include "dist/keeper.h"

#include <stdlib.h>
#include <unistd.h>

#include "dist/keeper_internal.h"

enum { KEEPER_BATCH = 32, IDLE_MICROSECONDS = 2000 };

typedef struct Keeper {
    const KeeperSetup *setup;
    RunVectors held; /* the newest snapshot */
    RunPosition position;
    RunPosition judged; /* validated and best_* as they stand here */
    int64_t proved;
    Model *models[2]; /* raw, averaged */
    int model_count;
    CheckpointWriter *writer;
} Keeper;

static Status keeper_create(Keeper *keeper, const KeeperSetup *setup, Error *error)
{
    const WriterConfig *writer = &setup->writer;
    *keeper = (Keeper){.setup = setup, .proved = -1, .model_count = writer->ema ? 2 : 1};
    Status status =
        run_vectors_allocate(&keeper->held, setup->table, writer->ema, writer->moment1, writer->moment2, error);
    for (int i = 0; i < keeper->model_count && !status; i++)
        status = model_create(&keeper->models[i], &setup->config->model, KEEPER_BATCH, MODEL_EVAL, setup->pool, error);
    return status ? status : writer_create(&keeper->writer, writer, error);
}

static void keeper_free(Keeper *keeper)
{
    writer_free(keeper->writer);
    for (int i = 0; i < 2; i++) model_free(keeper->models[i]);
    run_vectors_free(&keeper->held);
}

/* ---- replies */

static void send_reply(const Keeper *keeper, const KeeperReply *reply)
{
    MPI_Send(reply, (int)sizeof *reply, MPI_BYTE, keeper->setup->leader, TAG_REPLY, keeper->setup->comm);
}

static void report_checkpoint(Keeper *keeper)
{
    KeeperReply reply = {.kind = REPLY_CHECKPOINT, .position = keeper->judged};
    if (!writer_collect(keeper->writer, WRITER_CHECKPOINT, &reply.report)) return;
    if (!reply.report.status) keeper->proved = reply.report.step;
    send_reply(keeper, &reply);
}

static void report_validated(Keeper *keeper)
{
    WriterReport report;
    if (writer_collect(keeper->writer, WRITER_VALIDATED, &report) && report.status)
        log_write(keeper->setup->log, LOG_WARNING, "best.safetensors was not written: %s", report.error.message);
}

static void settle(Keeper *keeper)
{
    writer_wait(keeper->writer);
    report_checkpoint(keeper);
    report_validated(keeper);
}

/* ---- orders */

static void receive_snapshot(Keeper *keeper, const Order *order)
{
    float *parts[KEEPER_VECTORS] = {keeper->held.weights, keeper->held.ema, keeper->held.moment1, keeper->held.moment2};
    for (int i = 0; i < KEEPER_VECTORS; i++)
        if (parts[i])
            MPI_Recv(parts[i], (int)keeper->setup->table->size, MPI_FLOAT, keeper->setup->leader, TAG_VECTOR,
                     keeper->setup->comm, MPI_STATUS_IGNORE);
    keeper->position = order->position;
}

static RunPosition judged_position(const Keeper *keeper)
{
    RunPosition position = keeper->position;
    position.validated = keeper->judged.validated;
    position.best_epoch = keeper->judged.best_epoch;
    position.best_top1 = keeper->judged.best_top1;
    return position;
}

static void begin_checkpoint(Keeper *keeper)
{
    const RunPosition position = judged_position(keeper);
    settle(keeper);
    writer_checkpoint(keeper->writer, keeper->setup->pool, &keeper->held, &position);
}

static bool told_to_hurry(void *context)
{
    const Keeper *keeper = context;
    int there;
    MPI_Iprobe(keeper->setup->leader, TAG_HURRY, keeper->setup->comm, &there, MPI_STATUS_IGNORE);
    return there;
}

static void validate(Keeper *keeper)
{
    const KeeperSetup *setup = keeper->setup;
    EvaluateConfig config = {.comm = MPI_COMM_SELF,
                             .dataset = setup->validation,
                             .log = setup->log,
                             .pipeline = setup->config->pipeline,
                             .batch = KEEPER_BATCH,
                             .workers = setup->config->workers,
                             .stop = told_to_hurry,
                             .context = keeper};
    KeeperReply reply = {.kind = REPLY_VALIDATION};
    model_set_weights(keeper->models[0], keeper->held.weights);
    if (keeper->model_count > 1) model_set_weights(keeper->models[1], keeper->held.ema);
    reply.report.status = evaluate(&config, keeper->models, keeper->model_count, reply.results, &reply.report.error);
    if (!reply.report.status) {
        double top1 = evaluation_top1(&reply.results[keeper->model_count - 1]);
        bool better = keeper->judged.best_epoch < 0 || top1 > keeper->judged.best_top1;
        keeper->judged.validated = keeper->position.epoch;
        if (better) {
            keeper->judged.best_epoch = keeper->position.epoch - 1;
            keeper->judged.best_top1 = top1;
        }
        const float *judged = keeper->held.ema ? keeper->held.ema : keeper->held.weights;
        settle(keeper);
        const RunPosition position = judged_position(keeper);
        writer_validated(keeper->writer, setup->pool, better ? judged : NULL, &position);
    }
    reply.position = judged_position(keeper);
    send_reply(keeper, &reply);
}

static void finish(Keeper *keeper, const Order *order)
{
    KeeperReply reply = {.kind = REPLY_FINISHED};
    settle(keeper);
    if (keeper->proved != order->position.step) {
        const RunPosition position = judged_position(keeper);
        writer_checkpoint(keeper->writer, keeper->setup->pool, &keeper->held, &position);
        writer_wait(keeper->writer);
        writer_collect(keeper->writer, WRITER_CHECKPOINT, &reply.report);
        if (!reply.report.status) keeper->proved = order->position.step;
    }
    reply.position = judged_position(keeper);
    send_reply(keeper, &reply);
}

static void next_order(Keeper *keeper, Order *order)
{
    const KeeperSetup *setup = keeper->setup;
    for (int there = 0; !there;) {
        MPI_Iprobe(setup->leader, TAG_ORDER, setup->comm, &there, MPI_STATUS_IGNORE);
        if (there) break;
        report_checkpoint(keeper);
        report_validated(keeper);
        usleep(IDLE_MICROSECONDS);
    }
    MPI_Recv(order, (int)sizeof *order, MPI_BYTE, setup->leader, TAG_ORDER, setup->comm, MPI_STATUS_IGNORE);
    if (order->snapshot) receive_snapshot(keeper, order);
    if (order->hurry) MPI_Recv(NULL, 0, MPI_BYTE, setup->leader, TAG_HURRY, setup->comm, MPI_STATUS_IGNORE);
}

Status keeper_run(const KeeperSetup *setup, Error *error)
{
    Keeper keeper;
    Order order = {.kind = ORDER_BEGIN};
    Status status = keeper_create(&keeper, setup, error);
    status = coordinator_agree(setup->comm, status, error);
    while (!status && order.kind != ORDER_QUIT) {
        next_order(&keeper, &order);
        switch (order.kind) {
        case ORDER_BEGIN:
            keeper.judged = order.position;
            break;
        case ORDER_CHECKPOINT:
            begin_checkpoint(&keeper);
            break;
        case ORDER_VALIDATE:
            validate(&keeper);
            break;
        case ORDER_FINISH:
            finish(&keeper, &order);
            break;
        case ORDER_QUIT:
            break;
        }
    }
    keeper_free(&keeper);
    return status;
}
