#include "dist/train/coordinator_server.h"

#include <unistd.h>

#include "dist/train/coordinator_server_internal.h"
#include "dist/train/signals.h"

enum { KEEPER_BATCH = 32, IDLE_MICROSECONDS = 2000 };

typedef struct Keeper {
    const KeeperSetup *setup;
    RunVectors held; /* the newest snapshot */
    RunPosition position;
    RunVectors judging; /* what is being validated: weights and average */
    RunPosition judged; /* validated and best_* as they stand here */
    Order order;        /* received, and not a checkpoint: the next to be served */
    bool has_order;
    bool hurry;       /* the validation under way is to stop */
    bool signal_told; /* the leader knows that one came here, or needs to know no more */
    Model *models[2]; /* raw, averaged */
    int model_count;
    ShardedCheckpoint sharded;
} Keeper;

static Status keeper_create(Keeper *keeper, const KeeperSetup *setup, Error *error)
{
    const WriterConfig *writer = &setup->writer;
    WriterConfig weights = *writer;
    weights.moment1 = weights.moment2 = false;
    *keeper = (Keeper){.setup = setup, .model_count = writer->ema ? 2 : 1};
    Status status = run_vectors_allocate(&keeper->held, setup->table, writer, error);
    if (!status) status = run_vectors_allocate(&keeper->judging, setup->table, &weights, error);
    for (int i = 0; i < keeper->model_count && !status; i++)
        status = model_create(&keeper->models[i], &setup->config->model, KEEPER_BATCH, MODEL_EVAL, setup->pool, error);
    return status ? status : sharded_checkpoint_create(&keeper->sharded, setup->comm, setup->rank, writer, error);
}

static void keeper_free(Keeper *keeper)
{
    sharded_checkpoint_free(&keeper->sharded);
    for (int i = 0; i < 2; i++) model_free(keeper->models[i]);
    run_vectors_free(&keeper->judging);
    run_vectors_free(&keeper->held);
}

static RunPosition with_judgement(const Keeper *keeper, RunPosition position)
{
    position.validated = keeper->judged.validated;
    position.best_epoch = keeper->judged.best_epoch;
    position.best_top1 = keeper->judged.best_top1;
    return position;
}

/* ---- replies */

static void send_reply(const Keeper *keeper, const KeeperReply *reply)
{
    MPI_Send(reply, (int)sizeof *reply, MPI_BYTE, keeper->setup->leader, TAG_REPLY, keeper->setup->comm);
}

/* What the writer has done meanwhile. */
static void report(Keeper *keeper)
{
    Log *log = keeper->setup->log;
    KeeperReply reply = {.kind = REPLY_CHECKPOINT, .position = keeper->judged};
    WriterReport other;
    if (sharded_checkpoint_poll(&keeper->sharded, &reply.report)) send_reply(keeper, &reply);
    if (writer_collect(keeper->sharded.writer, WRITER_VALIDATED, &other)) {
        if (other.status) log_write(log, LOG_WARNING, "best.safetensors was not written: %s", other.error.message);
        if (other.unpruned[0]) log_write(log, LOG_WARNING, "%s", other.unpruned);
    }
    if (writer_collect(keeper->sharded.writer, WRITER_PENDING, &other) && other.status)
        log_write(log, LOG_WARNING, "if the run is killed before it is validated, this epoch will have no row: %s",
                  other.error.message);
}

/* Until the writer can take another job of that kind. */
static void free_job(Keeper *keeper, WriterJob job)
{
    if (!writer_busy(keeper->sharded.writer, job)) return;
    writer_wait(keeper->sharded.writer);
    report(keeper);
}

static void settle(Keeper *keeper)
{
    while (sharded_checkpoint_busy(&keeper->sharded)) {
        report(keeper);
        usleep(IDLE_MICROSECONDS);
    }
    writer_wait(keeper->sharded.writer);
    report(keeper);
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

/* Serves checkpoints at once; another order is kept for when this one is done, and then none more is taken. */
static void attend(Keeper *keeper)
{
    const KeeperSetup *setup = keeper->setup;
    int there = 0;
    report(keeper);
    if (signals_caught() && !keeper->signal_told) {
        const KeeperReply reply = {.kind = REPLY_SIGNAL};
        keeper->signal_told = true;
        send_reply(keeper, &reply);
    }
    if (!keeper->has_order) MPI_Iprobe(setup->leader, TAG_ORDER, setup->comm, &there, MPI_STATUS_IGNORE);
    if (!there) return;
    Order *order = &keeper->order;
    MPI_Recv(order, (int)sizeof *order, MPI_BYTE, setup->leader, TAG_ORDER, setup->comm, MPI_STATUS_IGNORE);
    if (order->snapshot) receive_snapshot(keeper, order);
    if (order->kind == ORDER_CHECKPOINT) {
        const RunPosition position = with_judgement(keeper, keeper->position);
        sharded_checkpoint_begin(&keeper->sharded, setup->pool, &keeper->held, &position);
    } else if (order->kind == ORDER_HURRY) {
        keeper->hurry = true;
    } else {
        keeper->has_order = true;
    }
}

static bool attend_and_ask(void *context)
{
    Keeper *keeper = context;
    attend(keeper);
    return keeper->hurry || signals_caught() || (keeper->has_order && keeper->order.kind == ORDER_QUIT);
}

/* The validation is in the leader's record; only then may a checkpoint say that it is done. */
static void recorded(Keeper *keeper, const RunPosition *position)
{
    const float *judged = keeper->judging.ema ? keeper->judging.ema : keeper->judging.weights;
    keeper->judged = *position;
    free_job(keeper, WRITER_VALIDATED);
    bool best = position->best_epoch == position->epoch - 1;
    writer_validated(keeper->sharded.writer, keeper->setup->pool, best ? judged : NULL, position);
}

static void validate(Keeper *keeper, const RunPosition *position)
{
    const KeeperSetup *setup = keeper->setup;
    EvaluateConfig config = {.comm = MPI_COMM_SELF,
                             .dataset = setup->validation,
                             .log = setup->log,
                             .pipeline = setup->config->pipeline,
                             .batch = KEEPER_BATCH,
                             .workers = setup->config->workers,
                             .pool = setup->pool,
                             .stop = attend_and_ask,
                             .context = keeper};
    KeeperReply reply = {.kind = REPLY_VALIDATION, .position = with_judgement(keeper, *position)};
    keeper->hurry = false;
    free_job(keeper, WRITER_PENDING);
    run_vectors_copy(setup->pool, &keeper->judging, &keeper->held, setup->table->size);
    writer_pending(keeper->sharded.writer, &keeper->judging, position);
    model_set_weights(keeper->models[0], keeper->judging.weights);
    if (keeper->model_count > 1) model_set_weights(keeper->models[1], keeper->judging.ema);
    reply.report.status = evaluate(&config, keeper->models, keeper->model_count, reply.results, &reply.report.error);
    if (!reply.report.status) coordinator_judge(&reply.position, &reply.results[keeper->model_count - 1]);
    send_reply(keeper, &reply);
}

static void finish(Keeper *keeper, const RunPosition *position)
{
    settle(keeper);
    keeper->signal_told = true; /* after its last reply the leader hears nothing */
    KeeperReply reply = {.kind = REPLY_FINISHED, .position = with_judgement(keeper, *position)};
    send_reply(keeper, &reply);
}

static Order next_order(Keeper *keeper)
{
    for (attend(keeper); !keeper->has_order; attend(keeper)) usleep(IDLE_MICROSECONDS);
    keeper->has_order = false;
    return keeper->order;
}

Status keeper_run(const KeeperSetup *setup, Error *error)
{
    Keeper keeper;
    Order order = {.kind = ORDER_BEGIN};
    Status status = keeper_create(&keeper, setup, error);
    status = world_agree(setup->comm, status, error);
    while (!status && order.kind != ORDER_QUIT) {
        order = next_order(&keeper);
        if (order.kind == ORDER_BEGIN) keeper.judged = order.position;
        if (order.kind == ORDER_VALIDATE) validate(&keeper, &order.position);
        if (order.kind == ORDER_RECORDED) recorded(&keeper, &order.position);
        if (order.kind == ORDER_FINISH) finish(&keeper, &order.position);
    }
    keeper_free(&keeper);
    return status;
}
