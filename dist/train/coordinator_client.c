#include "dist/train/coordinator_client.h"

#include <stdlib.h>

#include "core/base/memory.h"

struct CoordinatorClient {
    MPI_Comm comm;
    int server;
    int64_t size, step;
    RunVectors snapshot;
    Request request;
    MPI_Request sends[1 + SNAPSHOT_VECTORS];
    int send_count; /* under way */
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
    const WriterConfig wanted = {.head = true,
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
    for (int i = 0; i < client->send_count; i++) MPI_Wait(&client->sends[i], MPI_STATUS_IGNORE);
    client->send_count = 0;
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
    MPI_Isend(&client->request, (int)sizeof client->request, MPI_BYTE, client->server, TAG_REQUEST, client->comm,
              &client->sends[client->send_count++]);
    if (!vectors) return;
    run_vectors_copy(pool, &client->snapshot, vectors, client->size);
    client->step = position->step;
    float *parts[SNAPSHOT_VECTORS] = {client->snapshot.weights, client->snapshot.ema, client->snapshot.moment1,
                                      client->snapshot.moment2};
    for (int i = 0; i < SNAPSHOT_VECTORS; i++)
        if (parts[i])
            MPI_Isend(parts[i], (int)client->size, MPI_FLOAT, client->server, TAG_VECTOR, client->comm,
                      &client->sends[client->send_count++]);
}

bool coordinator_client_response(CoordinatorClient *client, Response *response, bool wait)
{
    int there = 1;
    if (!wait) MPI_Iprobe(client->server, TAG_RESPONSE, client->comm, &there, MPI_STATUS_IGNORE);
    if (there)
        MPI_Recv(response, (int)sizeof *response, MPI_BYTE, client->server, TAG_RESPONSE, client->comm,
                 MPI_STATUS_IGNORE);
    return there;
}
