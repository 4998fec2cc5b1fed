#include "dist/train/coordinator_server.h"

#include <stdlib.h>
#include <unistd.h>

#include "core/base/memory.h"
#include "dist/checkpoint/sharded_checkpoint.h"
#include "dist/comm/world.h"
#include "dist/train/coordinator_internal.h"
#include "dist/train/coordinator_protocol.h"
#include "dist/train/signals.h"
#include "dist/train/step.h"

enum { SERVER_BATCH = 32, IDLE_MICROSECONDS = 2000 };

struct CoordinatorServer {
    CoordinatorSetup setup;
    CoordinatorFiles files;
    RunVectors snapshot; /* the newest */
    RunPosition position;
    RunVectors validating; /* weights and average of the validation under way */
    RunPosition best;      /* validated and best_* as they stand here */
    Request request;       /* received, and not a checkpoint: the next to be served */
    bool has_request;
    bool cancelled;   /* the validation under way is to stop */
    bool signal_sent; /* the client knows that one came here, or needs to know no more */
    Model *models[2]; /* raw, averaged */
    int model_count;
    ShardedCheckpoint sharded;
    Error error; /* what MPI said when the client could not be reached; then the server ends */
};

/* With `reproducible`, in the batches in which ranks that train would validate. */
static int server_batch(const Config *config)
{
    return config->reproducible > 0 ? train_micro_batch(config, 1) : SERVER_BATCH;
}

static Status create(CoordinatorServer *server, Error *error)
{
    const CoordinatorSetup *setup = &server->setup;
    const int parts = coordinator_sharded(setup) ? setup->world->size : 1;
    const CheckpointShare share = {.head = true,
                                   .moments = parts == 1,
                                   .end = setup->table->size,
                                   .parts = parts,
                                   .others = parts == 1 ? 0 : parts};
    Status status = coordinator_files(&server->files, setup, error);
    if (status) return status;
    const WriterConfig writer = coordinator_writer_config(setup, &server->files, &share);
    const RunVectorSet weights = {.weights = true, .ema = writer.vectors.ema};
    server->model_count = weights.ema ? 2 : 1;
    status = run_vectors_allocate(&server->snapshot, setup->table, &writer.vectors, error);
    if (!status) status = run_vectors_allocate(&server->validating, setup->table, &weights, error);
    for (int i = 0; i < server->model_count && !status; i++)
        status = model_create(&server->models[i], &setup->config->model, server_batch(setup->config), MODEL_EVAL,
                              setup->pool, error);
    return status ? status : sharded_checkpoint_create(&server->sharded, setup->job, setup->server, &writer, error);
}

Status coordinator_server_create(CoordinatorServer **out, const CoordinatorSetup *setup, Error *error)
{
    CoordinatorServer *server = memory_alloc(1, sizeof *server, "the coordinator's server", error);
    *out = NULL;
    if (!server) return STATUS_FAILED;
    server->setup = *setup;
    Status status = create(server, error);
    if (status) {
        coordinator_server_free(server);
        return status;
    }
    *out = server;
    return STATUS_OK;
}

void coordinator_server_free(CoordinatorServer *server)
{
    if (!server) return;
    sharded_checkpoint_free(&server->sharded);
    for (int i = 0; i < 2; i++) model_free(server->models[i]);
    run_vectors_free(&server->validating);
    run_vectors_free(&server->snapshot);
    free(server->files.config);
    free(server);
}

static RunPosition with_best(const CoordinatorServer *server, RunPosition position)
{
    position.validated = server->best.validated;
    position.best_epoch = server->best.best_epoch;
    position.best_top1 = server->best.best_top1;
    return position;
}

/* ---- responses */

static void respond(CoordinatorServer *server, const Response *response)
{
    if (server->error.status) return;
    int code = MPI_Send(response, (int)sizeof *response, MPI_BYTE, CLIENT_RANK, TAG_RESPONSE, server->setup.job);
    if (code != MPI_SUCCESS) world_mpi_failed(code, "a response of the coordinator", &server->error);
}

/* What the writer has done meanwhile. */
static void report_writes(CoordinatorServer *server)
{
    Log *log = server->setup.log;
    Response response = {.kind = RESPONSE_CHECKPOINT, .position = server->best};
    WriterReport other;
    if (sharded_checkpoint_poll(&server->sharded, &response.report)) respond(server, &response);
    if (writer_collect(server->sharded.writer, WRITER_VALIDATED, &other)) coordinator_log_best(log, &other);
    if (writer_collect(server->sharded.writer, WRITER_PENDING, &other) && other.status)
        log_write(log, LOG_WARNING, "if the run is killed before it is validated, this epoch will have no row: %s",
                  other.error.message);
}

static void report_signal(CoordinatorServer *server)
{
    if (!signals_caught() || server->signal_sent) return;
    const Response response = {.kind = RESPONSE_SIGNAL};
    server->signal_sent = true;
    respond(server, &response);
}

/* Until the writer can take another job of that kind. */
static void wait_for_job(CoordinatorServer *server, WriterJob job)
{
    if (!writer_busy(server->sharded.writer, job)) return;
    writer_wait(server->sharded.writer);
    report_writes(server);
}

static void drain(CoordinatorServer *server)
{
    while (sharded_checkpoint_busy(&server->sharded)) {
        report_writes(server);
        usleep(IDLE_MICROSECONDS);
    }
    writer_wait(server->sharded.writer);
    report_writes(server);
}

/* ---- requests */

static bool receive_part(CoordinatorServer *server, void *part, int count, MPI_Datatype type, int tag)
{
    int code = MPI_Recv(part, count, type, CLIENT_RANK, tag, server->setup.job, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) world_mpi_failed(code, "a request to the coordinator", &server->error);
    return code == MPI_SUCCESS;
}

static void receive_snapshot(CoordinatorServer *server, const Request *request)
{
    float *parts[SNAPSHOT_VECTORS] = {server->snapshot.weights, server->snapshot.ema, server->snapshot.moment1,
                                      server->snapshot.moment2};
    for (int i = 0; i < SNAPSHOT_VECTORS; i++)
        if (parts[i] && !receive_part(server, parts[i], (int)server->setup.table->size, MPI_FLOAT, TAG_VECTOR)) return;
    server->position = request->position;
}

/* Begins checkpoints at once; another request is kept for when this one is done, and then none more is taken. */
static void poll_requests(CoordinatorServer *server)
{
    const CoordinatorSetup *setup = &server->setup;
    int there = 0, code = MPI_SUCCESS;
    report_writes(server);
    report_signal(server);
    if (!server->has_request) code = MPI_Iprobe(CLIENT_RANK, TAG_REQUEST, setup->job, &there, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) world_mpi_failed(code, "asking for requests to the coordinator", &server->error);
    if (!there || server->error.status) return;
    Request *request = &server->request;
    if (!receive_part(server, request, (int)sizeof *request, MPI_BYTE, TAG_REQUEST)) return;
    if (request->snapshot) receive_snapshot(server, request);
    if (server->error.status) return;
    if (request->kind == REQUEST_CHECKPOINT) {
        const RunPosition position = with_best(server, server->position);
        sharded_checkpoint_begin(&server->sharded, setup->pool, &server->snapshot, &position);
    } else if (request->kind == REQUEST_CANCEL) {
        server->cancelled = true;
    } else {
        server->has_request = true;
    }
}

/* Asked between the batches of a validation. */
static bool validation_ends(void *context)
{
    CoordinatorServer *server = context;
    poll_requests(server);
    return server->error.status || server->cancelled || signals_caught() ||
           (server->has_request && server->request.kind == REQUEST_QUIT);
}

/* The validation is in the client's record; only then may a checkpoint say that it is done. */
static void acknowledged(CoordinatorServer *server, const RunPosition *position)
{
    const float *weights = server->validating.ema ? server->validating.ema : server->validating.weights;
    server->best = *position;
    wait_for_job(server, WRITER_VALIDATED);
    bool better = position->best_epoch == position->epoch - 1;
    writer_validated(server->sharded.writer, server->setup.pool, better ? weights : NULL, position);
}

static void validate(CoordinatorServer *server, const RunPosition *position)
{
    const CoordinatorSetup *setup = &server->setup;
    EvaluateConfig config = {.comm = MPI_COMM_SELF,
                             .dataset = setup->validation,
                             .log = setup->log,
                             .pipeline = setup->config->pipeline,
                             .batch = server_batch(setup->config),
                             .workers = setup->config->workers,
                             .pool = setup->pool,
                             .stop = validation_ends,
                             .context = server};
    Response response = {.kind = RESPONSE_VALIDATION, .position = with_best(server, *position)};
    server->cancelled = false;
    wait_for_job(server, WRITER_PENDING);
    run_vectors_copy(setup->pool, &server->validating, &server->snapshot, setup->table->size);
    writer_pending(server->sharded.writer, &server->validating, position);
    model_set_weights(server->models[0], server->validating.weights);
    if (server->model_count > 1) model_set_weights(server->models[1], server->validating.ema);
    response.report.status =
        evaluate(&config, server->models, server->model_count, response.results, &response.report.error);
    if (!response.report.status)
        coordinator_update_best(&response.position, &response.results[server->model_count - 1]);
    respond(server, &response);
}

static void finish(CoordinatorServer *server, const RunPosition *position)
{
    drain(server);
    server->signal_sent = true; /* after its last response the client hears nothing */
    Response response = {.kind = RESPONSE_FINISHED, .position = with_best(server, *position)};
    respond(server, &response);
}

static Request next_request(CoordinatorServer *server)
{
    for (poll_requests(server); !server->has_request && !server->error.status; poll_requests(server))
        usleep(IDLE_MICROSECONDS);
    server->has_request = false;
    return server->request;
}

Status coordinator_server_run(CoordinatorServer *server, Error *error)
{
    Request request = {.kind = REQUEST_BEGIN};
    while (request.kind != REQUEST_QUIT) {
        request = next_request(server);
        if (server->error.status) return error_set(error, server->error.status, "%s", server->error.message);
        if (request.kind == REQUEST_BEGIN) server->best = request.position;
        if (request.kind == REQUEST_VALIDATE) validate(server, &request.position);
        if (request.kind == REQUEST_ACK) acknowledged(server, &request.position);
        if (request.kind == REQUEST_FINISH) finish(server, &request.position);
    }
    return STATUS_OK;
}
