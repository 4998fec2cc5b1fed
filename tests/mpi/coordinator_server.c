/* coordinator_server.c: what rank 0, the client, sends the server, and what comes back.
 *
 *     mpirun -np 2 coordinator_server DATA FOLDER
 */
#include <signal.h>
#include <unistd.h>

#include "core/base/file.h"
#include "dist/train/coordinator_client.h"
#include "dist/train/coordinator_server.h"
#include "dist/train/signals.h"
#include "tests/mpi/tiny_run.h"

enum { SERVER = 1 };

static const char *folder;

static bool is_there(const char *name)
{
    char path[PATH_SIZE];
    return file_exists(tiny_path(path, folder, name));
}

static Response expect(CoordinatorClient *client, ResponseKind kind)
{
    Response response;
    NEED(coordinator_client_response(client, &response, true), "nothing came");
    NEED(response.kind == kind, "response %d", (int)response.kind);
    return response;
}

static void check_checkpoint(TinyRun *run, CoordinatorClient *client, const RunPosition *position)
{
    char path[PATH_SIZE];
    Checkpoint checkpoint;
    Error error = {0};
    coordinator_client_request(client, run->pool, REQUEST_CHECKPOINT, &run->vectors, position);
    NEED(coordinator_client_step(client) == position->step, "step %lld", (long long)coordinator_client_step(client));
    Response response = expect(client, RESPONSE_CHECKPOINT);
    NEED(response.report.status == STATUS_OK && response.report.step == position->step, "%s",
         response.report.error.message);
    tiny_path(path, folder, "checkpoints/step-00000010");
    NEED(checkpoint_open(&checkpoint, path, &error) == STATUS_OK, "%s", error.message);
    checkpoint_close(&checkpoint);
}

static void check_validation(TinyRun *run, CoordinatorClient *client, const RunPosition *position)
{
    Evaluation alone[1];
    Error error = {0};
    const EvaluateConfig config = {.comm = MPI_COMM_SELF,
                                   .dataset = run->images,
                                   .pipeline = run->config.pipeline,
                                   .log = &run->log,
                                   .batch = TINY_BATCH,
                                   .workers = 1};
    NEED(evaluate(&config, &run->model, 1, alone, &error) == STATUS_OK, "%s", error.message);
    coordinator_client_request(client, run->pool, REQUEST_VALIDATE, NULL, position); /* the snapshot sent last */
    Response response = expect(client, RESPONSE_VALIDATION);
    NEED(response.report.status == STATUS_OK, "%s", response.report.error.message);
    NEED(response.results[0].count == alone->count && response.results[0].top1 == alone->top1, "other results");
    NEED(response.position.validated == 1 && response.position.best_epoch == 0, "the first is the best");
    NEED(!is_there("best.safetensors"), "nothing of it before it is in the record");
    coordinator_client_request(client, run->pool, REQUEST_ACK, NULL, &response.position);
}

/* A validation is cancelled, or is through already when the request comes. */
static void check_cancel(TinyRun *run, CoordinatorClient *client, RunPosition position)
{
    position.epoch++;
    coordinator_client_request(client, run->pool, REQUEST_VALIDATE, NULL, &position);
    coordinator_client_request(client, run->pool, REQUEST_CANCEL, NULL, &position);
    Status status = expect(client, RESPONSE_VALIDATION).report.status;
    NEED(status == STATUS_STOPPED || status == STATUS_OK, "status %d", (int)status);
}

/* A server that is no rank of the communicator: MPI says so, nobody waits, and nothing more is sent. */
static void check_unreachable(TinyRun *run, const CoordinatorSetup *setup)
{
    enum { NOBODY = 7 };
    CoordinatorClient *client;
    Response response;
    MPI_Comm comm;
    Error error = {0};
    MPI_Comm_dup(MPI_COMM_SELF, &comm);
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
    Status status = coordinator_client_create(&client, comm, NOBODY, setup->table, &run->vectors, false, &error);
    NEED(status == STATUS_OK && coordinator_client_status(client, &error) == STATUS_OK, "%s", error.message);
    coordinator_client_request(client, run->pool, REQUEST_CHECKPOINT, &run->vectors, &(RunPosition){0});
    NEED(coordinator_client_status(client, &error) == STATUS_FAILED, "the request went somewhere");
    NEED(strstr(error.message, "MPI: sending to the coordinator: "), "%s", error.message);
    NEED(!coordinator_client_response(client, &response, true), "nobody can answer");
    coordinator_client_free(client);
    MPI_Comm_free(&comm);
}

static void be_client(TinyRun *run, const CoordinatorSetup *setup, pid_t server)
{
    CoordinatorClient *client;
    Error error = {0};
    const RunPosition position = {.step = 10, .epoch = 1, .global_batch = TINY_BATCH, .validated = 0, .best_epoch = -1};
    Status status =
        coordinator_client_create(&client, MPI_COMM_WORLD, SERVER, setup->table, &run->vectors, true, &error);
    NEED(status == STATUS_OK, "%s", error.message);
    NEED(coordinator_client_step(client) == -1, "nothing was sent");
    check_unreachable(run, setup);
    coordinator_client_request(client, run->pool, REQUEST_BEGIN, NULL, &position);
    check_checkpoint(run, client, &position);
    check_validation(run, client, &position);
    check_cancel(run, client, position);
    NEED(kill(server, SIGUSR1) == 0, "rank %d", SERVER);
    expect(client, RESPONSE_SIGNAL);
    coordinator_client_request(client, run->pool, REQUEST_FINISH, NULL, &position);
    Response response = expect(client, RESPONSE_FINISHED);
    NEED(response.position.validated == 1 && response.position.best_epoch == 0, "the acknowledged one is forgotten");
    NEED(is_there("best.safetensors"), "all is written when the server has finished");
    coordinator_client_request(client, run->pool, REQUEST_QUIT, NULL, &position);
    coordinator_client_free(client);
}

static void be_server(const CoordinatorSetup *setup)
{
    CoordinatorServer *server;
    Error error = {0};
    NEED(coordinator_server_create(&server, setup, &error) == STATUS_OK, "%s", error.message);
    NEED(coordinator_server_run(server, &error) == STATUS_OK, "%s", error.message);
    coordinator_server_free(server);
}

int main(int argc, char **argv)
{
    TinyRun run = {0};
    Error error = {0};
    if (argc != 3) return 2;
    folder = argv[2];
    tiny_run_open(&run, argv[1], NULL, 0, true);
    char path[PATH_SIZE];
    tiny_path(path, folder, "config.yaml");
    if (run.world.rank == 0) NEED(config_save(&run.config, path, &error) == STATUS_OK, "%s", error.message);
    NEED(signals_catch(&error) == STATUS_OK, "%s", error.message);
    int server = getpid();
    MPI_Bcast(&server, 1, MPI_INT, SERVER, MPI_COMM_WORLD);
    MPI_Barrier(MPI_COMM_WORLD);
    const CoordinatorSetup setup = tiny_run_setup(&run, folder, SERVER);
    if (run.world.rank == SERVER)
        be_server(&setup);
    else
        be_client(&run, &setup, server);
    tiny_run_close(&run);
    return 0;
}
