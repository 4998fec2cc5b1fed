#include "dist/train/coordinator_client.h"

#include <stdlib.h>

#include "core/base/memory.h"
#include "dist/comm/world.h"

struct CoordinatorClient {
    MPI_Comm comm;
    int server;
    int64_t size, step;
    RunVectors snapshot;
    Request request;
    MPI_Request sends[1 + SNAPSHOT_VECTORS];
    int send_count; /* under way */
    Error error;    /* what went wrong first: then nothing is sent or received any more */
};

Status coordinator_client_create(CoordinatorClient **out, MPI_Comm comm, int server, const ParamTable *table,
                                 const RunVectors *which, bool moments, Error *error)
{
    CoordinatorClient *client = memory_alloc(1, sizeof *client, "the coordinator's client", error);
    *out = NULL;
    if (!client) return STATUS_FAILED;
    client->comm = comm;
    client->server = server;
    client->size = table->size;
    client->step = -1;
    const RunVectorSet wanted = {.weights = true,
                                 .ema = which->ema,
                                 .moment1 = moments && which->moment1,
                                 .moment2 = moments && which->moment2,
                                 .end = table->size};
    Status status = run_vectors_allocate(&client->snapshot, table, &wanted, error);
    if (status) {
        coordinator_client_free(client);
        return status;
    }
    *out = client;
    return STATUS_OK;
}

/* One by one: MPICH's MPI_STATUSES_IGNORE trips GCC's check of array bounds. */
static void wait_for_sends(CoordinatorClient *client)
{
    for (int i = 0; i < client->send_count; i++) {
        int code = MPI_Wait(&client->sends[i], MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS) world_mpi_failed(code, "sending to the coordinator", &client->error);
    }
    client->send_count = 0;
}

static void send_part(CoordinatorClient *client, const void *part, int count, MPI_Datatype type, int tag)
{
    if (client->error.status) return;
    int code = MPI_Isend(part, count, type, client->server, tag, client->comm, &client->sends[client->send_count]);
    if (code == MPI_SUCCESS)
        client->send_count++;
    else
        world_mpi_failed(code, "sending to the coordinator", &client->error);
}

void coordinator_client_free(CoordinatorClient *client)
{
    if (!client) return;
    wait_for_sends(client);
    run_vectors_free(&client->snapshot);
    free(client);
}

int64_t coordinator_client_step(const CoordinatorClient *client)
{
    return client->step;
}

void coordinator_client_request(CoordinatorClient *client, Pool *pool, RequestKind kind, const RunVectors *vectors,
                                const RunPosition *position)
{
    wait_for_sends(client);
    client->request = (Request){.kind = kind, .snapshot = vectors != NULL, .position = *position};
    send_part(client, &client->request, (int)sizeof client->request, MPI_BYTE, TAG_REQUEST);
    if (!vectors) return;
    run_vectors_copy(pool, &client->snapshot, vectors, client->size);
    client->step = position->step;
    float *parts[SNAPSHOT_VECTORS] = {client->snapshot.weights, client->snapshot.ema, client->snapshot.moment1,
                                      client->snapshot.moment2};
    for (int i = 0; i < SNAPSHOT_VECTORS; i++)
        if (parts[i]) send_part(client, parts[i], (int)client->size, MPI_FLOAT, TAG_VECTOR);
}

bool coordinator_client_response(CoordinatorClient *client, Response *response, bool wait)
{
    int there = 1, code = MPI_SUCCESS;
    if (client->error.status) return false;
    if (!wait) code = MPI_Iprobe(client->server, TAG_RESPONSE, client->comm, &there, MPI_STATUS_IGNORE);
    if (code == MPI_SUCCESS && there)
        code = MPI_Recv(response, (int)sizeof *response, MPI_BYTE, client->server, TAG_RESPONSE, client->comm,
                        MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) world_mpi_failed(code, "hearing from the coordinator", &client->error);
    return there && !client->error.status;
}

Status coordinator_client_status(const CoordinatorClient *client, Error *error)
{
    *error = client->error;
    return error->status;
}
